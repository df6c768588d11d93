"""The base of all processes of a worker: how they start, log, handle signals and end. It knows jobs only by name."""
