"""Periodic work on the store, done by the worker that leads."""
