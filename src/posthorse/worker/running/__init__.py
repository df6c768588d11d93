"""Running claimed jobs: from a slot to an outcome, and from the outcome to the store."""
