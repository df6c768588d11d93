"""Throttles of long jobs: what is measured, and how a loop waits between two slices."""
