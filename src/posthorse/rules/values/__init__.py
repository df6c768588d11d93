"""Single values: which can be stored, and their JSON."""
