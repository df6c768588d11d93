"""Processor time of a process with all its descendants, as the kernel of Linux counts it.

Time on the processor says more than time on the wall where others use the machine, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TICK = 1 / os.sysconf("SC_CLK_TCK")

# Places in /proc/*/stat behind the name of the program: proc_pid_stat(5).
_PARENT, _USER, _SYSTEM = 1, 11, 12


class _Process(NamedTuple):
    pid: int
    parent: int
    seconds: float


def processor_time(root: int) -> float:
    """Seconds of user and system time so far, in steps of a hundredth, of `root` and all that descend from it."""
    return sum(process.seconds for process in _family(root))


def descendants(root: int) -> list[int]:
    """The processes that descend from `root`, and itself."""
    return [process.pid for process in _family(root)]


def _family(root: int) -> list[_Process]:
    processes = list(_processes())
    pids, family = {root}, list[_Process]()
    while grown := [process for process in processes if process.pid in pids or process.parent in pids]:
        processes = [process for process in processes if process not in grown]
        pids.update(process.pid for process in grown)
        family += grown
    return family


def _processes() -> Iterator[_Process]:
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # processes come and go
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ticks = int(fields[_USER]) + int(fields[_SYSTEM])
            yield _Process(int(file.parent.name), int(fields[_PARENT]), ticks * TICK)
