"""Memory of this process: how much it holds, and a limit at which Python code meets a MemoryError.

Linux alone counts what a limit needs; elsewhere there is none, and the figures are zero.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def held() -> int:
    """Bytes that nobody else holds with this process, as a file that is mapped would be."""
    figures = _figures()
    return figures.get("RssAnon", 0) + figures.get("RssShmem", 0)


@contextmanager
def limited(most: int | None) -> Iterator[None]:
    """Inside the block allocations fail once the process would hold more than `most` bytes; None for no limit."""
    figures = _figures() if most is not None else {}
    if most is None or "VmData" not in figures:
        yield
        return
    # The kernel's limit counts what is reserved, held or not. What is reserved already comes on top.
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
    """Bytes by the names of /proc/self/status."""
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
