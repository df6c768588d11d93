"""Forks and SQLite: nothing may be open across one.

SQLite keeps one list of its locks for each file and process. A forked child inherits the list but not the locks: what
it commits may be thrown away by the next process that closes the file. So connections are closed before a fork, and a
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
    """What lets go of its files before a fork."""

    @property
    def busy_seconds(self) -> float:
        """How long to wait until it is at rest."""
        ...

    def locks(self) -> tuple[threading.Lock, ...]:
        """What must be held to let go."""
        ...

    def let_go(self) -> None:
        """Closes what is at rest; the next use opens it anew."""
        ...


class Left(Protocol):
    """What a forked child has no part in."""

    def leave_behind(self) -> None:
        """In the child: closes what was inherited."""
        ...


no_fork = threading.RLock()
"""Held for a moment in which this process must not be forked. Never wait inside."""


def mind(owner: Forkable) -> None:
    """From now on the owner lets go before every fork."""
    _owners.add(owner)


def leave_behind(left: Left) -> None:
    """From now on, forked children close what they inherit of this."""
    _left.add(left)


def was_open_before(path: Path) -> bool:
    """True in a forked child for a file that was open when it was forked."""
    return _identity(path) in _inherited


_owners: WeakSet[Forkable] = WeakSet()
_left: WeakSet[Left] = WeakSet()


class _Fork(threading.local):
    """What this thread has to end after its fork: several may be about to fork at once."""

    def __init__(self) -> None:
        self.held: list[threading.Lock] = []
        self.undo: list[Callable[[], object]] = []


_fork = _Fork()
_inherited: set[tuple[int, int]] = set()
"""Files that were open when this process was forked."""


def _before_fork() -> None:
    # Each is noted as soon as it is taken: an interruption may strike anywhere here, and the fork goes on all the same.
    # Calls of a signal handler that come until the end would wait for what is held: they are refused.
    if begin_work():
        _fork.undo.append(end_work)
    for owner in list(_owners):
        locks = owner.locks()
        taken = [lock for lock in locks if _take(lock, owner.busy_seconds)]
        if len(taken) == len(locks):
            owner.let_go()
    _fork.undo.append(no_fork.release)
    no_fork.acquire()  # last, for whoever holds one of the others may need it


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


# Its own hooks come before ours, and never in the midst of a fork that ours hold up: afterwards they would release a
# lock that they never took.
importlib.import_module("concurrent.futures.thread")
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
