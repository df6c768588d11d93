"""Forks and SQLite: no connection may be open across a fork.

SQLite keeps one list of its locks for each file and process. A forked child inherits the list but not the locks, and
the next process that closes the file may discard what the child commits. So connections are closed before a fork, and a
file that was open all the same is refused in the child.
"""

from __future__ import annotations

import importlib
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from posthorse.store.reentry import begin_work, end_work


class Forkable(Protocol):
    """Closes its files before a fork."""

    @property
    def busy_seconds(self) -> float:
        """How long to wait until it is idle, in seconds."""
        ...

    def locks(self) -> tuple[threading.Lock, ...]:
        """Return the locks that must be held to close."""
        ...

    def let_go(self) -> None:
        """Close what is idle; the next use opens it again."""
        ...


class Inherited(Protocol):
    """A resource that a forked child must not use."""

    def leave_behind(self) -> None:
        """Close, in the child, what was inherited."""
        ...


no_fork = threading.RLock()
"""Held for moments in which this process must not be forked. Never wait while it is held."""


def mind(owner: Forkable) -> None:
    """Make the owner close its files before every fork from now on."""
    _owners.add(owner)


def leave_behind(left: Inherited) -> None:
    """Make forked children close what they inherit of this from now on."""
    _left.add(left)


def was_open_before(path: Path) -> bool:
    """Return True in a forked child for a file that was open at the fork."""
    return _identity(path) in _inherited


_owners: WeakSet[Forkable] = WeakSet()
_left: WeakSet[Inherited] = WeakSet()


class _Fork(threading.local):
    """What this thread must end after its fork; several threads may fork at once."""

    def __init__(self) -> None:
        self.held: list[threading.Lock] = []
        self.undo: list[Callable[[], object]] = []


_fork = _Fork()
_inherited: set[tuple[int, int]] = set()
"""Files that were open when this process was forked."""


def _before_fork() -> None:
    # Each lock is noted as soon as it is taken: an interruption may come anywhere here, and the fork goes on all the
    # same. Until the end, calls of a signal handler would wait for these locks, so they are refused.
    if begin_work():
        _fork.undo.append(end_work)
    for owner in list(_owners):
        locks = owner.locks()
        taken = [lock for lock in locks if _take(lock, owner.busy_seconds)]
        if len(taken) == len(locks):
            owner.let_go()
    _fork.undo.append(no_fork.release)
    no_fork.acquire()  # last, because a thread that holds one of the others may need it


def _take(lock: threading.Lock, seconds: float) -> bool:
    _fork.held.append(lock)
    is_taken = False
    try:
        is_taken = lock.acquire(timeout=seconds)
    finally:
        if not is_taken:
            _fork.held.remove(lock)
    return is_taken


def _after_fork() -> None:
    while _fork.held:
        _fork.held.pop().release()
    while _fork.undo:
        with suppress(RuntimeError):  # not taken: an interruption was faster
            _fork.undo.pop()()


def _in_child() -> None:
    _after_fork()
    for left in list(_left):
        left.leave_behind()
    _inherited.clear()
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the listing itself
            found = os.fstat(int(name))
            if stat.S_ISREG(found.st_mode):
                _inherited.add((found.st_dev, found.st_ino))


# Its own hooks run before ours, never while ours delay a fork: afterwards they would release a lock that they never
# took.
importlib.import_module("concurrent.futures.thread")
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
