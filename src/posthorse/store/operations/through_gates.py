"""A claim of jobs that have limits: they pass gates on the way, and those whom a gate of their own keeps out are held.

0. Where a function of the user's says what a limit is kept apart by, look at the next jobs (`in_sight`) and call it,
   before anything is locked.
1. Lock the gates that all jobs of a lane need; lanes before shut ones are left out.
2. Look at the next jobs of the lanes with limits, lock the gates that these need by themselves, and look again.
3. Take turns among them and the jobs without limits; a `_Admission` says who is let in.
4. Hold those whom it refused, claim those whom it admitted, and write who is inside which gates now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from posthorse.rules.fair_share import FairShares, Head, Line, take_turns
from posthorse.rules.gates import Arrival, GateLedger, Requirement, described
from posthorse.store.base import QuerySteps, locking_first, operation, query, query_rows, unrepeatable_operation
from posthorse.store.operations.by_fair_share import heads_of, next_in_turn, places_by_lane
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.store.operations.gates import line_up, lock_gates, note_gates
from posthorse.store.queries import Row

SIGHT = 100
"""Jobs of a lane with limits that a claim looks at: many of them may have to be set aside."""

IN_SIGHT = 2_000
"""Jobs of all such lanes that it looks at; two of each at least."""


class Candidate(NamedTuple):
    """What gates have to know of a job."""

    lane: int
    seq: int
    job: str
    tenant: str | None
    arguments: str | None
    """None where they are long, and nothing goes by them."""
    options: str | None
    enqueued: int | None = None
    """Its place in a sequence since it was enqueued; None for a job that had to wait for its time."""

    @property
    def place(self) -> int:
        """Where it stands among those before the same gates."""
        return self.seq if self.enqueued is None else self.enqueued


class Requirements(Protocol):
    """What the limits of an application ask of jobs."""

    def of_lane(self, lane: int) -> Sequence[Requirement]:
        """Gates of all jobs of a lane."""
        ...

    def has_keys(self, lane: int) -> bool:
        """Whether single jobs of a lane need gates of their own."""
        ...

    def goes_by_arguments(self, lane: int) -> bool:
        """Whether the arguments of such a job decide which gates it needs."""
        ...

    def of_job(self, candidate: Candidate) -> Sequence[Requirement] | None:
        """The gates of a single job of such a lane; None where that is not known yet. Calls no code of the user's."""
        ...

    def priority(self, lane: int) -> int:
        """The priority that a lane was made with."""
        ...


class Passed(NamedTuple):
    """The answer to a claim through gates."""

    claimed: list[Claimed]
    waiting: frozenset[int]
    """Lanes that had jobs."""
    shut: Mapping[int, float | None]
    """Lanes whose gates are shut, with the seconds until a token comes; None where somebody inside has to end."""
    gates: Mapping[str, Sequence[str]]
    """Which gates of its own each claimed job with limits passed."""
    has_held: bool
    """True when jobs were set aside on the way, or came too late to be known: there may be others behind them."""
    is_left: bool
    """True when it was the turn of a job with limits that the runner had no room for: nothing was claimed past it."""


@operation
def in_sight(
    probes: Sequence[Probe], lines: Mapping[int, Line], depth: int, requirements: Requirements
) -> QuerySteps[list[Candidate]]:
    """The next jobs of lanes with limits, with all that decides which gates they need. Takes no locks."""
    heads, _ = yield from _limited_heads(probes, lines, depth)
    return (yield from _candidates_at(heads, requirements))


def depth_of_sight(room: int, limited_room: int, *, sees_far: bool) -> int:
    """How many jobs of a lane with limits a claim looks at."""
    depth = max(limited_room, SIGHT)
    return depth if sees_far else min(room, depth)


@locking_first
@unrepeatable_operation
def claim_through_gates(
    runner: str,
    probes: Sequence[Probe],
    room: int,
    limited_room: int,
    turns: FairShares,
    requirements: Requirements,
    *,
    channel: str,
    sees_far: bool = False,
) -> QuerySteps[Passed]:
    """Up to `room` jobs, `limited_room` of them through gates; what a gate of its own keeps out is set aside. Where
    `limited_room` does not suffice for a job whose turn it is, nothing is claimed past it.

    As a `claim`, but that of each lane with limits no more than SIGHT jobs are looked at, if no more could start, and
    fewer of many lanes. `sees_far`: whether as many are looked at however little room there is.
    """
    of_lane = {probe.lane: requirements.of_lane(probe.lane) for probe in probes}
    gates_of_lanes = _by_gate(of_lane.values())
    ledger = GateLedger(*(yield from lock_gates(gates_of_lanes)))
    probes = [probe for probe in probes if all(ledger.room(requirement) != 0 for requirement in of_lane[probe.lane])]
    limited = {probe.lane for probe in probes if of_lane[probe.lane] or requirements.has_keys(probe.lane)}
    with_limits = [probe for probe in probes if probe.lane in limited]
    depth = depth_of_sight(room, limited_room, sees_far=sees_far)
    sight = yield from _look(with_limits, turns.lines, depth, requirements)
    gates_of_jobs = _by_gate(sight.required.values())
    if gates_of_jobs:
        ledger.learn((yield from lock_gates(gates_of_jobs))[0])
        # Somebody who left one of these gates may have lined up an earlier job meanwhile: that one goes first.
        sight = yield from _look(with_limits, turns.lines, depth, requirements)
    # Beside jobs with limits the others get no more turns than among themselves, and in the same order.
    without = [probe for probe in probes if probe.lane not in limited]
    free_heads, waiting = yield from next_in_turn(without, turns, room)
    admission = _Admission(ledger, requirements, of_lane, sight, limited_room)
    chosen = take_turns([*sight.heads, *free_heads], *turns, room, admits=admission.admits)
    if admission.refused:
        yield from _hold(admission.refused, sight.candidates, requirements)
    rows = (yield query_rows("claim_places", chosen, runner=runner)) if chosen else []
    turn = {head: place for place, head in enumerate(chosen)}
    claimed = sorted(map(Claimed._make, rows), key=lambda job: turn[Head(job.lane, job.seq)])
    passed = [(job, required) for job in claimed if (required := admission.admitted.get(Head(job.lane, job.seq)))]
    yield from _enter(passed, admission, (*gates_of_lanes.values(), *gates_of_jobs.values()), ledger)
    yield from line_up(gates_of_jobs.values(), ledger, channel)
    gates = {
        job.job: [requirement.gate for requirement in required if requirement.is_keyed] for job, required in passed
    }
    shut = {
        lane: ledger.opens_in(requirement)
        for lane, required in of_lane.items()
        for requirement in required
        if ledger.room(requirement) == 0
    }
    waiting |= {head.lane for head in sight.heads}
    return Passed(claimed, waiting, shut, gates, bool(admission.refused) or admission.meets_unknown, admission.is_left)


class _Sight(NamedTuple):
    """What a claim sees of the jobs in lanes with limits."""

    heads: list[Head]
    last: frozenset[Head]
    """The last that was seen of each lane that may have more."""
    candidates: dict[Head, Candidate]
    """Those that may need gates of their own."""
    required: dict[Head, Sequence[Requirement]]
    """Those gates, where they are known."""


class _Admission:
    """Says of each job whose turn it is whether it is let in, and knows what became of those before it."""

    def __init__(
        self,
        ledger: GateLedger,
        requirements: Requirements,
        of_lane: Mapping[int, Sequence[Requirement]],
        sight: _Sight,
        limited_room: int,
    ) -> None:
        self.admitted: dict[Head, Sequence[Requirement]] = {}
        """Jobs that are let in through these gates."""
        self.refused: dict[Head, Requirement] = {}
        """Jobs that a gate of their own keeps out."""
        self.in_line: list[Row] = []
        """Places in sequences of jobs that something else keeps out."""
        self.is_left = False
        """True when it was the turn of a job for which `limited_room` does not suffice."""
        self.meets_unknown = False
        """True when it was the turn of a job whose gates are not known yet."""
        self._ledger = ledger
        self._requirements = requirements
        self._of_lane = of_lane
        self._sight = sight
        self._limited_room = limited_room
        self._is_out_of_sight = False
        for head, required in sight.required.items():
            ledger.expect(sight.candidates[head].place, required)

    def admits(self, head: Head) -> bool:
        """To be asked in the order of turns."""
        if head in self._sight.candidates and head not in self._sight.required:
            self.meets_unknown = self._is_out_of_sight = True  # nothing goes past it
        if (
            self.is_left
            or self._is_out_of_sight
            or (self._requirements.has_keys(head.lane) and head not in self._sight.required)
        ):
            return False  # its turn is after that of one with limits, or may be, or it is gone
        required = (*self._of_lane[head.lane], *self._sight.required.get(head, ()))
        if not required or not self._ledger.knows(required):
            return not required
        candidate = self._sight.candidates.get(head)
        arrival = _arrival(head, candidate, self._requirements)
        if len(self.admitted) >= self._limited_room and self._ledger.keeps_out(arrival, required) is None:
            self.is_left = True
            return False
        kept_out_by = self._ledger.admit(arrival, required)
        if kept_out_by is None:
            self.admitted[head] = required
            self._is_out_of_sight = head in self._sight.last
            return True
        if kept_out_by.is_keyed:
            self.refused[head] = kept_out_by
        if candidate and kept_out_by.until == "lease":
            self.in_line.extend(
                (requirement.gate, candidate.job, 0, requirement.until)
                for requirement in required
                if requirement.until != "lease"
            )
        return False


def _look(
    probes: Sequence[Probe], lines: Mapping[int, Line], depth: int, requirements: Requirements
) -> QuerySteps[_Sight]:
    heads, last = yield from _limited_heads(probes, lines, depth)
    candidates, required = yield from _candidates(heads, requirements)
    return _Sight(heads, last, candidates, required)


def _limited_heads(
    probes: Sequence[Probe], lines: Mapping[int, Line], depth: int
) -> QuerySteps[tuple[list[Head], frozenset[Head]]]:
    """The next jobs of lanes with limits, and the last that was seen of each lane that may have more."""
    if len(probes) > IN_SIGHT // SIGHT:
        filled = {head.lane for head in (yield from heads_of(probes, lines, room=1))}
        probes = [probe for probe in probes if probe.lane in filled]
        depth = min(depth, max(2, IN_SIGHT // max(1, len(probes))))
    heads = yield from heads_of(probes, lines, room=depth)
    last_seen = [
        Head(lane, min(seen) if lines[lane].is_newest_first else max(seen))
        for lane, seen in places_by_lane(heads).items()
        if len(seen) == depth
    ]
    return heads, frozenset(last_seen)


def _candidates(
    heads: Sequence[Head], requirements: Requirements
) -> QuerySteps[tuple[dict[Head, Candidate], dict[Head, Sequence[Requirement]]]]:
    """Jobs that may need gates of their own, and those gates. Long arguments are looked at one by one, and not kept."""
    candidates: dict[Head, Candidate] = {}
    of_job: dict[Head, Sequence[Requirement]] = {}
    with_keys = [head for head in heads if requirements.has_keys(head.lane)]
    for row in (yield query_rows("jobs_at", with_keys)) if with_keys else ():
        candidate = Candidate._make(row)
        head = Head(candidate.lane, candidate.seq)
        candidates[head] = candidate
        required = requirements.of_job((yield from _with_arguments(candidate, requirements)))
        if required is not None:
            of_job[head] = required
    return candidates, of_job


def _candidates_at(heads: Sequence[Head], requirements: Requirements) -> QuerySteps[list[Candidate]]:
    found: list[Candidate] = []
    for row in (yield query_rows("jobs_at", heads)) if heads else ():
        candidate = yield from _with_arguments(Candidate._make(row), requirements)
        found.append(candidate)
    return found


def _with_arguments(candidate: Candidate, requirements: Requirements) -> QuerySteps[Candidate]:
    if candidate.arguments is not None or not requirements.goes_by_arguments(candidate.lane):
        return candidate
    rows = yield query("arguments", job=candidate.job)
    return candidate._replace(arguments=cast("str", rows[0][0])) if rows else candidate


def _arrival(head: Head, candidate: Candidate | None, requirements: Requirements) -> Arrival:
    priority = requirements.priority(head.lane)
    return Arrival(candidate.job, priority, candidate.place) if candidate else Arrival(None, priority, head.seq)


def _hold(
    refused: Mapping[Head, Requirement], candidates: Mapping[Head, Candidate], requirements: Requirements
) -> QuerySteps[None]:
    rows: list[Row] = []
    for head, requirement in sorted(refused.items(), key=lambda item: candidates[item[0]].job):
        candidate = candidates[head]
        rank = _arrival(head, candidate, requirements).rank(requirement)
        why = f"waits for {described(requirement.gate)}"
        rows.append((head.lane, head.seq, candidate.job, requirement.gate, rank, candidate.place, why))
    yield query_rows("hold", rows)


def _enter(
    passed: Sequence[tuple[Claimed, Sequence[Requirement]]],
    admission: _Admission,
    seen: Collection[Requirement],
    ledger: GateLedger,
) -> QuerySteps[None]:
    """Writes who is inside which gates now, what it cost, and when to look at the others again; and what is new."""
    refusing = admission.refused.values()
    taken: dict[Requirement, int] = dict.fromkeys((requirement for requirement in refusing if requirement.step), 0)
    taken |= dict.fromkeys((requirement for requirement in seen if ledger.is_changed(requirement)), 0)
    slots = list(admission.in_line)
    for job, required in passed:
        for requirement in required:
            taken[requirement] = taken.get(requirement, 0) + 1
            if requirement.most is not None:
                slots.append((requirement.gate, job.job, job.epoch, requirement.until))
    if slots:
        yield query_rows("drop_slots", sorted({(slot[0],) for slot in slots}))
        yield query_rows("take_slots", slots)
        sequences = sorted({(slot[0],) for slot in slots if slot[3] != "lease"})
        if sequences:
            yield query_rows("leave_sequences", sequences)
    held = {requirement.gate for requirement in refusing}
    yield from note_gates(list(taken.items()), ledger, held)


def _by_gate(required: Collection[Sequence[Requirement]]) -> dict[str, Requirement]:
    return {requirement.gate: requirement for some in required for requirement in some}
