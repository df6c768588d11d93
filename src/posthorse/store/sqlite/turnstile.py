"""One write transaction of ours at a time on an SQLite file, in all processes, fairly and at once. Knows no SQL."""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from posthorse.clock import monotonic
from posthorse.errors import StoreError, StoreUnreachable


class Turnstile:
    """Lets one write transaction of ours through at a time, in all processes: `flock` on two files beside the store.

    Whoever holds the gate goes next, and gives it up once inside. So a stream of commits of one process cannot
    starve another, and only the next one looks often. SQLite's own lock is taken inside, against the writes of
    others; its way of waiting is neither fair nor quick. The second file is a bell, too: whoever committed work writes
    to it, when the commit can be seen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptors: tuple[int, int] | None = None
        self._held: int | None = None
        self._opening = threading.Lock()
        """Whoever rings need not have gone through, and may meet somebody who does."""

    @contextmanager
    def passage(self, patience: float) -> Iterator[None]:
        """Goes through, alone. Raises StoreUnreachable when that takes more than `patience` seconds."""
        try:
            self.enter(patience)
            yield
        finally:
            self.leave()

    def enter(self, patience: float) -> None:
        """The way in; `leave` must follow, also after an error or an interruption."""
        with self._opening:
            gate, inside = self._opened()
        self._held = inside
        deadline = monotonic() + patience
        try:
            if not (_lock(gate) or _wait_for(gate, deadline, pause=0.005)):
                raise locked(self._path, patience)
            if not (_lock(inside) or _wait_for(inside, deadline, pause=0.0001)):
                raise locked(self._path, patience)
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)

    def leave(self) -> None:
        """The way out."""
        if self._held is not None:
            fcntl.flock(self._held, fcntl.LOCK_UN)
            self._held = None

    def ring(self) -> None:
        """Tells those who watch the second file that something was committed after which there may be work."""
        with (
            self._opening,
            suppress(OSError, StoreError),
        ):  # a full disk: the commit stands, and they look by themselves
            os.pwrite(self._opened()[1], b"!", 0)

    def close(self) -> None:
        """Closes the files."""
        with self._opening:
            for descriptor in self._descriptors or ():
                os.close(descriptor)
            self._descriptors = None

    def _opened(self) -> tuple[int, int]:
        if self._descriptors is None:
            gate = _open_lock(f"{self._path}-gate")
            self._descriptors = gate, _open_lock(bell_of(self._path))
        return self._descriptors

    def __del__(self) -> None:
        self.close()


def bell_of(path: Path) -> str:
    """The file that is written to when there may be work."""
    return f"{path}-turnstile"


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(
            f"cannot open {path} ({error.strerror}); Posthorse keeps lock files beside the SQLite store, so its folder "
            "must be writable"
        ) from error


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for(descriptor: int, deadline: float, *, pause: float) -> bool:
    while monotonic() < deadline:
        time.sleep(random.uniform(pause / 2, pause))
        if _lock(descriptor):
            return True
    return False


def locked(path: Path, patience: float) -> StoreUnreachable:
    return StoreUnreachable(
        f"the SQLite store {path} stayed locked for {patience:.0f} s, so nothing was written: another process holds a "
        "write transaction open, or was stopped inside one; find it with `posthorse doctor`"
    )
