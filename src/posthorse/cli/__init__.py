"""The command line: what a person at a terminal, a script or a deployment says to Posthorse."""

from posthorse.cli.root import main

__all__ = ["main"]
