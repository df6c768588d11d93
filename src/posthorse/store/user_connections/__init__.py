"""Connections of the user's own, on which Posthorse is a guest: one file for each library."""
