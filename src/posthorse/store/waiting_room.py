"""The waiting room: all callers of a process that wait for jobs to end, and one thread that asks the store for them.

One statement asks for all jobs that are awaited at that moment: soon after a caller came, and then less and less often;
at once after a commit of this process, and on SQLite after a write to the log (`rules/waiting_pace`). The room only
says that a job may be over. Callers read the end for themselves, with errors and patience of their own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence, Set
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from msgspec.structs import replace

from posthorse.clock import monotonic
from posthorse.rules.waiting_pace import APART, MAX_PAUSE, CallerPace, LookPace
from posthorse.store.operations.read import over
from posthorse.store.patience import Deadline, Patience
from posthorse.store.reentry import alone, uninterrupted
from posthorse.store.thread_on_demand import ThreadOnDemand
from posthorse.store.watch import Watch

if TYPE_CHECKING:
    from posthorse.store.store import Store

log = logging.getLogger("posthorse.store")

IDLE_TIME = 1.0
"""After so many seconds without callers the thread ends."""

PATIENCE = 1.0
"""Seconds that the room waits for a store that is away. Then its callers ask for themselves, and wait as they like."""


class WaitingRoom:
    """Wakes callers when one of their jobs may be over. Its thread starts with the first caller."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._callers: dict[_Caller, None] = {}
        self._thread = ThreadOnDemand(self._guard, "posthorse-waiting-room")
        self._rouse: Callable[[], object] | None = None
        """Wakes the thread; None without one, and while it starts."""
        self._has_news = False

    def wait(self, jobs: Collection[str], seconds: float) -> Collection[str]:
        """Wait until some of the jobs may be over, and return these; none if the time (seconds) is over before."""
        caller = _WaitingThread(jobs)
        try:
            uninterrupted(self._enter, caller)
            caller.bell.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))
        finally:
            if not caller.over:
                uninterrupted(self._leave, caller)
        return caller.over

    async def await_(self, jobs: Collection[str], seconds: float) -> Collection[str]:
        """Do the same for a coroutine."""
        caller = _WaitingTask(jobs, asyncio.get_running_loop())
        try:
            alone(self._enter, caller)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == inf else seconds):
                    await caller.bell
        finally:
            if not caller.over:
                alone(self._leave, caller)
        return caller.over

    def tell(self) -> None:
        """Note that this process committed something. It costs next to nothing if no caller waits."""
        if self._callers and not self._has_news:
            self._has_news = True
            self._rouse_thread()

    def close(self) -> None:
        """End the thread, and wake all callers, who look for themselves. The next caller starts another."""
        with self._guard:
            thread = self._thread.forget()
            self._rouse_thread()
        if thread is not None:
            thread.join()
            self._send_all_away()  # those that came just before

    def _enter(self, caller: _Caller) -> None:
        with self._guard:
            self._callers[caller] = None
            self._thread.start(self._work)
            self._rouse_thread()

    def _leave(self, caller: _Caller) -> None:
        with self._guard:
            self._callers.pop(caller, None)

    def _rouse_thread(self) -> None:
        rouse = self._rouse
        if rouse is not None:
            with suppress(RuntimeError):  # its loop ended at this moment
                rouse()

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("the thread that asks for awaited jobs broke off; those who wait look for themselves")
        finally:
            self._send_all_away()

    async def _serve(self) -> None:
        """Look at the awaited jobs whenever it is time, until no caller was there for a while."""
        loop, roused = asyncio.get_running_loop(), asyncio.Event()
        with self._guard:
            self._rouse = lambda: loop.call_soon_threadsafe(roused.set)
        pace = LookPace()
        notifier = self._store.backend.notifier
        async with notifier.subscribe_to_writes(self._store, closest=APART, blind=MAX_PAUSE) as watch:
            hearing = loop.create_task(self._hear(watch, roused))
            try:
                while self._thread.is_current:
                    roused.clear()
                    if self._has_news:
                        pace.has_news, self._has_news = True, False
                    callers = self._present()
                    now = monotonic()
                    first_due = min((caller.pace.due for caller in callers), default=now + IDLE_TIME)
                    pause = pace.next_look(first_due, len(callers)) - now if callers else IDLE_TIME
                    if pause > 0:
                        if await _is_roused(roused, pause) or callers:
                            continue
                        if self._is_over():
                            return
                        continue
                    is_found = self._look([c for c in callers if pace.has_news or c.pace.is_due(now)])
                    pace.looked(monotonic(), is_found=is_found)
                    if is_found:
                        watch.found()
            finally:
                hearing.cancel()
                await asyncio.wait({hearing})  # it must no longer use the watch when that ends

    async def _hear(self, watch: Watch, roused: asyncio.Event) -> None:
        """Note writes to the store, as far as the database tells of them."""
        while True:
            watch.clear()
            if await watch.wait(IDLE_TIME):
                self._has_news = True
                roused.set()

    def _present(self) -> Sequence[_Caller]:
        with self._guard:
            return tuple(self._callers)

    def _is_over(self) -> bool:
        """Return whether the thread may end; the next caller then starts another."""
        with self._guard:
            if self._callers:
                return False
            self._thread.forget()
            self._rouse = None
            return True

    def _look(self, callers: Sequence[_Caller]) -> bool:
        """Wake those of the callers one of whose jobs may be over; return whether there were any."""
        ended = self._ended({job for caller in callers for job in caller.jobs})
        now = monotonic()
        for caller in callers:
            caller.over = caller.jobs & ended
            if not caller.over:
                caller.pace.looked(now)
        return self._wake([caller for caller in callers if caller.over])

    def _ended(self, jobs: Set[str]) -> Set[str]:
        """Return those of the jobs that may be over: all of them if the store did not say."""
        asked = replace(over(sorted(jobs)), deadline=Deadline(Patience(PATIENCE)))
        try:
            return set(alone(self._store.backend.read, asked))
        except Exception as error:
            log.debug("cannot ask for awaited jobs: %s; those who wait look for themselves", error)
            return jobs

    def _wake(self, callers: Sequence[_Caller]) -> bool:
        with self._guard:
            for caller in callers:
                self._callers.pop(caller, None)
        tasks: dict[asyncio.AbstractEventLoop, list[_WaitingTask]] = defaultdict(list)
        for caller in callers:
            if isinstance(caller, _WaitingTask):
                tasks[caller.loop].append(caller)
            else:
                caller.bell.release()
        for loop, of_loop in tasks.items():
            with suppress(RuntimeError):  # the loop was closed, so nothing waits any more
                loop.call_soon_threadsafe(_ring_all, of_loop)
        return bool(callers)

    def _send_all_away(self) -> None:
        """Wake all callers that are left when the thread ends, unless another thread serves them by now."""
        with self._guard:
            if self._thread.is_there and not self._thread.is_current:
                return
            self._thread.forget()
            self._rouse = None
            left = tuple(self._callers)
        for caller in left:
            caller.over = caller.jobs
        self._wake(left)


class _WaitingThread:
    """A thread that waits for some jobs."""

    def __init__(self, jobs: Collection[str]) -> None:
        self.jobs = frozenset(jobs)
        self.over: Set[str] = frozenset()
        """Its jobs that may be over: why it is woken."""
        self.pace = CallerPace(monotonic())
        self.bell = threading.Lock()
        self.bell.acquire()


class _WaitingTask:
    """A task of an event loop that waits for some jobs."""

    def __init__(self, jobs: Collection[str], loop: asyncio.AbstractEventLoop) -> None:
        self.jobs = frozenset(jobs)
        self.over: Set[str] = frozenset()
        self.pace = CallerPace(monotonic())
        self.loop = loop
        self.bell: asyncio.Future[None] = loop.create_future()


_Caller = _WaitingThread | _WaitingTask


def _ring_all(tasks: Sequence[_WaitingTask]) -> None:
    for task in tasks:
        if not task.bell.done():
            task.bell.set_result(None)


async def _is_roused(roused: asyncio.Event, seconds: float) -> bool:
    """Wait to be roused; return False if the time is over before."""
    try:
        async with asyncio.timeout(seconds):
            await roused.wait()
    except TimeoutError:
        return False
    return True
