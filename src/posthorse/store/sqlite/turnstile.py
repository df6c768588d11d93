"""Let one of our write transactions at a time into an SQLite file, in all processes, fairly and quickly."""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posthorse.clock import monotonic
from posthorse.errors import StoreError, StoreUnreachable
from posthorse.rules.tuning import DEFAULTS, Tuning
from posthorse.store.sqlite import forks
from posthorse.store.sqlite.faults import FileIdentity, file_identity
from posthorse.store.sqlite.side_files import bell_of, gate_of, open_lock


class Turnstile:
    """Let one of our write transactions through at a time, in all processes: `flock` on two files beside the store.

    The process that holds the gate goes next, and gives it up once inside. So a stream of commits of one process cannot
    starve another, and only the next one polls often. SQLite's own lock is taken inside, against writers other than
    Posthorse; its way of waiting is neither fair nor quick. The second file is also a bell: a process that committed
    work writes to it once the commit is visible.
    """

    def __init__(self, path: Path, tuning: Tuning = DEFAULTS) -> None:
        self._path = path
        self._check_interval = tuning.lock_check_interval
        self._descriptors: tuple[int, int] | None = None
        self._bell = ""
        self._bell_file: FileIdentity | None = None
        """Which file the bell is: a lock on a removed file keeps no process out."""
        self._look_again = 0.0
        self._held: int | None = None
        self._opening = threading.Lock()
        """A caller that rings may not have passed the turnstile, and may meet one that passes."""
        forks.leave_behind(self)

    @contextmanager
    def passage(self, patience: float) -> Iterator[None]:
        """Pass through, alone. Raises StoreUnreachable if that takes more than `patience` seconds."""
        try:
            self.enter(patience)
            yield
        finally:
            self.leave()

    def enter(self, patience: float) -> None:
        """Enter; `leave` must follow, also after an error or an interruption."""
        deadline = monotonic() + patience
        while True:
            gate, inside = self._descriptors or self._open()
            self._held = inside
            try:
                if not (_lock(gate) or _wait_for(gate, deadline, pause=0.005)):
                    raise locked(self._path, patience)
                if not (_lock(inside) or _wait_for(inside, deadline, pause=0.0001)):
                    raise locked(self._path, patience)
            finally:
                fcntl.flock(gate, fcntl.LOCK_UN)
            if deadline < self._look_again:
                return
            # If the store itself is gone, its session reports it.
            if file_identity(self._bell) == self._bell_file or file_identity(self._path) is None:
                self._look_again = deadline + self._check_interval
                return
            self.leave()
            self.close()

    def leave(self) -> None:
        """Leave."""
        if self._held is not None:
            fcntl.flock(self._held, fcntl.LOCK_UN)
            self._held = None

    def ring(self) -> None:
        """Notify the processes that watch the second file of a commit that may have made work."""
        with self._opening:
            try:
                os.pwrite(self._opened()[1], b"!", 0)
            except (OSError, StoreError):
                return  # a full disk: the commit is valid, and they poll

    def close(self) -> None:
        """Close the files."""
        with self._opening:
            self._close()

    def leave_behind(self) -> None:
        """Close, in a forked child, its copies of the files. While one is open, a lock outlives the parent."""
        self._opening = threading.Lock()
        self._held = None
        self._close()

    def _close(self) -> None:
        descriptors, self._descriptors = self._descriptors or (), None
        for descriptor in descriptors:
            os.close(descriptor)

    def _open(self) -> tuple[int, int]:
        with self._opening:
            return self._opened()

    def _opened(self) -> tuple[int, int]:
        if self._descriptors is None:
            with forks.no_fork:  # a descriptor that is not noted yet would stay open in the child
                self._bell = bell_of(self._path)
                gate = open_lock(gate_of(self._path), self._path)
                try:
                    bell = open_lock(self._bell, self._path)
                except BaseException:
                    os.close(gate)
                    raise
                self._descriptors = gate, bell
                found = os.fstat(bell)
                self._bell_file = found.st_dev, found.st_ino
                self._look_again = 0.0
        return self._descriptors

    def __del__(self) -> None:
        self._close()


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
