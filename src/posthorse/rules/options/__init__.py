"""Options: one table of all options, the checks of their values, and the errors for wrong ones."""
