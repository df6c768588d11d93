"""The hub: all readers of a process that follow the stream, and one thread that reads it for them.

While a reader follows, the stream is watched, and the thread looks ten times a second. Each reader has a queue of
events that it wants. When a queue is full, the thread gives that reader no more: it then reads by itself from where it
is, and joins again. So a reader that stands still costs a bounded memory, and misses nothing that is kept.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from posthorse.clock import monotonic
from posthorse.rules.job_events import EventFilter
from posthorse.rules.stream_cursor import StreamCursor, why_unreadable
from posthorse.rules.watched import Interest, union
from posthorse.store.events_of_page import Placed, events_of, wanted
from posthorse.store.operations.stream import mark_tick, read_page, stream_state
from posthorse.store.operations.telling import learn, queues_and_watchers, unwatch
from posthorse.store.operations.telling import watch as start_watching
from posthorse.store.thread_on_demand import ThreadOnDemand

if TYPE_CHECKING:
    from posthorse.rules.packing import Packing
    from posthorse.store.store import Store

log = logging.getLogger("posthorse.events")

MAX_WAITING = 1_000
"""Events that wait for a reader. When there are so many, it gets no more until it has read them."""

IDLE_TIME = 1.0
"""After so many seconds without readers the thread ends."""

WATCH_TIME, RENEWAL_INTERVAL = 60.0, 20.0
"""Seconds after which the watch of a process that died ends, and seconds between two renewals."""


class Follower:
    """One reader that follows: what waits for it, and from where on."""

    def __init__(self, filter: EventFilter) -> None:
        self.filter = filter
        self.begins: StreamCursor | None = None
        """From here on it gets events from the hub; None until the hub knows it."""
        self.waiting: deque[Placed] = deque()
        self.is_behind = False
        """Whether it got no more events, because too many waited."""
        self.was_unwatched = False
        """Whether the stream was not watched for a while, so that events may be missing. The reader says so once."""
        self.bell = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the reader where it waits."""
        self.bell.set()
        if self.loop is not None and self.future is not None:
            with suppress(RuntimeError):  # its loop was closed
                self.loop.call_soon_threadsafe(_set, self.future)


class _Watch:
    """The watch of one thread, and how far that thread has read.

    Each thread has its own: one that was forgotten, and still ends, changes nothing for the thread after it.
    """

    def __init__(self) -> None:
        self.name = f"process {uuid4().hex}"
        self.at: StreamCursor | None = None
        """How far it has read; None until it watches."""
        self.wanted: Interest | None = None
        self.renews_at = self.ends_at = 0.0
        self.may_mark = True
        """Whether it may still mark a tick before it pauses. A busy stream always has news."""


class Hub:
    """The followers of one process, of one application."""

    def __init__(self, store: Store, packing: Packing) -> None:
        self.pid = os.getpid()
        self.store = store
        self._packing = packing
        self._interval = store.tuning.events_interval
        self._guard = threading.RLock()
        self._followers: dict[Follower, None] = {}
        self._thread = ThreadOnDemand(self._guard, "posthorse-events")
        self._roused = threading.Event()
        self._reached: StreamCursor | None = None
        """How far the thread has read; None until it watches."""

    def join(self, follower: Follower) -> None:
        """Let a reader follow. It gets `begins` soon, and events from there on."""
        with self._guard:
            follower.begins = None
            follower.is_behind = False
            follower.waiting.clear()
            follower.bell.clear()
            self._followers[follower] = None
            self._thread.start(self._work)
            self._roused.set()

    def attend(self) -> None:
        """Start the thread again if it ended, as after `app.close()`."""
        with self._guard:
            self._thread.start(self._work)

    def leave(self, follower: Follower) -> None:
        """Let it follow no more."""
        with self._guard:
            self._followers.pop(follower, None)

    def take(self, follower: Follower) -> tuple[Sequence[Placed], StreamCursor | None]:
        """Take out the events that wait for a reader; return how far it has read with them, too, if that is known."""
        with self._guard:
            taken = tuple(follower.waiting)
            follower.waiting.clear()
            if not follower.is_behind:
                follower.bell.clear()
            return taken, None if follower.is_behind else self._reached

    def wait(self, follower: Follower, seconds: float) -> None:
        """Wait until something is there for a reader, or the time is over."""
        follower.bell.wait(seconds)

    async def await_(self, follower: Follower, seconds: float) -> None:
        """Do the same for a coroutine."""
        loop = asyncio.get_running_loop()
        with self._guard:
            if follower.bell.is_set():
                return
            follower.loop, follower.future = loop, loop.create_future()
            future = follower.future
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await future
        finally:
            follower.future = None

    def close(self) -> None:
        """End the thread, and the watch. Readers that still follow start it again."""
        with self._guard:
            thread = self._thread.forget()
            self._roused.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(IDLE_TIME)

    # ── in the thread ────────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        idle_since = monotonic()
        watch = _Watch()
        try:
            while self._thread.is_current:
                self._roused.clear()
                followers = self._present()
                if followers:
                    idle_since = monotonic()
                    if self._serve_safely(watch, followers):
                        continue
                elif monotonic() - idle_since >= IDLE_TIME and self._is_over():
                    break
                self._roused.wait(self._interval)
                watch.may_mark = True
        finally:
            self._stop_watching(watch)

    def _present(self) -> Sequence[Follower]:
        with self._guard:
            return tuple(self._followers)

    def _is_over(self) -> bool:
        with self._guard:
            if self._followers:
                return False
            self._thread.forget()
            return True

    def _serve_safely(self, watch: _Watch, followers: Sequence[Follower]) -> bool:
        try:
            return self._serve(watch, followers)
        except Exception as error:
            log.warning("cannot read what happens to jobs: %s; trying again", error)
            self._roused.wait(IDLE_TIME)
            return False

    def _serve(self, watch: _Watch, followers: Sequence[Follower]) -> bool:
        """Keep up the watch, let new readers in, and hand over one page; return whether there is another already."""
        self._keep_watching(watch, followers)
        if watch.at is None:
            self._begin(watch)
        self._let_in(watch, followers)
        return self._read(watch, followers)

    def _keep_watching(self, watch: _Watch, followers: Sequence[Follower]) -> None:
        wanted = union(Interest(_sorted(each.filter.names), _sorted(each.filter.kinds)) for each in followers)
        now = monotonic()
        if wanted == watch.wanted and now < watch.renews_at:
            return
        was_watched = self.store.run(start_watching(watch.name, wanted, uuid4().hex[:8], seconds=WATCH_TIME))
        learn(self.store.watched, self.store.read(queues_and_watchers()), self.store.watched.changes)
        if watch.wanted is not None and (not was_watched or now >= watch.ends_at):
            log.warning("the stream was not watched for a while, because the watch ended before it was renewed")
            self._say_unwatched()
        watch.wanted, watch.renews_at, watch.ends_at = wanted, now + RENEWAL_INTERVAL, now + WATCH_TIME

    def _say_unwatched(self) -> None:
        with self._guard:
            if self._thread.is_current:
                for follower in self._followers:
                    if follower.begins is not None:
                        follower.was_unwatched = True
                        follower.ring()

    def _begin(self, watch: _Watch) -> None:
        """Begin with what comes now. A reader that was served before finds out by itself what it missed."""
        state = self.store.read(stream_state())
        if state.has_news or state.is_foreign:
            while self.store.run(mark_tick(uuid4().hex[:8])):
                pass
            state = self.store.read(stream_state())
        with self._guard:
            if not self._thread.is_current:
                return
            is_new = watch.at is None  # then the watch of the thread before has ended, or will
            watch.at = self._reached = state.newest
            for follower in self._followers:
                if follower.begins is not None:
                    follower.is_behind = True
                    follower.was_unwatched = follower.was_unwatched or is_new
                    follower.ring()

    def _let_in(self, watch: _Watch, followers: Sequence[Follower]) -> None:
        with self._guard:
            if not self._thread.is_current:
                return
            for follower in followers:
                if follower.begins is None:
                    follower.begins = watch.at
                    follower.ring()

    def _read(self, watch: _Watch, followers: Sequence[Follower]) -> bool:
        """Hand over one page; return whether there is another already.

        A tick shows what is new. The thread marks one at most between two pauses.
        """
        if watch.at is None:
            return False
        names = None if watch.wanted is None else watch.wanted.names
        page = self.store.read(read_page(watch.at.place, names, mark=watch.at.mark))
        life = page.state.life or ""
        if why_unreadable(watch.at, life, page.state.kept, is_other=page.is_other) is not None:
            self._begin(watch)
            return False
        events = [*events_of(page, self._packing)]
        with self._guard:
            if not self._thread.is_current:
                return False
            watch.at = self._reached = StreamCursor(life, page.after, page.mark)
            for follower in followers:
                self._hand_over(follower, events)
        if not page.is_last:
            return True
        if watch.may_mark and (page.state.has_news or page.state.is_foreign):
            watch.may_mark = self.store.run(mark_tick(uuid4().hex[:8]))
            return True
        return False

    def _hand_over(self, follower: Follower, events: Sequence[Placed]) -> None:
        if follower.begins is None or follower.is_behind:
            return
        new = [placed for placed in events if wanted(placed, follower.filter)]
        if not new:
            return
        if len(follower.waiting) >= MAX_WAITING:
            follower.is_behind = True
        else:
            follower.waiting.extend(new)
        follower.ring()

    def _stop_watching(self, watch: _Watch) -> None:
        try:
            self.store.run(unwatch(watch.name))
        except Exception as error:
            log.debug("the watch ends by itself: %s", error)


def _sorted(several: frozenset[str] | None) -> Sequence[str] | None:
    return None if several is None else sorted(several)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
