"""`app.events(…)`: read what happened to jobs, and follow what happens, in both colours.

A reader that follows first reads by itself up to where the hub of its process is, and then gets events from the hub.
One that fell behind does that again.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from posthorse.app.hub import Follower, Hub
from posthorse.app.verbs import Verb, adrive, commit, drive, look_up, step
from posthorse.clock import moment
from posthorse.errors import InvalidCall
from posthorse.rules.job_events import EventFilter, Missed, StreamEvent
from posthorse.rules.stream_cursor import StreamCursor, Why, why_unreadable
from posthorse.store.blocking import refuse_in_loop
from posthorse.store.events_of_page import Placed, events_of, wanted
from posthorse.store.operations.store_facts import store_now
from posthorse.store.operations.stream import mark_tick, read_page

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

LOOK_INTERVAL = 0.5
"""Seconds after which a reader that waits looks whether its hub is still there."""


class Events:
    """Events in the order of the store: iterate with `for` or `async for`.

    All readers get the same order. `cursor` is where this one is: pass it to `app.events(after=…)` to read on from
    there, in this process or in another.
    """

    def __init__(self, app: Posthorse, filter: EventFilter, after: StreamCursor | None, *, follow: bool) -> None:
        self._app = app
        self._filter = filter
        self._names = None if filter.names is None else sorted(filter.names)
        self._follows = follow
        self._at = after
        """Where it is: all events before were returned, or are not wanted."""
        self._read_to = None if after is None else after.place
        """How far it has read by itself."""
        self._ready: deque[Placed] = deque()
        self._follower = Follower(filter)
        self._hub: Hub | None = None
        self._is_live = False
        """Whether the hub reads for it."""
        self._was_marked = False
        self._is_last = False
        """Whether it ends after the events that are ready."""
        self._is_over = False

    @property
    def cursor(self) -> str | None:
        """Where it is; None before it has begun."""
        return None if self._at is None else str(self._at)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        refuse_in_loop("iterating over app.events()", "write `async for event in app.events(…)`")
        event = drive(self._next())
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        event = await adrive(self._next())
        if event is None:
            raise StopAsyncIteration
        return event

    def __enter__(self) -> Self:
        """Begin to follow: what happens from now on is read."""
        refuse_in_loop("entering app.events()", "write `async with app.events(…)`")
        drive(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await adrive(self._begin())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read no more. A reader that is dropped is closed, too."""
        self._is_over = True
        if self._hub is not None:
            self._hub.leave(self._follower)

    # ── private ──────────────────────────────────────────────────────────────────────────────────────

    def _next(self) -> Verb[StreamEvent | None]:
        """Return the next event; None at the end of a reader that does not follow."""
        yield from self._begin()
        while not self._is_over:
            while self._ready:
                placed = self._ready.popleft()
                if self._at is not None and placed.at >= self._at.place:
                    self._at = StreamCursor(self._at.life, placed.after, placed.mark)
                    return placed.make()
            if self._is_last:
                break
            if self._follower.was_unwatched and self._at is not None:
                self._follower.was_unwatched = False
                return (yield from self._miss(self._at, "not watched", self._at))
            missed = yield from (self._hear() if self._is_live else self._read())
            if missed is not None:
                return missed
        return None

    def _begin(self) -> Verb[None]:
        if self._app.store.is_in_transaction:
            raise InvalidCall(
                "app.events() cannot be read inside a transaction, because it reads what others commit; read it before "
                "or after the block"
            )
        if self._follows and not self._is_over and (self._hub is None or self._hub.pid != os.getpid()):
            yield from self._join()

    def _join(self) -> Verb[None]:
        """Join the hub. What comes before it, this reader must read by itself first."""
        hub, follower = self._app.hub, self._follower
        if self._hub is None:
            weakref.finalize(self, _leave, self._app, follower)
        self._hub = hub
        hub.join(follower)
        while follower.begins is None:
            hub.attend()
            yield from step(hub.wait, hub.await_, follower, LOOK_INTERVAL)
        self._is_live = False
        if self._at is None:
            self._at = follower.begins
        self._read_to = self._at.place

    def _hear(self) -> Verb[Missed | None]:
        """Take the events that wait at the hub, or wait for some."""
        hub, follower = self._hub, self._follower
        assert hub is not None
        waiting, reached = hub.take(follower)
        self._ready.extend(waiting)
        if waiting:
            return None
        if follower.is_behind or hub.pid != os.getpid():
            yield from self._join()
            return None
        hub.attend()
        if reached is not None and self._at is not None and reached.place > self._at.place:
            self._at = reached
        yield from step(hub.wait, hub.await_, follower, LOOK_INTERVAL)
        return None

    def _read(self) -> Verb[Missed | None]:
        """Read one page without the hub; notice when it is where the hub took over."""
        begins = self._follower.begins if self._follows else None
        at, read_to = self._at, self._read_to
        if begins is not None and at is not None and begins.life == at.life and (read_to or at.place) >= begins.place:
            self._at = max(at, StreamCursor(at.life, min(read_to or at.place, begins.place)))
            self._is_live = True
            return None
        mark = at.mark if at is not None and read_to == at.place else 0
        page = yield from look_up(self._app, read_page(read_to, self._names, mark=mark))
        life, kept = page.state.life or "", page.state.kept
        if at is not None and read_to is not None:
            why = why_unreadable(StreamCursor(at.life, read_to), life, kept, is_other=page.is_other)
            if why is not None:
                goes_on = StreamCursor(life, kept.oldest) if why == "too old" else page.state.newest
                return (yield from self._miss(at, why, goes_on))
        self._at = at or StreamCursor(life, kept.oldest)
        for placed in events_of(page, self._app.registry.packing):
            if begins is not None and placed.at >= begins.place:
                break
            if wanted(placed, self._filter):
                self._ready.append(placed)
        self._read_to = page.after
        if self._follows and page.is_last and not self._ready:
            if begins is None or begins.life != life or page.after < begins.place:
                yield from self._join()  # the hub began before, in another life of the stream
        elif page.is_last and not self._follows:
            if (page.state.has_news or page.state.is_foreign) and not self._was_marked:
                has_more = yield from commit(self._app, mark_tick(uuid4().hex[:8]))
                self._was_marked = not has_more
            else:
                self._is_last = True
        return None

    def _miss(self, at: StreamCursor, why: Why, goes_on: StreamCursor) -> Verb[Missed]:
        """Go on from another place."""
        now = yield from look_up(self._app, store_now())
        self._at, self._read_to = goes_on, goes_on.place
        return Missed(why=why, after=str(at), cursor=str(goes_on), at=moment(now))


def _leave(app: Posthorse, follower: Follower) -> None:
    app.hub.leave(follower)
