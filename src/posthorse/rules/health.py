"""What a probe concludes: whether a store can be used, whether a worker lives, and whether it serves. Pure.

Live is about the process: restarting it would help if it were not. Ready is about the work: jobs are taken now. So a
store that is away makes no worker less alive, because a restart would not bring the store back.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Process(StrEnum):
    """What this machine knows about a process."""

    RUNNING = "running"
    STOPPED = "stopped"
    GONE = "gone"


class RegisteredRunner(NamedTuple):
    """A registered runner; it is alive while its lease holds, which its heartbeats renew."""

    is_alive: bool
    is_draining: bool


class StoreFound(NamedTuple):
    """What a look at the store found: its version of the schema, and why it cannot be used, if it cannot."""

    schema: int | None
    problem: str | None = None


class Health(NamedTuple):
    """The conclusions; None where nothing tells.

    problems: what is wrong, in words, the store first.
    """

    store: bool
    live: bool | None
    ready: bool | None
    problems: Sequence[str]


def of_store(store: StoreFound) -> Health:
    """Conclude from a look at the store alone."""
    return Health(store.problem is None, None, None, () if store.problem is None else (store.problem,))


def of_worker(store: StoreFound, process: Process | None, beats: Sequence[RegisteredRunner] | None) -> Health:
    """Conclude from the store, the worker's process (None if it is on another machine) and its runners (None if the
    store cannot tell them).
    """
    problems = [] if store.problem is None else [store.problem]
    if process is Process.GONE:
        problems.append("its process is gone")
    elif process is Process.STOPPED:
        problems.append("its process is stopped: send it SIGCONT, or end it")
    is_there = process in (None, Process.RUNNING)
    if beats is None:
        live = False if not is_there else True if process is Process.RUNNING else None
        return Health(store.problem is None, live, False, problems)
    alive = [beat for beat in beats if beat.is_alive]
    taking = [beat for beat in alive if not beat.is_draining]
    if not beats:
        problems.append("none of its runners is registered: it begins, or has ended")
    elif not alive:
        problems.append("none of its runners has sent a heartbeat within its lease")
    elif not taking:
        problems.append("it is stopping, and takes no more jobs")
    return Health(store.problem is None, is_there and bool(alive), is_there and bool(taking), problems)
