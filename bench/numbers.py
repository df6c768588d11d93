"""Numbers on the command lines of the benches."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """Return a number of 1 or more. Raises ArgumentTypeError."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def thousands(text: str) -> int:
    """Return a whole number of thousands. Raises ArgumentTypeError."""
    number = int(text)
    if number < 1 or number % 1_000:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of thousands, in which the jobs are enqueued")
    return number
