"""The worker: claims jobs, runs them, and writes their outcomes to the store."""
