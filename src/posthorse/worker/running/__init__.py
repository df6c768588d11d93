"""Running: claimed jobs begin, run to an outcome, and are completed."""
