"""Options: one table of all that may be given, the checks of their values, and the errors for wrong ones."""
