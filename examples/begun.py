"""Begun slices: a line for each slice that begins, outside of all transactions, so a demonstration sees lost ones, too.

Jobs need this only in demonstrations. It imports nothing of Posthorse.
"""

from __future__ import annotations

import os
from pathlib import Path

NAME = "begun.txt"


def note(folder: Path) -> None:
    """Note that a slice begins in this process."""
    line = f"{os.getpid()}\n".encode()
    descriptor = os.open(folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read(folder: Path) -> list[int]:
    """Return the process of each slice that began."""
    begun = folder / NAME
    return [int(pid) for pid in begun.read_text().splitlines()] if begun.exists() else []
