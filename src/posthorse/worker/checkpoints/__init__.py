"""Checkpoints: what a long job saves after each slice, and how it goes on from there."""
