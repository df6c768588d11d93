"""Decide which of the jobs that a claim looked at pass the gates of their limits.

Pure: `store/operations/through_gates` looks, calls `decide_at_gates`, and writes the decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from posthorse.rules.fair_share import FairShares, Head, take_turns
from posthorse.rules.gates import Arrival, GateLedger, GateState, Requirement, Until


class LaneGates(NamedTuple):
    """What limits require of the jobs of a lane."""

    required: Sequence[Requirement]
    """Gates that all of its jobs must pass."""
    has_keys: bool
    """Whether single jobs may have to pass gates of their own."""
    priority: int
    """The priority with which the lane was made."""


class JobWithGates(NamedTuple):
    """A job that may have to pass gates of its own."""

    job: str
    place: int
    """Its position among the jobs before the same gates."""
    required: Sequence[Requirement] | None
    """Those gates; None if a user's function must be called first."""


class Sight(NamedTuple):
    """What a claim saw of the jobs in lanes with limits."""

    heads: Sequence[Head]
    last: frozenset[Head]
    """The last job seen of each lane that may have more."""
    waiting: Mapping[Head, JobWithGates]
    """Jobs that may have to pass gates of their own. A head that is missing here left its lane meanwhile."""


class KeptOut(NamedTuple):
    """A job that a gate of its own keeps out: it is parked until that gate has room for it."""

    arrival: Arrival
    kept_out_by: Requirement


class InLine(NamedTuple):
    """A position in a sequence that a job keeps while another gate keeps the job out."""

    gate: str
    job: str
    until: Until


class Decision(NamedTuple):
    """What a claim should write."""

    chosen: Sequence[Head]
    """The jobs to claim, in the order of their turns."""
    admitted: Mapping[Head, Sequence[Requirement]]
    """Those of them that have limits, with all gates that they pass."""
    held: Mapping[Head, KeptOut]
    in_line: Sequence[InLine]
    shut: Mapping[int, float | None]
    """Lanes whose gates let no more jobs pass, with the seconds until a token comes; None if a job must end first."""
    ledger: GateLedger
    """The gates after all admitted jobs have passed."""
    meets_unknown: bool
    """Whether a job was next whose gates are not known yet: nothing was chosen past it."""
    is_left: bool
    """Whether a job was next for which `limited_room` does not suffice: nothing was chosen past it."""


def lanes_with_room(states: Iterable[GateState], now: int, lanes: Mapping[int, LaneGates]) -> frozenset[int]:
    """Return the lanes whose gates let at least one job through; `states` are those of all these gates."""
    ledger = GateLedger(states, now)
    return frozenset(
        lane for lane, gates in lanes.items() if all(ledger.room(requirement) != 0 for requirement in gates.required)
    )


def decide_at_gates(
    states: Iterable[GateState],
    now: int,
    lanes: Mapping[int, LaneGates],
    sight: Sight,
    others: Sequence[Head],
    turns: FairShares,
    *,
    room: int,
    limited_room: int,
) -> Decision:
    """Choose up to `room` jobs by turns, at most `limited_room` of them with limits.

    `states` are the gates as they are at the moment `now`, in nanoseconds; `others` are the next jobs without limits. A
    job that a gate keeps out costs its queue no turn. A gate of its own holds it; one of its lane leaves it in place.
    In a sequence no later job passes an earlier one, even if another gate keeps the earlier one out.
    """
    passing = _Passing(GateLedger(states, now), lanes, sight, limited_room)
    chosen = take_turns([*sight.heads, *others], *turns, room, admits=passing.admits)
    return Decision(
        chosen,
        passing.admitted,
        passing.held,
        passing.in_line,
        _shut(passing.ledger, lanes),
        passing.ledger,
        passing.meets_unknown,
        passing.is_left,
    )


def _shut(ledger: GateLedger, lanes: Mapping[int, LaneGates]) -> dict[int, float | None]:
    return {
        lane: ledger.opens_in(requirement)
        for lane, gates in lanes.items()
        for requirement in gates.required
        if ledger.room(requirement) == 0
    }


class _Passing:
    """Decides job by job, in the order of turns, and counts those who were admitted before."""

    def __init__(self, ledger: GateLedger, lanes: Mapping[int, LaneGates], sight: Sight, limited_room: int) -> None:
        self.ledger = ledger
        self.admitted: dict[Head, Sequence[Requirement]] = {}
        self.held: dict[Head, KeptOut] = {}
        self.in_line: list[InLine] = []
        self.is_left = False
        self.meets_unknown = False
        self._lanes = lanes
        self._sight = sight
        self._limited_room = limited_room
        self._is_out_of_sight = False
        """True once nothing more may be admitted, because a job that was not seen may be next."""
        for waiting in sight.waiting.values():
            ledger.expect(waiting.place, waiting.required or ())

    def admits(self, head: Head) -> bool:
        """Decide about the job whose turn it is."""
        lane, waiting = self._lanes[head.lane], self._sight.waiting.get(head)
        if waiting is not None and waiting.required is None:
            self.meets_unknown = self._is_out_of_sight = True
        if self.is_left or self._is_out_of_sight or (lane.has_keys and waiting is None):
            return False  # its turn is after that of one with limits, or may be, or it is gone
        required = (*lane.required, *((waiting.required or ()) if waiting else ()))
        if not required:
            self._is_out_of_sight = head in self._sight.last
            return True
        if not self.ledger.knows(required):
            return False
        arrival = Arrival(waiting.job if waiting else None, lane.priority, waiting.place if waiting else head.seq)
        if len(self.admitted) >= self._limited_room and self.ledger.keeps_out(arrival, required) is None:
            self.is_left = True
            return False
        kept_out_by = self.ledger.admit(arrival, required)
        if kept_out_by is None:
            self.admitted[head] = required
            self._is_out_of_sight = head in self._sight.last
            return True
        self._keep_out(head, arrival, required, kept_out_by)
        return False

    def _keep_out(
        self, head: Head, arrival: Arrival, required: Sequence[Requirement], kept_out_by: Requirement
    ) -> None:
        if kept_out_by.is_keyed:
            self.held[head] = KeptOut(arrival, kept_out_by)
        if arrival.job is not None and kept_out_by.until == "lease":
            self.in_line.extend(
                InLine(requirement.gate, arrival.job, requirement.until)
                for requirement in required
                if requirement.until != "lease"
            )
