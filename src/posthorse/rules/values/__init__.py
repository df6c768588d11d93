"""Single values: which may travel, and the JSON they are stored as."""
