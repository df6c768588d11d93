"""For the demonstrations alone: a line on each slice that begins, outside of all transactions, so that those show
which never came to their end. Imports nothing of Posthorse."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "begun.txt"


def note(folder: Path) -> None:
    """A slice begins in this process."""
    line = f"{os.getpid()}\n".encode()
    descriptor = os.open(folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def read(folder: Path) -> list[int]:
    """For each slice that began, the process in which it did."""
    begun = folder / NAME
    return [int(pid) for pid in begun.read_text().splitlines()] if begun.exists() else []
