"""`python -m posthorse`: the command line, for environments in which the command itself is not on the path."""

from posthorse.cli import main

if __name__ == "__main__":
    main()
