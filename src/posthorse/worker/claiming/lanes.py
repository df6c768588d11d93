"""The lanes of a runner: where its next claim looks for jobs. Five parts, none of which knows about claims, decide
this.

1. `served_lanes`: which lanes it may serve now. 2. `shut_gates`: which of these to leave out for a while. 3. `ageing`:
which have a raised priority. 4. `lane_sampling` and `low_water_marks`: which of many lanes to read, and from where on.
5. `fair_share`: whose turn it is.
Pure: times come in, in monotonic seconds.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from posthorse.rules.fair_share import Line
from posthorse.rules.job import Lane
from posthorse.rules.queues import QueueSettings
from posthorse.rules.tuning import DEFAULTS, Tuning
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.worker.claiming.ageing import Ageing
from posthorse.worker.claiming.fair_share import FairShare
from posthorse.worker.claiming.lane_sampling import FEW, LaneSample
from posthorse.worker.claiming.low_water_marks import LowWaterMarks
from posthorse.worker.claiming.served_lanes import ServedLanes, by_priority
from posthorse.worker.claiming.shut_gates import ShutGates


class Lanes:
    """The lanes of one runner."""

    def __init__(
        self,
        serves: Callable[[Lane], bool],
        *,
        keeps_marks: bool,
        labels: Mapping[str, str] | None = None,
        keeps_mark_of: Callable[[int], bool] = lambda _: True,
        tuning: Tuning = DEFAULTS,
    ) -> None:
        self.served = ServedLanes(serves, labels=labels)
        self.shut_gates = ShutGates()
        self.ageing = Ageing(self.served)
        self.fair_share = FairShare(self.served, self.ageing)
        self.sample = LaneSample()
        self._marks = LowWaterMarks(tuning, are_kept=keeps_marks)
        self._keeps_mark_of = keeps_mark_of

    # ── what the store told ──────────────────────────────────────────────────────────────────────────

    def add(self, lanes: Iterable[tuple[int, Lane]]) -> Sequence[int]:
        """Add lanes; return those that are served from now on."""
        if served := self.served.add(lanes):
            self.fair_share.arrange()
        return served

    def obey(self, queues: Mapping[str, QueueSettings]) -> None:
        """Replace the settings of all queues; the next `open_at` opens and closes them."""
        self.served.obey(queues)
        self.ageing.clear()
        self.fair_share.arrange()

    def open_at(self, now: int) -> bool:
        """Close and open queues by the store's clock, in microseconds; return whether one was opened."""
        opened, closed = self.served.open_at(now)
        if opened or closed:
            self.fair_share.rearrange()
        return bool(opened)

    # ── many lanes ───────────────────────────────────────────────────────────────────────────────────

    @property
    def are_many(self) -> bool:
        """True if there are too many lanes for each claim to read all of them."""
        return len(self.served) > FEW

    def has_to_look(self, now: float) -> bool:
        """Return whether to look into all lanes, if they are many; the result goes to `learn`."""
        if not self.are_many or not (self.sample.has_to_look(now) or now >= self._marks.next_sweep):
            return False
        self._marks.begin(now)
        return True

    def looks(self, now: float) -> Sequence[Probe]:
        """Return where that look should read."""
        return list(self._openings(now))

    def learn(self, heads: Mapping[int, int], *, now: float, seconds: float) -> None:
        """Learn where the first job of each lane is, from a look that took `seconds`."""
        priorities, boosts = self.served.priorities, self.ageing.boosts
        boosted = {number: priorities[number] + steps for number, steps in boosts.items()}
        served = {number: place for number, place in heads.items() if number in priorities}
        self.sample.learn(served, ChainMap(boosted, priorities) if boosted else priorities, now=now, seconds=seconds)
        self.fair_share.rearrange()
        self._marks.end(now, seconds)

    # ── a claim ──────────────────────────────────────────────────────────────────────────────────────

    def probes(self, now: float, room: int) -> Sequence[Probe]:
        """Return where to look for `room` jobs, the highest priority first; `note` learns the result."""
        if self.are_many:
            return by_priority(self._sampled(now, room))
        self._marks.begin(now)
        self.sample.ask_all()
        self.fair_share.asks_all()
        return by_priority(self._openings(now))

    def ageing_probes(self, now: float) -> Sequence[Probe]:
        """Return the lanes whose waiting times should be read now; usually none."""
        if not self.ageing.is_due(now):
            return ()
        lanes = self.served.open(self.sample if self.are_many else self.served.numbers)
        starving = self.ageing.starving(lanes, now)
        return [Probe(number, self._marks.sharp(number), lane.priority) for number, lane in starving]

    def note_turns(self, claimed: Sequence[Claimed], lines: Mapping[int, Line], waiting: Collection[int]) -> None:
        """Learn from a claim whose turn it was; `waiting`: the lanes that had jobs."""
        self.fair_share.note(claimed, lines, waiting)
        if self.are_many:  # otherwise these lanes would be next at every claim, and keep others out of it
            emptied = [number for number in lines if number not in waiting and number not in self.shut_gates]
            self.sample.forget(emptied)
            self.fair_share.forget(emptied)

    def note(
        self, claimed: Sequence[Claimed], *, room: int, now: float, seconds: float, exhausted: bool = False
    ) -> None:
        """Learn from a claim that asked for `room` jobs and took `seconds`.

        exhausted: the lanes that it read gave all that they had.
        """
        gave = {job.lane for job in claimed}
        if self.are_many:
            emptied = self.sample.note(gave, is_good=2 * len(claimed) >= room, is_exhausted=exhausted)
            self.fair_share.forget(emptied)
        self._marks.end(now, seconds)
        self.ageing.forget(gave)
        self._marks.note(claimed, room=room, now=now)

    def _openings(self, now: float) -> Iterable[Probe]:
        """Yield all lanes that are open and not shut, each with the place to start from."""
        boosts = self.ageing.boosts
        for number, lane in self.shut_gates.passable(self.served.open(self.served.numbers), now):
            yield Probe(number, self._start(number, now), lane.priority + boosts.get(number, 0))

    def _sampled(self, now: float, room: int) -> Iterable[Probe]:
        """Yield at most as many lanes of the sample as jobs are wanted, or the lanes of as many sharers."""
        sample, boosts = self.sample, self.ageing.boosts
        found = (number for number, _ in self.shut_gates.passable(self.served.open(sample), now))
        if self.fair_share.is_needed:
            lanes, is_all = self.fair_share.next_lanes(found, room, is_lasting=not self.shut_gates)
            asked = sample.ask_exactly(lanes, is_all=is_all)
        else:
            asked = sample.ask(found, room)
        for number in asked:
            # The job that the look found may have been committed late, and so be before the mark.
            after = min(self._start(number, now), sample.place(number) - 1) if self._marks.are_kept else 0
            yield Probe(number, after, self.served[number].priority + boosts.get(number, 0))

    def _start(self, number: int, now: float) -> int:
        start = self._marks.start(number, now)
        # Check the mark first: most of thousands of lanes have none, and `_keeps_mark_of` takes longer.
        if start == 0 or not self._keeps_mark_of(number):
            return 0
        if self.fair_share.is_needed and self.served.settings(self.served[number].queue).order == "lifo":
            return 0  # claims take the newest jobs first, so older ones are still before the mark
        return start
