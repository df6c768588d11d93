"""Durable observers of events: each event that one wants becomes a job, or a part of a job, exactly once.

Every process whose code has observers looks. It reads on from the place of the observer in the store, and in one commit
moves that place and enqueues the jobs. A process that comes second finds another place, and does nothing. So there is
no leader, and what was committed is handed over once, whichever process dies.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from uuid import uuid4

from msgspec.structs import replace

from posthorse import ids
from posthorse.clock import moment, monotonic
from posthorse.errors import PosthorseError
from posthorse.failpoints import failpoint
from posthorse.rules.job_events import Missed, StreamEvent
from posthorse.rules.observers import MAX_BATCH, EventObserver
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.queues import DeclaredQueues
from posthorse.rules.stream_cursor import StreamCursor, StreamPlace, Why, as_cursor, why_unreadable
from posthorse.rules.watched import Interest, encode_interest
from posthorse.store.admission import Admission
from posthorse.store.events_of_page import events_of
from posthorse.store.operations.observing import Stored, enter_reader, hand_over, keep_watching, places_of
from posthorse.store.operations.store_facts import store_now
from posthorse.store.operations.stream import NextBlocks, StreamState, mark_tick, read_page, stream_state
from posthorse.store.operations.submit import EntryTerms
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

LOOK_WHEN_SECOND = 2.0
"""Seconds between the looks of a process while another one hands over."""

WAIT_AFTER_ERROR = 1.0
"""Seconds for which an observer that could not be notified is left alone."""

MAX_PAGES_IN_MEMORY = 2
"""Pages that a look keeps for the other observers that are at the same place."""

PLACE_INTERVAL = 10.0
"""Seconds after which a place that moved without any event for its observer is stored."""


class _Reading:
    """How far one observer is: in the store, and in the memory of this process."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.at = as_cursor(stored.place)
        self.pending: list[StreamEvent] = []
        self.since = monotonic()
        """When the first of those events was read, or the place was stored."""
        self.says_unwatched = bool(stored.unwatched_at)
        """Whether it must still be told that nothing watched for it."""
        self.waits_until = 0.0
        """Until when it is left alone, because it could not be notified."""


class EventObservers:
    """Hand over events to the observers that this code declares."""

    def __init__(
        self,
        store: Store,
        observers: Mapping[str, EventObserver],
        queues: DeclaredQueues,
        packing: Packing = PLAIN,
        *,
        keep: float,
    ) -> None:
        self._store = store
        self._observers = observers
        self._packing = packing
        self._keep = keep
        self._admission = Admission(store, queues)
        self._interval = store.tuning.observers_interval
        self._readings: dict[str, _Reading] = {}
        self._watches_until = 0.0
        self._was_first = self._was_second = False
        """Whether this process handed over in this turn, and whether another one did what it was about to do."""

    async def run_forever(self) -> None:
        """Run until cancelled."""
        while True:
            pause = self._interval
            try:
                if self._observers:
                    has_more = await self._turn()
                    if has_more:
                        pause = 0.0
                    elif self._was_second and not self._was_first:
                        pause = max(pause, LOOK_WHEN_SECOND)
            except PosthorseError as error:
                log.warning("cannot look for what observers want: %s", error)
                pause = 1.0
            except Exception:
                log.exception("cannot look for what observers want")
                pause = 1.0
            await asyncio.sleep(pause if self._observers else 60.0)

    async def watch(self) -> None:
        """Begin to watch for all observers there are, so that what happens from now on is written down for them."""
        await self._keep_watching()

    async def notify(self) -> None:
        """Hand over all that there is now, including events that a batch would still gather."""
        while await self._turn(at_once=True):
            pass

    async def _turn(self, *, at_once: bool = False) -> bool:
        """Read on for each observer, a page of each in turns, up to a number of pages; return whether there is more.

        So an observer with a long way to go holds no other up, and those at the same place share a page.
        """
        if monotonic() >= self._watches_until:
            await self._keep_watching()
        active = await self._present()
        pages: dict[StreamPlace, NextBlocks] = {}
        self._was_first = self._was_second = False
        for _ in range(self._store.tuning.observer_pages):
            active = [each for each in active if await self._serve_safely(*each, pages, at_once=at_once)]
            if not active:
                break
        return bool(active)

    async def _present(self) -> list[tuple[EventObserver, _Reading]]:
        """Return the observers that can be notified now, and how far each is."""
        stored = await self._store.aread(places_of([_reader(name) for name in self._observers]))
        found: list[tuple[EventObserver, _Reading]] = []
        for name, observer in self._observers.items():
            known = stored.get(_reader(name))
            if known is None:
                self._watches_until = 0.0  # it was forgotten: it enters again
                continue
            reading = self._readings.get(name)
            if reading is None or reading.stored != known:
                reading = self._readings[name] = _Reading(known)
            if monotonic() >= reading.waits_until:
                found.append((observer, reading))
        return found

    async def _keep_watching(self) -> None:
        """Watch for each observer, for as long as events are kept: so long it may be without any process."""
        for name, observer in self._observers.items():
            wanted = Interest(sorted(observer.names), None if observer.kinds is None else sorted(observer.kinds))
            reader, life = _reader(name), uuid4().hex[:8]
            await self._store.arun(keep_watching(reader, _watcher(name, wanted), wanted, life, seconds=self._keep))
        state = await self._state()
        for name in self._observers:
            await self._store.arun(enter_reader(_reader(name), str(StreamCursor(state.life or "", state.kept.newest))))
        self._watches_until = monotonic() + min(self._keep / 4, 3600.0)

    async def _state(self) -> StreamState:
        state = await self._store.aread(stream_state())
        if state.has_news or state.is_foreign:
            while await self._store.arun(mark_tick(uuid4().hex[:8])):
                pass
            state = await self._store.aread(stream_state())
        return state

    async def _serve_safely(
        self, observer: EventObserver, reading: _Reading, pages: dict[StreamPlace, NextBlocks], *, at_once: bool
    ) -> bool:
        """Do as `_serve`; an observer that cannot be notified is left alone for a moment, and holds no other up."""
        try:
            return await self._serve(observer, reading, pages, at_once=at_once)
        except PosthorseError as error:
            log.warning("cannot notify the observer %s: %s", observer.name, error)
            reading.waits_until = monotonic() + WAIT_AFTER_ERROR
            return False

    async def _serve(
        self, observer: EventObserver, reading: _Reading, pages: dict[StreamPlace, NextBlocks], *, at_once: bool
    ) -> bool:
        """Read on for one observer, and hand over what is due; return whether there may be more."""
        page = await self._page(reading.at.place, pages)
        life, kept = page.state.life or "", page.state.kept
        if (why := why_unreadable(reading.at, life, kept)) is not None:
            return await self._miss(
                observer, reading, why, StreamCursor(life, kept.oldest if why == "too old" else kept.newest)
            )
        if reading.says_unwatched:
            reading.says_unwatched = False
            return await self._miss(observer, reading, "not watched", reading.at)
        if len(reading.pending) < MAX_BATCH:
            for placed in events_of(page, self._packing):
                if placed.name in observer.names and observer.wants(placed.face):
                    if not reading.pending:
                        reading.since = monotonic()
                    reading.pending.append(placed.make())
            reading.at = StreamCursor(life, page.after)
        if reading.pending:
            if at_once or observer.is_due(len(reading.pending), monotonic() - reading.since):
                return await self._hand_over(observer, reading) and not page.is_last
        elif page.is_last and monotonic() - reading.since >= PLACE_INTERVAL and str(reading.at) != reading.stored.place:
            await self._hand_over(observer, reading)
        return not page.is_last

    async def _miss(self, observer: EventObserver, reading: _Reading, why: Why, goes_on: StreamCursor) -> bool:
        """Hand over that events were missed, and let the observer go on elsewhere."""
        what = "nothing watched for it" if why == "not watched" else f"the place where it was is {why}"
        log.warning("the observer %s missed events: %s", observer.name, what)
        if observer.wants_missed:
            reading.pending.append(
                Missed(why=why, after=str(reading.at), cursor=str(goes_on), at=moment(self._store.clock.now()))
            )
        reading.at = goes_on
        return await self._hand_over(observer, reading)

    async def _page(self, place: StreamPlace, pages: dict[StreamPlace, NextBlocks]) -> NextBlocks:
        """Read a page, once for all observers that are there; with a tick if that shows more."""
        page = pages.get(place)
        if page is None:
            page = await self._store.aread(read_page(place))
            if page.is_last and (page.state.has_news or page.state.is_foreign):
                await self._store.arun(mark_tick(uuid4().hex[:8]))
                page = await self._store.aread(read_page(place))
            while len(pages) >= MAX_PAGES_IN_MEMORY:
                del pages[next(iter(pages))]
            pages[place] = page
        return page

    async def _hand_over(self, observer: EventObserver, reading: _Reading) -> bool:
        """Enqueue jobs for what waits, and move the observer's place; return whether this process was first."""
        now = await self._store.aread(store_now())
        jobs = [replace(made, id=ids.moved_to(ids.new_id(), now)) for made in observer.jobs(reading.pending)]
        lanes = await self._store.alanes({observer.lane})
        _, gauges, closed = await self._admission.aterms(jobs)
        failpoint("before_hand_over")
        terms = EntryTerms(lanes, gauges, closed, self._packing, self._store.watched.submitted)
        moving = hand_over(_reader(observer.name), reading.stored, str(reading.at), jobs, terms)
        moved = await self._store.arun(moving)
        failpoint("after_hand_over")
        if moved:
            self._was_first = True
            reading.stored, reading.pending, reading.since = Stored(str(reading.at)), [], monotonic()
        else:
            self._was_second = True
            del self._readings[observer.name]  # where it is now is read at the next turn
        return moved


def _reader(observer: str) -> str:
    return f"observer {observer}"


def _watcher(observer: str, wanted: Interest) -> str:
    """Name the watch of an observer. While old and new code run side by side, each keeps up its own."""
    return f"{_reader(observer)} {hashlib.sha256(encode_interest(wanted).encode()).hexdigest()[:8]}"
