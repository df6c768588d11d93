"""Fair share: shares converge exactly to the weights, no queue waits longer than their sum, no turns are saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from hypothesis import example, given
from hypothesis import strategies as st

from posthorse.rules.fair_share import Head, Line, Passes, after_turns, next_lanes, take_turns

Sharing = dict[int, dict[str, dict[str, list[int]]]]
WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=2)


class Street:
    """Queues that never run empty, each with a lane of its own, and one runner."""

    def __init__(self, weights: Mapping[str, int], lines: Mapping[int, Line] | None = None) -> None:
        self.weights = weights
        self.lines = lines or {number: Line(queue, 0) for number, queue in enumerate(sorted(weights))}
        self.passes = Passes()
        self.seq = 0
        self.served: list[str] = []

    def claim(self, room: int, *, without: str = "") -> list[Head]:
        lines = {number: line for number, line in self.lines.items() if line.queue not in without}
        heads = [Head(number, self.seq + place) for place in range(room) for number in lines]
        self.seq += room
        chosen = take_turns(heads, lines, self.weights, self.passes, room)
        self.passes = after_turns([head.lane for head in chosen], lines, self.weights, self.passes)
        self.served += [lines[head.lane].queue for head in chosen]
        return chosen


@given(WEIGHTS, st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_shares_are_exact_whatever_the_size_of_the_claims(weights: dict[str, int], rooms: list[int]) -> None:
    street, total = Street(weights), sum(weights.values())
    for room in [*rooms, 30 * total]:
        street.claim(room)
    jobs = len(street.served)
    for queue, count in Counter(street.served).items():
        # In every claim, one tie may be decided either way.
        assert abs(count - jobs * weights[queue] / total) <= len(rooms) + 2


@given(WEIGHTS)
def test_nobody_waits_longer_than_the_sum_of_the_weights(weights: dict[str, int]) -> None:
    street, total = Street(weights), sum(weights.values())
    for _ in range(6 * total):
        street.claim(1)
    for queue in weights:
        turns = [place for place, served in enumerate(street.served) if served == queue]
        gaps = [later - earlier for earlier, later in zip([-1, *turns], turns, strict=False)]
        assert max(gaps) <= total + len(weights)


@given(WEIGHTS, st.integers(1, 300), st.integers(0, 9))
def test_a_queue_that_was_empty_saved_nothing_up(weights: dict[str, int], absence: int, served_before: int) -> None:
    street, total = Street(weights), sum(weights.values())
    away = min(weights)
    street.claim(served_before)
    street.claim(absence, without=away)
    before = len(street.served)
    street.claim(10 * total)
    back = street.served[before:].count(away)
    assert abs(back - 10 * weights[away]) <= len(weights)


def test_higher_priority_comes_first_whatever_the_weights() -> None:
    street = Street({"a": 9, "b": 1}, {1: Line("a", 0), 2: Line("b", 5)})
    street.claim(20)
    assert street.served == ["b"] * 20


def test_within_a_queue_the_order_is_its_own_across_its_lanes() -> None:
    lines = {1: Line("old", 0), 2: Line("old", 0), 3: Line("new", 0, True), 4: Line("new", 0, True)}
    heads = [Head(1, 10), Head(2, 11), Head(1, 12), Head(3, 10), Head(4, 11), Head(3, 12)]
    chosen = take_turns(heads, lines, {}, Passes(), 6)
    assert [head.seq for head in chosen if head.lane in (1, 2)] == [10, 11, 12]
    assert [head.seq for head in chosen if head.lane in (3, 4)] == [12, 11, 10]


def test_what_was_not_got_after_all_is_no_turn() -> None:
    lines = {1: Line("a", 0), 2: Line("b", 0)}
    passes = after_turns([2, 2, 2], lines, {}, Passes())  # another runner was faster at lane 1
    chosen = take_turns([Head(lane, seq) for seq in range(6) for lane in lines], lines, {}, passes, 3)
    assert [head.lane for head in chosen] == [1, 1, 1]


def test_tenants_of_a_queue_share_evenly_within_its_own_share() -> None:
    lines = {1: Line("mail", 0, tenant="a"), 2: Line("mail", 0, tenant="b"), 3: Line("other", 0)}
    street = Street({"mail": 1, "other": 1}, lines)
    heads: list[Head] = []
    for _ in range(10):
        heads += street.claim(4)
    assert Counter(head.lane for head in heads) == {1: 10, 2: 10, 3: 20}


def test_a_tenant_that_comes_late_has_saved_nothing_up() -> None:
    lines = {1: Line("mail", 0, tenant="a"), 2: Line("mail", 0, tenant="b")}
    street = Street({"mail": 1}, {1: lines[1]})
    street.claim(100)
    street.lines = lines
    assert Counter(head.lane for head in street.claim(10)) == {1: 5, 2: 5}


def test_jobs_without_a_tenant_are_one_among_the_tenants() -> None:
    lines = {1: Line("mail", 0, tenant=""), 2: Line("mail", 0, tenant="b")}
    assert Counter(head.lane for head in Street({"mail": 1}, lines).claim(10)) == {1: 5, 2: 5}


def test_what_is_not_admitted_costs_nobody_a_turn() -> None:
    lines = {1: Line("a", 0), 2: Line("b", 0)}
    heads = [Head(lane, seq) for seq in range(6) for lane in lines]
    asked: list[Head] = []

    def admits(head: Head) -> bool:
        asked.append(head)
        return head.lane == 2 or head.seq >= 4

    chosen = take_turns(heads, lines, {"a": 1, "b": 1}, Passes(), 4, admits=admits)
    assert chosen == [Head(1, 4), Head(2, 0), Head(1, 5), Head(2, 1)]
    assert len(asked) == len(set(asked))  # each is asked for once, and nothing after the last


def test_what_is_not_admitted_costs_its_tenant_no_turn() -> None:
    lines = {1: Line("mail", 0, tenant="a"), 2: Line("mail", 0, tenant="b")}
    heads = [Head(lane, seq) for seq in range(6) for lane in lines]
    chosen = take_turns(heads, lines, {}, Passes(), 4, admits=lambda head: head.lane == 2 or head.seq >= 4)
    assert chosen == [Head(1, 4), Head(2, 0), Head(1, 5), Head(2, 1)]


def test_the_weight_of_a_queue_is_nothing_to_a_tenant_of_its_name() -> None:
    lines = {1: Line("mail", 0, tenant="big"), 2: Line("mail", 0, tenant="small")}
    street = Street({"mail": 1, "big": 9}, lines)
    heads = [head for _ in range(5) for head in street.claim(4)]
    assert Counter(head.lane for head in heads) == {1: 10, 2: 10}


# ── no more lanes than jobs are wanted ───────────────────────────────────────────────────────────────

PASSES = st.integers(0, 5).map(lambda turns: turns * 720_720)
SHARING = st.dictionaries(
    st.integers(0, 2),
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("uvwxyz"), PASSES, min_size=1), min_size=1),
)


def _lanes_of(sharing: dict[int, dict[str, dict[str, int]]]) -> tuple[Sharing, dict[int, Line], Passes]:
    found: Sharing = {}
    lines: dict[int, Line] = {}
    by_name: dict[tuple[tuple[int, str], str], int] = {}
    for priority, queues in sharing.items():
        for queue, tenants in queues.items():
            for tenant, at in tenants.items():
                number = len(lines)
                found.setdefault(priority, {}).setdefault(queue, {})[tenant] = [number]
                lines[number] = Line(queue, priority, tenant=tenant)
                by_name[(priority, queue), tenant] = at
    return found, lines, Passes(by_name)


@example({0: {"a": {"u": 0}, "b": {"u": 0}}, 1: {"a": {"u": 0}, "b": {"u": 0, "v": 0}}}, {}, 4)
@given(SHARING, st.dictionaries(st.sampled_from("abc"), st.integers(1, 5)), st.integers(1, 20))
def test_the_next_lanes_are_those_whose_first_jobs_have_the_next_turns(
    sharing: dict[int, dict[str, dict[str, int]]], weights: dict[str, int], room: int
) -> None:
    found, lines, passes = _lanes_of(sharing)
    chosen = next_lanes(found, weights, passes, room)
    turns = take_turns([Head(number, number) for number in lines], lines, weights, passes, room)

    def standing(number: int) -> tuple[int, str, int]:
        line = lines[number]
        return line.priority, line.queue, passes.pass_of((line.priority, line.queue), line.tenant or "")

    # Among equals, either may be next.
    assert Counter(map(standing, chosen.lanes)) == Counter(standing(head.lane) for head in turns)
    assert chosen.is_all == (len(chosen.lanes) == len(lines))
    for (priority, queue), floor in chosen.floors.items():
        left = [number for number in lines if number not in chosen.lanes and lines[number].priority == priority]
        if queue:
            assert floor == min(standing(number)[2] for number in left if lines[number].queue == queue)
        else:
            asked = {lines[number].queue for number in chosen.lanes if lines[number].priority == priority}
            assert {lines[number].queue for number in left} - asked


@given(st.integers(2, 60), st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_tenants_of_whom_few_are_asked_at_a_time_get_equal_shares(tenants: int, rooms: list[int]) -> None:
    """Those that were left out lose nothing: they are next."""
    found: Sharing = {0: {"mail": {f"t{number}": [number] for number in range(tenants)}}}
    lines = {number: Line("mail", 0, tenant=f"t{number}") for number in range(tenants)}
    passes, served = Passes(), Counter[int]()
    for room in rooms:
        chosen = next_lanes(found, {}, passes, room)
        served.update(chosen.lanes)
        passes = after_turns(chosen.lanes, {each: lines[each] for each in chosen.lanes}, {}, passes, chosen.floors)
    counts = [served[number] for number in range(tenants)]
    assert max(counts) - min(counts) <= 1
