"""Checkpoints: what a long job saves after each slice, and how it resumes from there."""
