"""Claims by fair share from deep lanes: the same as if all their jobs were looked at, but few of them are."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.fair_share import FairShares, Head, Line, Passes, take_turns
from posthorse.store.base import QuerySteps
from posthorse.store.operations.by_fair_share import next_in_turn
from posthorse.store.operations.claim import Probe
from posthorse.store.queries import Row

T = TypeVar("T")
Places = Mapping[int, Sequence[int]]
"""The places of the jobs of each lane."""

LINES = st.builds(
    Line,
    queue=st.sampled_from("abc"),
    priority=st.sampled_from([0, 0, 5]),
    is_newest_first=st.just(False),
    tenant=st.sampled_from([None, "x", "y"]),
)


class Shelf:
    """Lanes in memory, which count how many of their jobs were looked at."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.looked_at = 0
        self.looks = 0

    def answer(self, steps: QuerySteps[T]) -> T:
        try:
            wanted = next(steps)
            while True:
                self.looks += 1
                assert wanted.rows is not None
                room = wanted.values["room"]
                assert isinstance(room, int)
                found: list[Row] = []
                for lane, *_ in wanted.rows:
                    assert isinstance(lane, int)
                    places = sorted(self.places[lane], reverse=wanted.query == "newest_heads")[:room]
                    found += [(lane, place) for place in places]
                self.looked_at += len(found)
                wanted = steps.send(found)
        except StopIteration as stop:
            answer: T = stop.value
            return answer

    def next_in_turn(self, turns: FairShares, room: int) -> tuple[list[Head], frozenset[int]]:
        probes = [Probe(lane, 0, line.priority) for lane, line in turns.lines.items()]
        return self.answer(next_in_turn(probes, turns, room))

    @property
    def heads(self) -> list[Head]:
        return [Head(lane, place) for lane, places in self.places.items() for place in places]


@st.composite
def streets(draw: st.DrawFn) -> tuple[Places, FairShares]:
    """Draw lanes of all sorts and depths, with jobs in any order, and the passes of the sharers."""
    lines = dict(enumerate(draw(st.lists(LINES, min_size=1, max_size=9))))
    stacks = draw(st.sets(st.sampled_from("abc")))
    lines = {lane: Line(line.queue, line.priority, line.queue in stacks, line.tenant) for lane, line in lines.items()}
    chance = random.Random(draw(st.integers()))  # lists that hypothesis draws are nearly always short
    owners = chance.choices(list(lines), [lane * lane + 1 for lane in lines], k=draw(st.integers(0, 150)))
    places = {lane: [place for place, owner in enumerate(owners) if owner == lane] for lane in lines}
    weights = draw(st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)))
    passes = Passes({((0, ""), queue): draw(st.integers(0, 3_000_000)) for queue in "abc"})
    return places, FairShares(lines, weights, passes)


@given(streets(), st.integers(1, 60))
def test_turns_are_those_of_a_look_at_every_job(street: tuple[Places, FairShares], room: int) -> None:
    places, turns = street
    shelf = Shelf(places)
    chosen, waiting = shelf.next_in_turn(turns, room)
    assert chosen == take_turns(shelf.heads, *turns, room)
    assert waiting == {lane for lane in places if places[lane]}


@given(streets(), st.integers(1, 60), st.sets(st.integers(0, 8)), st.integers(0, 2**120))
def test_beside_jobs_with_limits_the_others_get_no_more_turns_than_among_themselves(
    street: tuple[Places, FairShares], room: int, limited: set[int], admitted: int
) -> None:
    places, turns = street
    shelf = Shelf(places)

    def admits(head: Head) -> bool:
        return head.lane not in limited or bool(admitted >> head.seq & 1)

    free = turns._replace(lines={lane: line for lane, line in turns.lines.items() if lane not in limited})
    free_heads, _ = shelf.next_in_turn(free, room)
    heads = [head for head in shelf.heads if head.lane in limited]
    chosen = take_turns([*heads, *free_heads], *turns, room, admits=admits)
    assert chosen == take_turns(shelf.heads, *turns, room, admits=admits)


def test_a_lane_that_alone_has_jobs_is_looked_into_twice() -> None:
    lines = {lane: Line(f"queue {lane}", 0) for lane in range(200)}
    shelf = Shelf({lane: range(1_000 if lane == 7 else 0) for lane in lines})
    chosen, waiting = shelf.next_in_turn(FairShares(lines, {}, Passes()), 900)
    assert (len(chosen), set(waiting)) == (900, {7})
    assert shelf.looks == 2


@pytest.mark.parametrize("lanes", [1, 3, 40, 1000])
@pytest.mark.parametrize("favourite", [1, 500])
def test_few_jobs_are_looked_at_however_deep_their_lanes_are(lanes: int, favourite: int) -> None:
    lines = {lane: Line(f"queue {lane}", 0) for lane in range(lanes)}
    shelf = Shelf({lane: range(lane, 500 * lanes, lanes) for lane in range(lanes)})
    room = 250
    chosen, _ = shelf.next_in_turn(FairShares(lines, {"queue 0": favourite}, Passes()), room)
    assert len(chosen) == room
    assert shelf.looked_at <= 2 * lanes + 8 * room
