"""One write transaction of ours at a time on an SQLite file, in all processes, fairly and at once. Knows no SQL."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posthorse.errors import StoreError, StoreUnreachable


class Turnstile:
    """Lets one write transaction of ours through at a time, in all processes: `flock` on two files beside the store.

    Whoever holds the gate goes next, and gives it up once inside. So a stream of commits of one process cannot
    starve another, and only the next one looks often. SQLite's own lock is taken inside, against the writes of
    others; its way of waiting is neither fair nor quick.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptors: tuple[int, int] | None = None

    @contextmanager
    def passage(self, patience: float) -> Iterator[None]:
        """Goes through, alone. Raises StoreUnreachable when that takes more than `patience` seconds."""
        deadline = time.monotonic() + patience
        gate, inside = self._opened()
        try:
            try:
                if not (_lock(gate, deadline, pause=0.005) and _lock(inside, deadline, pause=0.0001)):
                    raise locked(self._path, patience)
            finally:
                fcntl.flock(gate, fcntl.LOCK_UN)
            yield
        finally:
            fcntl.flock(inside, fcntl.LOCK_UN)

    def close(self) -> None:
        """Closes the files."""
        for descriptor in self._descriptors or ():
            os.close(descriptor)
        self._descriptors = None

    def _opened(self) -> tuple[int, int]:
        if self._descriptors is None:
            gate = _open_lock(f"{self._path}-gate")
            self._descriptors = gate, _open_lock(f"{self._path}-turnstile")
        return self._descriptors

    def __del__(self) -> None:
        self.close()


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(
            f"cannot open {path} ({error.strerror}); Posthorse keeps lock files beside the SQLite store, so its folder "
            "must be writable"
        ) from error


def _lock(descriptor: int, deadline: float, *, pause: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(random.uniform(pause / 2, pause))
        else:
            return True


def locked(path: Path, patience: float) -> StoreUnreachable:
    return StoreUnreachable(
        f"the SQLite store {path} stayed locked for {patience:.0f} s, so nothing was written: another process holds a "
        "write transaction open, or was stopped inside one; find it with `posthorse doctor`"
    )
