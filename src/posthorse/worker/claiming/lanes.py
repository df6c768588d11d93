"""Which lanes a runner may serve now, and in which turns; from where in each it looks is told by `marks`.

What is said of queues decides which lanes are closed at the moment, and whether queues take turns by weight. A lane
whose head has waited long counts as higher, until something was taken from it; its wait is asked for once a second.

To look into thousands of lanes takes longer than to claim what a few of them hold. So where there are many, claims go
to no more lanes than they want jobs, of those that had some at the last look into all (`found`); that comes again when
these do not suffice, and often enough.
Pure: times are monotonic seconds that come in.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from operator import attrgetter

from posthorse.rules.fair_share import Group, Line, Passes, after_turns, next_lanes
from posthorse.rules.job import HIGHEST_PRIORITY, Lane
from posthorse.rules.queues import DEFAULTS, QueueSettings
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.worker.claiming.low_water_marks import LowWaterMarks
from posthorse.worker.claiming.non_empty_lanes import NonEmptyLanes

AGES_INTERVAL = 1.0

FEW = 200
"""Up to so many lanes every claim looks into all of them."""

FRESH_FOR = 1.0
"""Seconds after such a look for which lanes that gave jobs then are asked again before another."""

LOOK_SHARE = 50
"""A look into all of many lanes that took t seconds is followed by another after 50 t."""


Sharing = dict[int, dict[str, dict[str, list[int]]]]
"""Lanes by priority, queue and tenant."""


class LaneBook:
    """The lanes that a runner serves."""

    def __init__(
        self,
        serves: Callable[[Lane], bool],
        *,
        keeps_marks: bool,
        labels: Mapping[str, str] | None = None,
        keeps_mark_of: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self.known = 0
        """The highest number of a lane that was looked at."""
        self.takes_turns = False
        """True when queues share by weight, or one of them serves the newest first."""
        self.weights: Mapping[str, int] = {}
        self.passes = Passes()
        self._serves = serves
        self._labels = labels or {}
        self._lanes: dict[int, Lane] = {}
        self._strange: dict[int, Lane] = {}
        """Lanes that are not served; a kind that is registered later may change that."""
        self._solo: list[int] = []
        self._priorities: dict[int, int] = {}
        """Of lanes that are served and not solo."""
        self._has_levels = False
        """True when some of them are higher than others."""
        self._marks = LowWaterMarks(are_kept=keeps_marks)
        self._queues: Mapping[str, QueueSettings] = {}
        self._closed: frozenset[str] = frozenset()
        self._fair: frozenset[str] = frozenset()
        self._boosts: dict[int, int] = {}
        self._next_ages = 0.0
        self._keeps_mark_of = keeps_mark_of
        self._shut: dict[int, float] = {}
        self._found = NonEmptyLanes()
        self._is_fresh = False
        """True when nothing was claimed since the last look into all of many lanes."""
        self._gives_well = False
        """True while those that were found then give at least half of what they are asked for."""
        self._fresh_until = 0.0
        self._next_look = 0.0
        self._probed: Sequence[int] = ()
        self._floors: Mapping[Group, int] = {}
        """Where those stand whom the last probes left out."""
        self._arranged: Sharing | None = None
        """The lanes that were found, as they share; None when that has to be put together anew."""
        self.is_partial = False
        """True when the last probes left out lanes that may have jobs."""

    def add(self, lanes: Iterable[tuple[int, Lane]]) -> Sequence[int]:
        """Enters lanes; answers with those that are served from now on, some of them strange until now."""
        for number, lane in lanes:
            self.known = max(self.known, number)
            self._strange[number] = lane
        served = [number for number, lane in self._strange.items() if self._serves(lane)]
        for number in served:
            self._lanes[number] = lane = self._strange.pop(number)
            if lane.solo:
                self._solo.append(number)
            else:
                self._priorities[number] = lane.priority
        if served:
            self._arrange_turns()
        return served

    def obey(self, queues: Mapping[str, QueueSettings]) -> None:
        """Learns what holds for queues from now on; `open_at` says which of them are open."""
        self._queues = queues
        self._boosts.clear()
        self._arrange_turns()

    def open_at(self, now: int) -> bool:
        """Closes and opens queues by the store's clock, in microseconds; true when one was opened."""
        before = self._closed
        self._closed = frozenset(
            name
            for name, settings in self._queues.items()
            if settings.is_closed(now) or not settings.fits(self._labels)
        )
        if self._closed != before:
            self._arranged = None
        return bool(before - self._closed)

    def settings(self, queue: str) -> QueueSettings:
        """What holds for a queue."""
        return self._queues.get(queue, DEFAULTS)

    def __getitem__(self, number: int) -> Lane:
        return self._lanes[number]

    @property
    def served(self) -> Collection[int]:
        """The numbers of all lanes that are served."""
        return self._lanes.keys()

    @property
    def has_many(self) -> bool:
        """True when there are so many lanes that not every claim can look into all of them."""
        return len(self._lanes) > FEW

    def has_to_look(self, now: float) -> bool:
        """Whether it is time to look into all of many lanes, for `learn`."""
        if not self.has_many or (self._is_enough_found(now) and now < min(self._next_look, self._marks.next_sweep)):
            return False
        self._marks.begin(now)
        return True

    def looks(self, now: float) -> Sequence[Probe]:
        """Where to look then."""
        return list(self._openings(self._lanes, now))

    def learn(self, heads: Mapping[int, int], *, now: float, seconds: float) -> None:
        """Learns the places of the heads of all lanes that have jobs, from a look that took `seconds`."""
        priorities = self._priorities
        boosted = {number: priorities[number] + steps for number, steps in self._boosts.items()}
        served = {number: place for number, place in heads.items() if number in priorities}
        self._found.learn(served, ChainMap(boosted, priorities) if boosted else priorities)
        self._arranged = None
        self._is_fresh = self._gives_well = True
        self._next_look, self._fresh_until = now + LOOK_SHARE * seconds, now + FRESH_FOR
        self._marks.end(now, seconds)

    def probes(self, now: float, room: int) -> Sequence[Probe]:
        """Where to look for `room` jobs, the highest priority first; `note` learns what came of it."""
        if self.has_many:
            return self._sorted(self._probes_found(now, room))
        self._marks.begin(now)
        self.is_partial, self._floors = False, {}
        return self._sorted(self._openings(self._lanes, now))

    def solo_probes(self) -> Sequence[Probe]:
        """Where to look for suspects. They are few, so that no marks are kept of them."""
        return self._sorted(Probe(number, 0, lane.priority) for number, lane in self._open(True, self._solo))

    def lines(self, probes: Sequence[Probe]) -> Mapping[int, Line]:
        """The lanes of these probes as turns see them."""
        return {
            probe.lane: Line(
                lane.queue,
                probe.priority,
                self.settings(lane.queue).order == "lifo",
                lane.tenant if lane.queue in self._fair else None,
            )
            for probe in probes
            for lane in (self._lanes[probe.lane],)
        }

    def take_note_of_turns(
        self, claimed: Sequence[Claimed], lines: Mapping[int, Line], waiting: Collection[int]
    ) -> None:
        """Learns whose turn it was; `waiting` are the lanes that had jobs."""
        had_jobs = {number: line for number, line in lines.items() if number in waiting}
        self.passes = after_turns([job.lane for job in claimed], had_jobs, self.weights, self.passes, self._floors)
        if self.has_many:  # else they would be next at every claim, and keep others from it
            self._forget([number for number in lines if number not in waiting and number not in self._shut])

    # ── gates ────────────────────────────────────────────────────────────────────────────────────────

    def shut(self, lanes: Iterable[int], *, until: float) -> None:
        """Lanes before whose gates it is of no use to look until then."""
        self._shut.update((number, until) for number in lanes)

    def reopen(self) -> None:
        """Somebody left a gate: it is of use again to look."""
        self._shut.clear()

    def opens_at(self) -> float:
        """When the first lane that is shut is to be looked at again."""
        return min(self._shut.values(), default=inf)

    # ── ageing ───────────────────────────────────────────────────────────────────────────────────────

    def ageing_probes(self, now: float) -> Sequence[Probe]:
        """Lanes whose wait is to be asked for now: those that others may starve."""
        if now < self._next_ages or not self._has_levels:
            return ()
        self._next_ages = now + AGES_INTERVAL
        lanes = list(self._open(False, (number for number, _ in self._found) if self.has_many else self._lanes))
        highest = max((lane.priority for _, lane in lanes), default=0)
        return [
            Probe(number, self._marks.sharp(number), lane.priority)
            for number, lane in lanes
            if lane.priority < highest and self.settings(lane.queue).ageing
        ]

    def age(self, waits: Mapping[int, int]) -> None:
        """Learns how many microseconds the heads of lanes have waited."""
        self._boosts.clear()
        for number, waited in waits.items():
            lane = self._lanes[number]
            steps = int(waited / 1_000_000 / self.settings(lane.queue).ageing)
            if steps > 0:
                self._boosts[number] = min(steps, HIGHEST_PRIORITY - lane.priority)

    # ── what came of it ──────────────────────────────────────────────────────────────────────────────

    def note(
        self, claimed: Sequence[Claimed], *, room: int, now: float, seconds: float, exhausted: bool = False
    ) -> None:
        """Learns from a claim that asked for `room` jobs and took `seconds`.

        exhausted: the lanes that were probed gave all that they had.
        """
        if self.has_many:
            self._gives_well = 2 * len(claimed) >= room
            self._note_found(claimed, exhausted=exhausted)
        self._marks.end(now, seconds)
        if self._boosts:
            for job in claimed:
                self._boosts.pop(job.lane, None)  # its head is a younger one now
        self._marks.note(claimed, room=room, now=now)

    def _open(self, solo: bool, numbers: Iterable[int]) -> Iterable[tuple[int, Lane]]:
        for number in numbers:
            lane = self._lanes[number]
            if lane.solo is solo and lane.queue not in self._closed:
                yield number, lane

    def _openings(self, numbers: Iterable[int], now: float) -> Iterable[Probe]:
        """Lanes that are open and not shut, each from where it is to be looked at."""
        for number, lane in self._open(False, numbers):
            if not self._shut or self._shut.get(number, now) <= now:
                yield Probe(number, self._start(number, now), lane.priority + self._boosts.get(number, 0))

    def _is_enough_found(self, now: float) -> bool:
        """Lanes may be asked for more than they were found with: a few always, many for a while and not in vain."""
        may_ask_again = len(self._found) <= FEW or (self._gives_well and now < self._fresh_until)
        return self._found.untouched > 0 or (len(self._found) > 0 and may_ask_again)

    def _probes_found(self, now: float, room: int) -> Sequence[Probe]:
        """As many of the lanes that had jobs as jobs are wanted, or of those who share."""
        self.is_partial = not self._is_fresh
        found = self._next_in_turn(now, room) if self.takes_turns else self._next_found(now, room)
        lanes, boosts = self._lanes, self._boosts
        probes: list[Probe] = []
        for number, place in found:
            # What was found may have committed late, and stand before the mark.
            after = min(self._start(number, now), place - 1) if self._marks.are_kept else 0
            probes.append(Probe(number, after, lanes[number].priority + boosts.get(number, 0)))
        self._probed = [probe.lane for probe in probes]
        return probes

    def _open_found(self, now: float) -> Iterator[tuple[int, int]]:
        """Lanes that had jobs, are open and not shut, with the places of their heads."""
        lanes, closed, shut = self._lanes, self._closed, self._shut
        for number, place in self._found:
            if not (lanes[number].queue in closed or (shut and shut.get(number, now) > now)):
                yield number, place

    def _next_found(self, now: float, room: int) -> Iterable[tuple[int, int]]:
        found = list(islice(self._open_found(now), room + 1))
        self.is_partial = self.is_partial or len(found) > room
        return found[:room]

    def _next_in_turn(self, now: float, room: int) -> Iterable[tuple[int, int]]:
        if self._shut or self._boosts:  # these change from claim to claim
            sharing = self._sharing(self._open_found(now))
        else:
            sharing = self._arranged = self._arranged or self._sharing(self._open_found(now))
        chosen = next_lanes(sharing, self.weights, self.passes, room)
        self._floors = chosen.floors
        self.is_partial = self.is_partial or not chosen.is_all
        return [(number, self._found.place(number)) for number in chosen.lanes]

    def _sharing(self, found: Iterable[tuple[int, int]]) -> Sharing:
        sharing: Sharing = {}
        for number, _ in found:
            priority, queue, tenant = self._share_of(number)
            sharing.setdefault(priority, {}).setdefault(queue, {}).setdefault(tenant, []).append(number)
        return sharing

    def _share_of(self, number: int) -> tuple[int, str, str]:
        lane = self._lanes[number]
        tenant = lane.tenant if lane.queue in self._fair else ""
        return lane.priority + self._boosts.get(number, 0), lane.queue, tenant

    def _forget(self, numbers: Collection[int]) -> None:
        """These have no jobs any more."""
        self._found.forget(numbers)
        if not numbers or self._arranged is None:
            return
        if self._boosts:
            self._arranged = None
            return
        for number in numbers:
            priority, queue, tenant = self._share_of(number)
            queues = self._arranged.get(priority, {})
            tenants = queues.get(queue, {})
            if number in tenants.get(tenant, ()):
                tenants[tenant].remove(number)
                if not tenants[tenant]:
                    del tenants[tenant]
                if not tenants:
                    del queues[queue]

    def _note_found(self, claimed: Sequence[Claimed], *, exhausted: bool) -> None:
        gave = {job.lane for job in claimed}
        if not self._probed:
            self._found.clear()  # what is left there is closed: time to look elsewhere
            self._arranged = None
        elif exhausted or not claimed:
            self._forget([number for number in self._probed if number not in gave])
        self._found.put_behind(gave)
        self._is_fresh = self._is_fresh and not claimed

    def _arrange_turns(self) -> None:
        self._arranged = None
        served = {lane.queue: self.settings(lane.queue) for lane in self._lanes.values()}
        self.weights = {queue: settings.weight for queue, settings in served.items()}
        self._fair = frozenset(lane.queue for lane in self._lanes.values() if lane.tenant)
        self._has_levels = len(set(self._priorities.values())) > 1
        self.takes_turns = bool(self._fair) or any(
            settings.weight != 1 or settings.order == "lifo" for settings in served.values()
        )

    def _sorted(self, probes: Iterable[Probe]) -> Sequence[Probe]:
        return sorted(probes, key=attrgetter("priority"), reverse=True)

    def _start(self, number: int, now: float) -> int:
        start = self._marks.start(number, now)
        # Asked only where there is a mark: of thousands of lanes, most have none.
        if start == 0 or not self._keeps_mark_of(number):
            return 0
        if self.takes_turns and self.settings(self._lanes[number].queue).order == "lifo":
            return 0  # what is consumed there is what came last
        return start
