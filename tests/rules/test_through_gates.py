"""Passing through gates: no limit is broken, no job overtakes another, and none is left out without a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.fair_share import FairShares, Head, Line, Passes, take_turns
from posthorse.rules.gates import NANOSECONDS, GateLedger, GateState, Requirement
from posthorse.rules.through_gates import Decision, JobWithGates, LaneGates, Sight, decide_at_gates, lanes_with_room

NOW = 10**18
ALL = 1_000
"""More than there are jobs."""

PLACES = st.integers(1, 12)

TWO = Requirement("two", 2, 0, 0, "lease", False)
RATE = Requirement("rate", None, NANOSECONDS, 3, "lease", False)
ONE_EACH = Requirement("one each", 1, 0, 0, "lease", True)
TWO_EACH = Requirement("two each", 2, 0, 0, "lease", True)
RATE_EACH = Requirement("rate each", None, 10 * NANOSECONDS, 1, "lease", True)
IN_ORDER = Requirement("in order", 1, 0, 0, "mend", True)
PASSING = Requirement("passing", 1, 0, 0, "end", True)
GATES = (TWO, RATE, ONE_EACH, TWO_EACH, RATE_EACH, IN_ORDER, PASSING)

OF_LANE: Sequence[Sequence[Requirement]] = ((), (TWO,), (RATE,), (TWO, RATE))
OF_JOB: Sequence[Sequence[Requirement]] = (
    (IN_ORDER,),
    (TWO_EACH, IN_ORDER),
    (ONE_EACH, PASSING),
    (PASSING, IN_ORDER),
    (ONE_EACH,),
    (TWO_EACH,),
    (RATE_EACH,),
    (),
)


@dataclass(frozen=True)
class Claim:
    """Everything that a decision depends on."""

    states: Sequence[GateState]
    lanes: Mapping[int, LaneGates]
    sight: Sight
    others: Sequence[Head]
    lines: Mapping[int, Line]
    room: int
    limited_room: int

    def decide(self) -> Decision:
        turns = FairShares(self.lines, {"heavy": 3}, Passes())
        return decide_at_gates(
            self.states,
            NOW,
            self.lanes,
            self.sight,
            self.others,
            turns,
            room=self.room,
            limited_room=self.limited_room,
        )

    def required(self, head: Head) -> Sequence[Requirement]:
        waiting = self.sight.waiting.get(head)
        return [*self.lanes[head.lane].required, *((waiting.required or ()) if waiting else ())]

    def in_order(self, heads: Sequence[Head]) -> Sequence[Head]:
        return take_turns(heads, self.lines, {"heavy": 3}, Passes(), ALL)


@st.composite
def gate_states(draw: st.DrawFn, requirement: Requirement) -> GateState:
    gate, most, step, burst, until, is_keyed = requirement
    through = NOW + draw(st.integers(-2, 2)) * NANOSECONDS if step else 0
    state = GateState(gate, through, most, step, burst, draw(st.integers(0, most or 0)), None, None, None)
    if is_keyed and draw(st.integers(0, 2)) == 2:
        state = state._replace(rank=draw(st.sampled_from((0, -1))) if until == "lease" else 0, place=draw(PLACES))
    if until == "lease":
        return state
    first, insider = draw(st.none() | PLACES), draw(PLACES)
    return state._replace(first=first, insider=f"job-{insider}" if state.inside else None)


@st.composite
def claims(draw: st.DrawFn, *, knows_all: bool = False) -> Claim:
    lanes = {
        lane: LaneGates(draw(st.sampled_from(OF_LANE)), has_keys, draw(st.integers(0, 1)))
        for lane, has_keys in ((1, True), (2, draw(st.booleans())), (3, False))
    }
    heads = [
        Head(lane, place)
        for place, lane in enumerate(draw(st.lists(st.sampled_from((1, 2, 3)), min_size=4, max_size=12)), 1)
    ]
    states = [draw(gate_states(requirement)) for requirement in GATES]
    has_room = lanes_with_room(states, NOW, lanes)
    seen = [head for head in heads if head.lane in has_room and has_limits(lanes[head.lane])]
    waiting: dict[Head, JobWithGates] = {}
    last: set[Head] = set()
    for head in seen:
        what = "known" if knows_all else draw(st.sampled_from(("known",) * 7 + ("unknown", "gone", "last")))
        if lanes[head.lane].has_keys and what != "gone":
            required = draw(st.sampled_from(OF_JOB)) if what != "unknown" else None
            waiting[head] = JobWithGates(f"job-{head.seq}", head.seq, required)
        if what == "last":
            last.add(head)
    lines = {lane: Line(draw(st.sampled_from(("heavy", "light"))), lanes[lane].priority) for lane in lanes}
    others = [head for head in heads if not has_limits(lanes[head.lane])]
    room, limited_room = draw(st.sampled_from((12, 4, 2, 0))), draw(st.sampled_from((12, 3, 1, 0)))
    return Claim(states, lanes, Sight(seen, frozenset(last), waiting), others, lines, room, limited_room)


def has_limits(gates: LaneGates) -> bool:
    return bool(gates.required) or gates.has_keys


@given(claims())
def test_no_more_are_chosen_than_are_wanted_and_than_may_have_limits(claim: Claim) -> None:
    decision = claim.decide()
    assert len(decision.chosen) == len(set(decision.chosen)) <= claim.room
    assert len(decision.admitted) <= claim.limited_room
    assert {head for head in decision.chosen if claim.required(head)} == set(decision.admitted)
    assert all(list(required) == claim.required(head) for head, required in decision.admitted.items())


@given(claims())
def test_no_gate_lets_more_in_than_it_has_room_for(claim: Claim) -> None:
    before, decision = GateLedger(claim.states, NOW), claim.decide()
    insiders = {(state.gate, state.insider) for state in claim.states}
    entered = Counter(
        requirement
        for head, required in decision.admitted.items()
        for requirement in required
        if (requirement.gate, f"job-{head.seq}") not in insiders  # a job that never left a sequence needs no room
    )
    for requirement, count in entered.items():
        room = before.room(requirement)
        assert room is None or count <= room


@given(claims())
def test_jobs_are_chosen_in_the_order_of_their_turns(claim: Claim) -> None:
    chosen = claim.decide().chosen
    assert chosen == claim.in_order(chosen)


@given(claims())
def test_nothing_is_chosen_past_a_job_that_needs_a_slot(claim: Claim) -> None:
    decision, unlimited = claim.decide(), replace(claim, limited_room=ALL).decide()
    assert decision.chosen == unlimited.chosen[: len(decision.chosen)]
    assert decision.is_left or decision.chosen == unlimited.chosen
    if decision.is_left:
        assert len(decision.admitted) == claim.limited_room
        assert len(unlimited.admitted) > claim.limited_room


@given(claims())
def test_nothing_is_chosen_past_a_job_whose_gates_are_not_known(claim: Claim) -> None:
    decision = claim.decide()
    free = {
        head: waiting if waiting.required is not None else waiting._replace(required=())
        for head, waiting in claim.sight.waiting.items()
    }
    known = replace(claim, sight=claim.sight._replace(waiting=free)).decide()
    assert decision.chosen == known.chosen[: len(decision.chosen)]
    assert not known.meets_unknown
    assert decision.meets_unknown or decision.chosen == known.chosen
    assert all(
        claim.sight.waiting[head].required is not None
        for head in (*decision.held, *decision.admitted)
        if head in claim.sight.waiting
    )


@given(claims())
def test_nothing_is_chosen_past_the_last_job_that_was_seen_of_a_lane(claim: Claim) -> None:
    chosen = claim.decide().chosen
    assert not claim.sight.last.intersection(chosen[:-1])


@given(claims())
def test_in_a_sequence_only_the_first_of_all_that_wait_goes_in(claim: Claim) -> None:
    decision, states = claim.decide(), {state.gate: state for state in claim.states}
    for head, required in decision.admitted.items():
        for gate in (requirement.gate for requirement in required if requirement.until != "lease"):
            state = states[gate]
            if state.insider == f"job-{head.seq}":
                continue
            same = [
                waiting.place
                for waiting in claim.sight.waiting.values()
                if any(requirement.gate == gate for requirement in waiting.required or ())
            ]
            assert head.seq == min([*same, state.first or head.seq])


@given(claims())
def test_no_job_overtakes_those_that_are_held_before_a_gate(claim: Claim) -> None:
    decision, states = claim.decide(), {state.gate: state for state in claim.states}
    for head, required in decision.admitted.items():
        for requirement in required:
            state = states[requirement.gate]
            if state.place is None or state.rank is None or state.insider == f"job-{head.seq}":
                continue
            rank = -claim.lanes[head.lane].priority if requirement.until == "lease" else 0
            assert (rank, head.seq) <= (state.rank, state.place)


@given(claims())
def test_a_job_is_held_by_a_gate_of_its_own_and_not_chosen(claim: Claim) -> None:
    decision = claim.decide()
    assert not set(decision.chosen) & set(decision.held)
    for head, (arrival, gate) in decision.held.items():
        assert gate in (claim.sight.waiting[head].required or ())
        assert (arrival.job, arrival.place) == (f"job-{head.seq}", head.seq)


@given(claims(knows_all=True))
def test_no_job_is_left_out_without_a_reason(claim: Claim) -> None:
    """If all is known and there is room, a job passes, or it is held, or its whole lane is shut."""
    decision = replace(claim, room=ALL, limited_room=ALL).decide()
    assert (decision.is_left, decision.meets_unknown) == (False, False)
    for head in (*claim.sight.heads, *claim.others):
        ways = (head in decision.chosen, head in decision.held, head.lane in decision.shut)
        assert any(ways)
        assert not (ways[0] and ways[1])


@given(claims())
def test_a_job_that_another_gate_keeps_out_keeps_its_place_in_a_sequence(claim: Claim) -> None:
    decision = claim.decide()
    for place in decision.in_line:
        head = next(head for head, waiting in claim.sight.waiting.items() if waiting.job == place.job)
        assert head not in decision.chosen
        assert any(
            (requirement.gate, requirement.until) == (place.gate, place.until) and place.until != "lease"
            for requirement in claim.required(head)
        )
    for head, (arrival, gate) in decision.held.items():
        lasting = [requirement for requirement in claim.required(head) if requirement.until != "lease"]
        if gate.until == "lease":
            assert {requirement.gate for requirement in lasting} <= {
                place.gate for place in decision.in_line if place.job == arrival.job
            }


@given(claims())
def test_lanes_are_shut_whose_gates_have_no_room_left(claim: Claim) -> None:
    decision = claim.decide()
    shut = {
        lane
        for lane, gates in claim.lanes.items()
        if any(decision.ledger.room(requirement) == 0 for requirement in gates.required)
    }
    assert set(decision.shut) == shut
    assert all(seconds is None or seconds > 0 for seconds in decision.shut.values())
    assert lanes_with_room(claim.states, NOW, claim.lanes) >= claim.lanes.keys() - shut


@given(claims())
def test_the_same_claim_is_decided_the_same_way(claim: Claim) -> None:
    first, second = claim.decide(), claim.decide()
    assert first._replace(ledger=second.ledger) == second


# ── single cases ─────────────────────────────────────────────────────────────────────────────────────


def state(requirement: Requirement, *, inside: int = 0) -> GateState:
    gate, most, step, burst, *_ = requirement
    return GateState(gate, 0, most, step, burst, inside, None, None, None)


def standing(*required: Sequence[Requirement] | None, states: Sequence[GateState] = (), others: int = 0) -> Claim:
    """Return jobs in lane 1 with these gates of their own, and after them `others` in lane 2 without any."""
    waiting = {Head(1, place): JobWithGates(f"job-{place}", place, gates) for place, gates in enumerate(required, 1)}
    free = [Head(2, len(waiting) + place) for place in range(1, others + 1)]
    named = {each.gate: each for each in (*map(state, GATES), *states)}
    lanes = {1: LaneGates((), has_keys=True, priority=0), 2: LaneGates((), has_keys=False, priority=0)}
    lines = {1: Line("light", 1), 2: Line("light", 0)}
    return Claim(list(named.values()), lanes, Sight([*waiting], frozenset(), waiting), free, lines, ALL, ALL)


def test_a_job_that_left_its_lane_meanwhile_is_not_chosen() -> None:
    claim = standing((), (), others=1)
    first, second = claim.sight.heads
    gone = claim.sight._replace(waiting={second: claim.sight.waiting[second]})
    assert list(replace(claim, sight=gone).decide().chosen) == [second, *claim.others]
    assert list(claim.decide().chosen) == [first, second, *claim.others]


def test_a_job_that_never_left_its_sequence_goes_on_though_it_is_full_and_others_are_held() -> None:
    full = state(IN_ORDER, inside=1)._replace(insider="job-2", rank=0, place=1, first=1)
    decision = standing((IN_ORDER,), (IN_ORDER,), states=[full]).decide()
    assert list(decision.chosen) == [Head(1, 2)]
    assert list(decision.held) == [Head(1, 1)]


def test_a_job_that_comes_after_those_that_are_held_is_held_too_and_an_earlier_one_goes_in() -> None:
    held = state(TWO_EACH)._replace(rank=0, place=2)
    decision = standing((TWO_EACH,), (), (TWO_EACH,), states=[held]).decide()
    assert list(decision.chosen) == [Head(1, 1), Head(1, 2)]
    assert {head: each.kept_out_by for head, each in decision.held.items()} == {Head(1, 3): TWO_EACH}


def test_what_is_behind_a_job_whose_gates_are_not_known_waits_for_the_next_claim() -> None:
    decision = standing((TWO_EACH,), None, (TWO_EACH,), others=2).decide()
    assert list(decision.chosen) == [Head(1, 1)]
    assert (decision.meets_unknown, decision.held) == (True, {})


def test_what_was_not_seen_of_a_lane_is_not_passed_though_the_last_that_was_seen_has_no_limits() -> None:
    claim = standing((TWO_EACH,), (), others=2)
    seen_up_to = claim.sight._replace(last=frozenset({Head(1, 2)}))
    assert list(replace(claim, sight=seen_up_to).decide().chosen) == [Head(1, 1), Head(1, 2)]


def test_gates_that_were_not_locked_let_no_job_through_and_hold_none() -> None:
    claim = standing((TWO_EACH,), (RATE_EACH,))
    decision = replace(claim, states=[each for each in claim.states if each.gate != TWO_EACH.gate]).decide()
    assert (list(decision.chosen), decision.held) == ([Head(1, 2)], {})
