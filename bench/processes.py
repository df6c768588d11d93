"""Processes and their descendants: the time and memory that they use, as the operating system counts it.

Processor time says more than wall time if others use the machine, too. Processes may come and go during a reading;
those that are gone count nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil


def family(root: int) -> list[psutil.Process]:
    """Return `root` and its descendants, now. Raises psutil.NoSuchProcess if `root` is gone."""
    parent = psutil.Process(root)
    return [parent, *parent.children(recursive=True)]


def processor_time(processes: Iterable[psutil.Process]) -> float:
    """Return seconds of user and system time so far, in steps of the kernel's clock: a hundredth on Linux."""
    return _sum(processes, _seconds)


def proportional_size(processes: Iterable[psutil.Process]) -> int:
    """Return the bytes that they use; memory shared with other processes is divided among these (PSS). Linux only."""
    return int(_sum(processes, lambda process: process.memory_full_info().pss))


def open_files(processes: Iterable[psutil.Process]) -> int:
    """Return how many files and sockets they have open."""
    return int(_sum(processes, psutil.Process.num_fds))


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _sum(processes: Iterable[psutil.Process], figure: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in processes:
        # Only root may look at the files of a process that has ended and was not reaped.
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += figure(process)
    return total
