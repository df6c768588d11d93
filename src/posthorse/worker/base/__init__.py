"""What all processes of a worker share: how they start, log, handle signals and end. Knows of jobs only their names."""
