"""The application: what users declare jobs on, enqueue with, and ask about jobs."""
