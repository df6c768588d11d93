"""Figures of this machine: its load, and how much of its memory is in use."""

from __future__ import annotations

import os
from pathlib import Path

_MEMORY = Path("/proc/meminfo")


def load_average(_of: str = "") -> float:
    """Return the load, averaged over one minute. Raises OSError where the system does not say it."""
    return os.getloadavg()[0]


def memory_in_use(_of: str = "") -> float:
    """Return the share of memory that is in use and cannot be freed at once. Raises OSError, KeyError."""
    sizes: dict[str, int] = {}
    for line in _MEMORY.read_text(encoding="ascii").splitlines():
        name, _, size = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            sizes[name] = int(size.split()[0])
    return 1 - sizes["MemAvailable"] / sizes["MemTotal"]
