"""Chores of the store, done by whichever worker has the duty."""
