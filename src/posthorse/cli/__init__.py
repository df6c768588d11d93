"""The command line: Posthorse for a person at a terminal, a script or a deployment."""

from posthorse.cli.root import main

__all__ = ["main"]
