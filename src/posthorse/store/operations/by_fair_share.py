"""Claims by fair share: for queues with weights or tenants, and for those that start the newest job first.

The claim looks at no more jobs of a lane than may get a turn: a few at first, and more if all of these did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from posthorse.rules.fair_share import FairShares, Head, Line, take_turns
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, unrepeatable_operation
from posthorse.store.operations.claim import CLAIM, HEADS, Claimed, Probe, few_of_each
from posthorse.store.queries import Row

DEEPER = 4
"""The factor by which the look goes deeper into lanes whose jobs all got turns."""

NEWEST_HEADS = TypedQuery("newest_heads", Head)
CLAIM_NEWEST = TypedQuery("claim_newest", Claimed)


@creating_no_work
@unrepeatable_operation
def claim_by_fair_share(
    runner: str, probes: Sequence[Probe], room: int, turns: FairShares
) -> QuerySteps[tuple[list[Claimed], frozenset[int]]]:
    """Claim up to `room` jobs as `claim` does; also return the lanes that had jobs."""
    chosen, waiting = yield from next_in_turn(probes, turns, room)
    claimed: list[Claimed] = []
    for is_newest, some in _by_order(probes, turns.lines):
        if shares := _shares(some, chosen, is_newest):
            taking = CLAIM_NEWEST if is_newest else CLAIM
            claimed += yield from taking(shares, runner=runner, room=room)
    turn = {head: place for place, head in enumerate(chosen)}
    claimed.sort(key=lambda job: turn.get(Head(job.lane, job.seq), room))
    return claimed, waiting


def next_in_turn(
    probes: Sequence[Probe], turns: FairShares, room: int
) -> QuerySteps[tuple[list[Head], frozenset[int]]]:
    """Return the next `room` jobs, and the lanes that have any. Takes no locks."""
    seen: dict[int, list[Head]] = {}
    chosen: list[Head] = []
    few = min(room, few_of_each(room, len(probes))) if probes else 0
    while probes:
        for probe in probes:
            seen.pop(probe.lane, None)
        for head in (yield from heads_of(probes, turns.lines, room=few)):
            seen.setdefault(head.lane, []).append(head)
        chosen = take_turns([head for heads in seen.values() for head in heads], *turns, room)
        given = Counter(head.lane for head in chosen)
        # A lane that gets a turn for each job seen may have more jobs that would get one.
        probes = [probe for probe in probes if few < room and given[probe.lane] == few]
        few = min(room, max(DEEPER * few, few_of_each(room, len(probes)))) if probes else 0
    return chosen, frozenset(seen)


def heads_of(probes: Sequence[Probe], lines: Mapping[int, Line], *, room: int) -> QuerySteps[list[Head]]:
    """Return the positions of up to `room` next jobs in each lane. Takes no locks."""
    found: list[Head] = []
    for is_newest, some in _by_order(probes, lines):
        if some:
            looking = NEWEST_HEADS if is_newest else HEADS
            found += yield from looking(some, room=room)
    return found


def places_by_lane(heads: Sequence[Head]) -> dict[int, list[int]]:
    """Return the positions of these jobs by lane."""
    places: dict[int, list[int]] = {}
    for head in heads:
        places.setdefault(head.lane, []).append(head.seq)
    return places


def _by_order(probes: Sequence[Probe], lines: Mapping[int, Line]) -> list[tuple[bool, list[Probe]]]:
    return [
        (is_newest, [probe for probe in probes if lines[probe.lane].is_newest_first is is_newest])
        for is_newest in (False, True)
    ]


def _shares(probes: Sequence[Probe], chosen: Sequence[Head], is_newest: bool) -> list[Row]:
    """Return what to claim from each lane: how many jobs, and how deep the last of them is."""
    places = places_by_lane(chosen)
    last = min if is_newest else max
    return [(lane, after, len(places[lane]), last(places[lane])) for lane, after, _ in probes if lane in places]
