"""What a process and all that descend from it took and hold, as the operating system counts it.

Time on the processor says more than time on the wall where others use the machine, too. Processes come and go while
one reads: what is gone counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil


def family(root: int) -> list[psutil.Process]:
    """`root` and those that descend from it, now. Raises psutil.NoSuchProcess when `root` is gone."""
    parent = psutil.Process(root)
    return [parent, *parent.children(recursive=True)]


def processor_time(processes: Iterable[psutil.Process]) -> float:
    """Seconds of user and system time so far, in steps of the kernel's clock: a hundredth on Linux."""
    return _sum(processes, _seconds)


def proportional_size(processes: Iterable[psutil.Process]) -> int:
    """Bytes that they hold, what they share with others divided among these (PSS); on Linux."""
    return int(_sum(processes, lambda process: process.memory_full_info().pss))


def open_files(processes: Iterable[psutil.Process]) -> int:
    """Files and sockets that they have open."""
    return int(_sum(processes, psutil.Process.num_fds))


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _sum(processes: Iterable[psutil.Process], figure: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in processes:
        # Of one that ended and was not buried yet, only root may look what it has open.
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += figure(process)
    return total
