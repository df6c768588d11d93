"""Memory of this process: how much it uses, and a limit at which Python code gets a MemoryError.

Only Linux counts what a limit needs; on other systems there is no limit, and the figures are zero.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def held() -> int:
    """Return the bytes that this process does not share with others; a mapped file, for instance, does not count."""
    figures = _figures()
    return figures.get("RssAnon", 0) + figures.get("RssShmem", 0)


@contextmanager
def limited(most: int | None) -> Iterator[None]:
    """Let allocations fail inside the block if the process would use more than `most` bytes; None for no limit."""
    figures = _figures() if most is not None else {}
    if most is None or "VmData" not in figures:
        yield
        return
    # The kernel limits reserved memory, used or not: add what is reserved already.
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = figures["VmData"] + max(0, most - held())
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _figures() -> dict[str, int]:
    """Return the figures of /proc/self/status in bytes, by name."""
    figures: dict[str, int] = {}
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return figures
    for line in lines:
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            figures[name] = int(value.split()[0]) * 1024
    return figures
