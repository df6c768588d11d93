"""Marked processes, found by a variable in the environment that they inherited, wherever they are now."""

from __future__ import annotations

from pathlib import Path

MARKER = "TEST_MARKER"


def living(marker: str) -> list[int]:
    """Return those that live, including zombies, which no process has reaped."""
    wanted = f"{MARKER}={marker}".encode()
    found: list[int] = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                environment = (place / "environ").read_bytes()
            except OSError:
                continue
            if wanted in environment.split(b"\0"):
                found.append(int(place.name))
    return found
