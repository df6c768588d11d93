"""Orphans: as process 1 of a container, the supervisor reaps processes that jobs leave behind."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable, Collection
from contextlib import suppress

from posthorse.clock import until_tick

LOOK_INTERVAL = 1.0
PR_GET_CHILD_SUBREAPER = 37


def are_ours() -> bool:
    """Return whether the kernel gives orphaned processes to this process."""
    if os.getpid() == 1:
        return True
    is_subreaper = ctypes.c_int(0)
    with suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(is_subreaper), 0, 0, 0)
    return bool(is_subreaper.value)


async def reap_forever(own: Callable[[], Collection[int]]) -> None:
    """Reap dead children that this process did not start; `own` returns those that it did start and waits for.

    A process is reaped only if it is still dead at the second look: a child of our own that `own` does not list yet has
    been waited for by then.
    """
    seen = set[int]()
    while True:
        await asyncio.sleep(until_tick(LOOK_INTERVAL))
        dead = _dead_children() - set(own())
        for pid in dead & seen:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  # it does not wait
        seen = dead


def _dead_children() -> set[int]:
    found, me = set[int](), str(os.getpid()).encode()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state == b"Z" and parent == me:
                    found.add(int(name))
    return found
