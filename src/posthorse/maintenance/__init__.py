"""Chores of the store, done by whichever worker leads."""
