"""What each route does, by subject. Handlers call the same functions as Python and the command line."""
