"""Claim jobs that have limits: look, decide, write.

1. Look: lock the gates of whole lanes, leave out lanes whose gates are shut, read the next jobs of the others, lock the
   gates that single jobs need, and read those jobs again.
2. Decide: `rules/through_gates` takes turns among these jobs and the next ones without limits.
3. Write: hold the jobs that a gate of their own keeps out, claim those that are admitted, and record their slots and
   tokens.

Users' functions that return partition keys never run in here, with gates locked and a transaction open: the caller
looks first (`in_sight`, which locks nothing), calls them, and then claims. A job for which that was not done is left
for the next claim.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from posthorse.rules.fair_share import FairShares, Head, Line
from posthorse.rules.gates import Requirement, gate_in_words
from posthorse.rules.through_gates import Decision, JobWithGates, LaneGates, Sight, decide_at_gates, lanes_with_room
from posthorse.store.base import QuerySteps, TypedQuery, locking_first, operation, query_rows, unrepeatable_operation
from posthorse.store.operations.by_fair_share import heads_of, next_in_turn, places_by_lane
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.store.operations.gates import line_up, lock_gates, note_gates
from posthorse.store.operations.one_job import ARGUMENTS
from posthorse.store.queries import Row

SIGHT = 100
"""How many jobs of a lane with limits a claim looks at, because many of them may have to be parked."""

IN_SIGHT = 2_000
"""How many jobs of all such lanes it looks at; at least two of each."""


class Candidate(NamedTuple):
    """What gates must know about a job."""

    lane: int
    seq: int
    job: str
    tenant: str | None
    arguments: str | None
    """None if they are long, and no gate depends on them."""
    options: str | None
    enqueued: int | None = None
    """Its position in a sequence since it was enqueued; None for a job that was scheduled."""

    @property
    def place(self) -> int:
        """Its position among the jobs before the same gates."""
        return self.seq if self.enqueued is None else self.enqueued


JOBS_AT = TypedQuery("jobs_at", Candidate)
CLAIM_PLACES = TypedQuery("claim_places", Claimed)


class Requirements(Protocol):
    """What the limits of an application require of jobs."""

    def of_lane(self, lane: int) -> Sequence[Requirement]:
        """Return the gates of all jobs of a lane."""
        ...

    def has_keys(self, lane: int) -> bool:
        """Return whether single jobs of a lane require gates of their own."""
        ...

    def goes_by_arguments(self, lane: int) -> bool:
        """Return whether the gates of such a job depend on its arguments."""
        ...

    def of_job(self, candidate: Candidate) -> Sequence[Requirement] | None:
        """Return the gates of a single job of such a lane; None if they are not known yet. Calls no user code."""
        ...

    def priority(self, lane: int) -> int:
        """Return the priority with which a lane was made."""
        ...


class Passed(NamedTuple):
    """The result of a claim through gates."""

    claimed: list[Claimed]
    waiting: frozenset[int]
    """Lanes that had jobs."""
    shut: Mapping[int, float | None]
    """Lanes whose gates are shut, with the seconds until a token comes; None if a job inside must end first."""
    gates: Mapping[str, Sequence[str]]
    """The gates of its own that each claimed job with limits passed."""
    has_held: bool
    """Whether jobs were parked on the way, or appeared too late to be known: there may be others behind them."""
    is_left: bool
    """Whether a job with limits was next but had no room in the runner: nothing was claimed past it."""


@operation
def in_sight(
    probes: Sequence[Probe], lines: Mapping[int, Line], depth: int, requirements: Requirements
) -> QuerySteps[list[Candidate]]:
    """Return the next jobs of lanes with limits, with all that their gates depend on. Takes no locks."""
    heads, _ = yield from _limited_heads(probes, lines, depth)
    return (yield from _candidates_at(heads, requirements))


def depth_of_sight(room: int, limited_room: int, *, sees_far: bool) -> int:
    """Return how many jobs of a lane with limits a claim looks at."""
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
    sees_far: bool = False,
) -> QuerySteps[Passed]:
    """Claim up to `room` jobs, `limited_room` of them through gates; park those that a gate of their own keeps out.

    If `limited_room` does not suffice for the job that is next, nothing is claimed past it. Otherwise it works as
    `claim` does, but looks at no more than SIGHT jobs of each lane with limits if no more could start, and at fewer if
    there are many lanes.

    sees_far: look at SIGHT jobs even if there is little room.
    """
    lanes = {probe.lane: _lane_gates(probe.lane, requirements) for probe in probes}
    gates_of_lanes = _by_gate(gates.required for gates in lanes.values())
    states, now = yield from lock_gates(gates_of_lanes)
    open_lanes = lanes_with_room(states, now, lanes)
    limited = [probe for probe in probes if probe.lane in open_lanes and _has_limits(lanes[probe.lane])]
    depth = depth_of_sight(room, limited_room, sees_far=sees_far)
    sight = yield from _look(limited, turns.lines, depth, requirements)
    gates_of_jobs = _by_gate(waiting.required or () for waiting in sight.waiting.values())
    if gates_of_jobs:
        states = [*states, *(yield from lock_gates(gates_of_jobs))[0]]
        # A job that left one of these gates may have lined up an earlier job meanwhile: that one goes first.
        sight = yield from _look(limited, turns.lines, depth, requirements)
    # Beside jobs with limits, the others get no more turns than without them, and in the same order.
    others, had_others = yield from next_in_turn(
        [probe for probe in probes if not _has_limits(lanes[probe.lane])], turns, room
    )
    decision = decide_at_gates(states, now, lanes, sight, others, turns, room=room, limited_room=limited_room)

    if decision.held:
        yield from _hold(decision)
    claimed = yield from _claim_places(runner, decision)
    passed = [(job, required) for job in claimed if (required := decision.admitted.get(Head(job.lane, job.seq)))]
    yield from _note(passed, decision, (*gates_of_lanes.values(), *gates_of_jobs.values()))
    yield from line_up(gates_of_jobs.values(), decision.ledger)
    return Passed(
        claimed,
        had_others | {head.lane for head in sight.heads},
        decision.shut,
        {job.job: [requirement.gate for requirement in required if requirement.is_keyed] for job, required in passed},
        has_held=bool(decision.held) or decision.meets_unknown,
        is_left=decision.is_left,
    )


# ── look ─────────────────────────────────────────────────────────────────────────────────────────────


def _lane_gates(lane: int, requirements: Requirements) -> LaneGates:
    return LaneGates(requirements.of_lane(lane), requirements.has_keys(lane), requirements.priority(lane))


def _has_limits(gates: LaneGates) -> bool:
    return bool(gates.required) or gates.has_keys


def _look(
    probes: Sequence[Probe], lines: Mapping[int, Line], depth: int, requirements: Requirements
) -> QuerySteps[Sight]:
    heads, last = yield from _limited_heads(probes, lines, depth)
    return Sight(heads, last, (yield from _waiting_at(heads, requirements)))


def _limited_heads(
    probes: Sequence[Probe], lines: Mapping[int, Line], depth: int
) -> QuerySteps[tuple[list[Head], frozenset[Head]]]:
    """Return the next jobs of lanes with limits, and the last job seen of each lane that may have more."""
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


def _waiting_at(heads: Sequence[Head], requirements: Requirements) -> QuerySteps[dict[Head, JobWithGates]]:
    """Return jobs that may require gates of their own, and those gates. Long arguments are read one by one."""
    waiting: dict[Head, JobWithGates] = {}
    with_keys = [head for head in heads if requirements.has_keys(head.lane)]
    for candidate in (yield from JOBS_AT(with_keys)) if with_keys else ():
        required = requirements.of_job((yield from _with_arguments(candidate, requirements)))
        waiting[Head(candidate.lane, candidate.seq)] = JobWithGates(candidate.job, candidate.place, required)
    return waiting


def _candidates_at(heads: Sequence[Head], requirements: Requirements) -> QuerySteps[list[Candidate]]:
    found = (yield from JOBS_AT(heads)) if heads else []
    for place, candidate in enumerate(found):
        found[place] = yield from _with_arguments(candidate, requirements)
    return found


def _with_arguments(candidate: Candidate, requirements: Requirements) -> QuerySteps[Candidate]:
    if candidate.arguments is not None or not requirements.goes_by_arguments(candidate.lane):
        return candidate
    rows = yield from ARGUMENTS(job=candidate.job)
    return candidate._replace(arguments=rows[0][0]) if rows else candidate


# ── write ────────────────────────────────────────────────────────────────────────────────────────────


def _hold(decision: Decision) -> QuerySteps[None]:
    rows: list[Row] = []
    for head, (arrival, gate) in sorted(decision.held.items(), key=lambda held: held[1].arrival.job or ""):
        why = f"waits for {gate_in_words(gate.gate)}"
        rows.append((head.lane, head.seq, arrival.job, gate.gate, arrival.rank(gate), arrival.place, why))
    yield query_rows("hold", rows)


def _claim_places(runner: str, decision: Decision) -> QuerySteps[list[Claimed]]:
    claimed = (yield from CLAIM_PLACES(decision.chosen, runner=runner)) if decision.chosen else []
    turn = {head: place for place, head in enumerate(decision.chosen)}
    return sorted(claimed, key=lambda job: turn[Head(job.lane, job.seq)])


def _note(
    passed: Sequence[tuple[Claimed, Sequence[Requirement]]], decision: Decision, seen: Collection[Requirement]
) -> QuerySteps[None]:
    """Write who is inside which gates now, what it cost, and when to look at the others again; and what is new."""
    ledger = decision.ledger
    refusing = [held.kept_out_by for held in decision.held.values()]
    taken: dict[Requirement, int] = dict.fromkeys((requirement for requirement in refusing if requirement.step), 0)
    taken |= dict.fromkeys((requirement for requirement in seen if ledger.is_changed(requirement)), 0)
    slots: list[Row] = [(place.gate, place.job, 0, place.until) for place in decision.in_line]
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


def _by_gate(required: Iterable[Sequence[Requirement]]) -> dict[str, Requirement]:
    return {requirement.gate: requirement for some in required for requirement in some}
