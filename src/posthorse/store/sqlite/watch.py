"""Notice commits to an SQLite file: the kernel reports writes to its log, and to a bell beside it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from posthorse.clock import monotonic
from posthorse.store.sqlite.side_files import bell_of, log_of
from posthorse.store.watch import CLOSEST_LOOKS, LOOK_WHEN_BLIND, Watch

if TYPE_CHECKING:
    from posthorse.store.sqlite.backend import SqliteBackend
    from posthorse.store.store import Store

FIRST_ECHO = 0.004
"""Seconds after a write to the log at which to look. Until then the watch ignores the log, because thousands of commits
a second must not cost the waiting processes.
"""

LATER_ECHOES = (0.026, 0.146)
"""Seconds after that at which to look again, unless there were more writes: a sync may take that long."""

IN_MODIFY = 0x2
ENOUGH = 1024
"""Bytes for several events."""


class SqliteNotifier:
    """Wakes by the bell beside the file; see `SqliteWatch`."""

    def __init__(self, backend: SqliteBackend) -> None:
        self._backend = backend

    def notify(self) -> None:
        """Ring the bell. Commits do so by themselves, transactions do not."""
        self._backend.ring()

    def subscribe(self, store: Store, runner: str) -> Watch:
        """Watch for work."""
        return SqliteWatch(store)

    def subscribe_to_writes(self, store: Store, *, closest: float, blind: float) -> Watch:
        """Watch for all writes."""
        return SqliteWatch(store, closest=closest, blind=blind)


class SqliteWatch(Watch):
    """Notices commits to the file through the kernel (inotify, Linux).

    A process that committed something that may have made work rings a bell, a file beside the store, once the commit is
    visible. Writes to the log are only hints: they come before the commit is visible, and nearly all of them concern no
    waiting process; but only they show what the user's own connections commit. Commits of this process wake directly.

    The kernel is queried only while a task waits.
    """

    def __init__(
        self,
        store: Store,
        *,
        closest: float = CLOSEST_LOOKS,
        blind: float = LOOK_WHEN_BLIND,
    ) -> None:
        super().__init__(closest=closest, blind=blind)
        self._store = store
        self._path = cast("SqliteBackend", store.backend).path
        self._log = self._bell = -1
        self._is_waiting = False
        self._is_hearing_log = False
        self._echoes: list[asyncio.TimerHandle] = []

    async def wait(self, timeout: float) -> bool:
        """Wait for news since the last `clear`; return False if there was none in time (seconds)."""
        self._is_waiting = True
        if min(self._log, self._bell) < 0:
            # The files exist only once the store is in use. Earlier writes are not reported.
            self._log = self._log if self._log >= 0 else _watch_file(log_of(self._path))
            self._bell = self._bell if self._bell >= 0 else _watch_file(bell_of(self._path))
            timeout = min(timeout, self.blind)
        if self._bell >= 0:
            self._loop.add_reader(self._bell, self._on_bell)
        self._hear_log()
        try:
            return await super().wait(timeout)
        finally:
            self._is_waiting = False
            if self._bell >= 0:
                self._loop.remove_reader(self._bell)
            self._hear_log()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._store.after_commit.add(self._on_commit)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.after_commit.discard(self._on_commit)
        self._cancel_echoes()
        for descriptor in (self._log, self._bell):
            if descriptor >= 0:
                os.close(descriptor)
        self._log = self._bell = -1

    def _on_bell(self) -> None:
        _read_all(self._bell)
        self.wake()

    def _on_log(self) -> None:
        _read_all(self._log)
        self._cancel_echoes()
        # While hints lead to nothing, it need not hear more of them than it follows.
        unheeded = self._woken_at + self._apart - monotonic()
        self._echoes = [self._loop.call_later(max(FIRST_ECHO, unheeded), self._on_echo)]
        self._hear_log()

    def _on_echo(self) -> None:
        # If more was written meanwhile, a new look begins at once, because the last commit still has the longest wait
        # for its sync before it.
        self._echoes = [self._loop.call_later(delay, self.hint) for delay in LATER_ECHOES]
        self._hear_log()
        self.hint()

    def _cancel_echoes(self) -> None:
        for echo in self._echoes:
            echo.cancel()
        self._echoes = []

    def _hear_log(self) -> None:
        """Listen for writes to the log while a task waits, except while the first look after one is still ahead."""
        is_due = self._is_waiting and self._log >= 0 and len(self._echoes) != 1
        if is_due and not self._is_hearing_log:
            self._loop.add_reader(self._log, self._on_log)
        elif self._is_hearing_log and not is_due:
            self._loop.remove_reader(self._log)
        self._is_hearing_log = is_due

    def _on_commit(self) -> None:
        if self._is_waiting:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(self.wake)


def _watch_file(path: str) -> int:
    """Return a descriptor that is readable after writes to the file; -1 if the system has no inotify."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    except (OSError, AttributeError):
        return -1
    if descriptor < 0:
        return -1
    if int(libc.inotify_add_watch(descriptor, os.fsencode(path), IN_MODIFY)) < 0:
        os.close(descriptor)
        return -1
    return descriptor


def _read_all(descriptor: int) -> None:
    """Read the events; the kernel keeps one for all writes since the last read."""
    with contextlib.suppress(BlockingIOError):
        os.read(descriptor, ENOUGH)
