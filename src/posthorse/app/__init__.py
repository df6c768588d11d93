"""The application: what users declare jobs on, enqueue with, and read jobs through."""
