"""Waiting for news from the store without asking it: changes of the SQLite log, notifications of PostgreSQL.

A wake is a hint. Whoever waits also looks now and then, so a lost one costs a moment and never a job.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import random
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from posthorse.store.store import Store
from posthorse.store.turnstile import bell_of

if TYPE_CHECKING:
    from posthorse.store.postgres import PostgresBackend
    from posthorse.store.sqlite import SqliteBackend

log = logging.getLogger("posthorse.store")

CLOSEST_LOOKS = 0.002
"""Seconds between two wakes at least: a busy neighbour must not make the idle ones spin."""

WIDEST_LOOKS = 0.05
"""Seconds between two wakes by hints that led to nothing, at most: a long job beside idle places commits slice after
slice."""

CALM = 0.1
"""Seconds without a hint, after which the next one is heard at once."""

LOOK_WHEN_BLIND = 0.05
"""Seconds between two looks where nothing tells of writes."""

FIRST_ECHO = 0.004
"""Seconds after a write to the log at which to look. In between nothing more is heard of it: of thousands of commits a
second, each must not cost those who wait."""

LATER_ECHOES = (0.026, 0.146)
"""Seconds after that at which to look again, unless there were more writes: a sync may take that long."""

SMALL_CROWD = 4
"""Idle runners that all look at their own pace; of more, as many as these do between them."""

TURNS_APART = 0.02
"""Seconds between two looks of a crowd whom a notification did not call by name: they look one after the other, in case
that those who were called may not take the job."""

IN_MODIFY = 0x2
ENOUGH = 1024
"""Bytes of some events."""


class Watch:
    """Wakes whoever waits. This one knows only `wake`; its heirs hear of writes by other processes.

    `closest`: seconds between two wakes at least.
    """

    def __init__(self, *, closest: float = CLOSEST_LOOKS, blind: float = LOOK_WHEN_BLIND) -> None:
        self._closest = closest
        self._widest = max(closest, WIDEST_LOOKS)
        self._apart = closest
        self.blind = blind
        """Seconds of a wait at most, where nothing tells of writes."""
        self._news = asyncio.Event()
        self._certain = asyncio.Event()
        self._woken_at = 0.0

    def wake(self) -> None:
        """Ends a wait, now or when it begins."""
        self._certain.set()
        self._news.set()

    def hint(self) -> None:
        """The same for what need not concern whoever waits: hints in vain are heeded less and less often."""
        self._news.set()

    @property
    def is_certain(self) -> bool:
        """True when there are news since the last `clear` that are no mere hints."""
        return self._certain.is_set()

    def clear(self) -> None:
        """Forgets the news so far: call it before looking at the store."""
        self._certain.clear()
        self._news.clear()

    def found(self) -> None:
        """The last wake was not in vain."""
        self._apart = self._closest

    def patience(self, poll: float) -> float:
        """Seconds until the next look without any news, for who looks every `poll` seconds when alone."""
        return poll

    async def wait(self, timeout: float) -> bool:
        """Waits for news since the last `clear`; false when there were none in time (seconds)."""
        if not await self._hears(timeout):
            return False
        if time.monotonic() - self._woken_at > CALM:
            self._apart = self._closest
        elif not self._certain.is_set():
            await self._let_pass(self._woken_at + self._apart - time.monotonic())
            self._apart = min(2 * self._apart, self._widest)
        early = self._woken_at + self._closest - time.monotonic()
        if early > 0:
            await asyncio.sleep(early)
        self._woken_at = time.monotonic()
        return True

    async def _let_pass(self, seconds: float) -> None:
        """Waits so long, unless there are news for certain."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._certain.wait()

    async def _hears(self, timeout: float) -> bool:
        """Waits for news; false when there were none in time."""
        try:
            # Not wait_for, which on Python 3.11 loses a cancellation that comes together with news.
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class BlindWatch(Watch):
    """Hears of nothing but `wake`, and so looks every `blind` seconds."""

    async def _hears(self, timeout: float) -> bool:
        return await super()._hears(min(timeout, self.blind))


class SqliteWatch(Watch):
    """Hears of commits to the file: the kernel tells (inotify, Linux).

    Whoever committed something after which there may be work rings a bell, a file beside the store, once it can be
    seen. Writes to the log are only hints: they come before the commit can be seen, and nearly all of them are of
    commits that concern nobody; but what the user's own connections commit is told by nothing else. Commits of this
    process tell by themselves.

    The kernel is heard only while somebody waits.
    """

    def __init__(
        self,
        store: Store,
        backend: SqliteBackend,
        *,
        closest: float = CLOSEST_LOOKS,
        blind: float = LOOK_WHEN_BLIND,
    ) -> None:
        super().__init__(closest=closest, blind=blind)
        self._store = store
        self._path = backend.path
        self._log = self._bell = -1
        self._is_waiting = False
        self._is_hearing_log = False
        self._echoes: list[asyncio.TimerHandle] = []

    async def wait(self, timeout: float) -> bool:
        """Waits for news since the last `clear`; false when there were none in time (seconds)."""
        self._is_waiting = True
        if min(self._log, self._bell) < 0:
            # They are there only once the store is in use. What was written before is not told.
            self._log = self._log if self._log >= 0 else _watch_file(f"{self._path}-wal")
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
        # While hints lead to nothing, there is no use in hearing more of them than are heeded.
        unheeded = self._woken_at + self._apart - time.monotonic()
        self._echoes = [self._loop.call_later(max(FIRST_ECHO, unheeded), self._on_echo)]
        self._hear_log()

    def _on_echo(self) -> None:
        # If more was written meanwhile, that is heard at once and begins anew: the last of several has the longest
        # wait for its sync still before it.
        self._echoes = [self._loop.call_later(delay, self.hint) for delay in LATER_ECHOES]
        self._hear_log()
        self.hint()

    def _cancel_echoes(self) -> None:
        for echo in self._echoes:
            echo.cancel()
        self._echoes = []

    def _hear_log(self) -> None:
        """Hears of writes to the log while somebody waits, but not while the first echo of one is still to come."""
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


class PostgresWatch(Watch):
    """Hears notifications on a connection of its own; behind a pooler there are none, and it looks more often.

    A notification says how many runners are idle, and names those that shall look at once; nothing at all means all.
    """

    def __init__(self, backend: PostgresBackend, runner: str) -> None:
        super().__init__(blind=0.1)
        self._backend = backend
        self._runner = runner
        self._turn: asyncio.TimerHandle | None = None
        self._crowd = 1
        """How many runners were idle when last somebody called."""
        self._is_listening = False
        self._task: asyncio.Task[None] | None = None

    def patience(self, poll: float) -> float:
        """In a crowd each looks less often: should a notification be lost, one of them finds the job as soon."""
        return poll * max(1.0, self._crowd / SMALL_CROWD)

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._listen_forever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._turn is not None:
            self._turn.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _hears(self, timeout: float) -> bool:
        return await super()._hears(timeout if self._is_listening else min(timeout, self.blind))

    async def _listen_forever(self) -> None:
        failures = 0
        while True:
            try:
                async for told in self._backend.notifications(self._begin):
                    self._hear(told)
                return  # behind a pooler: there is nothing to listen to
            except Exception as error:
                failures += 1
                pause = random.uniform(0.1, min(10.0, 0.2 * 2**failures))
                log.info("not listening to PostgreSQL: %s; again in %.1f s", error, pause)
            finally:
                self._is_listening = False
            await asyncio.sleep(pause)

    def _hear(self, told: str) -> None:
        crowd, *called = told.split() or (str(self._crowd),)
        self._crowd = int(crowd)
        if not called or self._runner in called:
            self.wake()
        elif self._turn is None:
            pause = random.uniform(0, TURNS_APART * self._crowd)
            self._turn = asyncio.get_running_loop().call_later(pause, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        self.hint()

    def _begin(self) -> None:
        self._is_listening = True
        self.wake()  # what came before we listened told nobody


def make_watch(store: Store, runner: str) -> Watch:
    """The watch that fits a store: wakes a runner that waits for jobs that may run now."""
    backend = store.backend
    if backend.dialect.name == "sqlite":
        return SqliteWatch(store, backend)  # type: ignore[arg-type]  # told apart by its dialect
    return PostgresWatch(backend, runner)  # type: ignore[arg-type]  # told apart by its dialect


def make_watch_of_writes(store: Store, *, closest: float, blind: float) -> Watch:
    """A watch that wakes for whatever was written, at most so often; on PostgreSQL, where jobs that wait for their
    time tell nobody, it can only look again."""
    backend = store.backend
    if backend.dialect.name == "sqlite":
        return SqliteWatch(store, backend, closest=closest, blind=blind)  # type: ignore[arg-type]  # as above
    return BlindWatch(blind=blind)


def _watch_file(path: str) -> int:
    """A descriptor that can be read when the file was written to; -1 where the system has no inotify."""
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
    """The kernel keeps one event for all writes since the last read."""
    with contextlib.suppress(BlockingIOError):
        os.read(descriptor, ENOUGH)
