"""The worker: claims jobs, runs them, and says how they ended."""
