"""What all processes of a worker share: how they start, log, hear signals and end; nothing of jobs but their names."""
