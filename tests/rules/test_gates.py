"""Gates: no window lets more through than its rate and its burst, nobody overtakes, and no name can pass for two."""

from __future__ import annotations

from enum import StrEnum

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import posthorse as ph
from posthorse.rules.gates import (
    NANOSECONDS,
    Arrival,
    GateState,
    Need,
    Tally,
    budget_of,
    demand_of,
    described,
    gate_name,
    in_order,
    need_of_sequence,
    next_token,
    spent,
    tokens,
    waits_for_token,
)

STEPS = st.integers(1, 5 * NANOSECONDS)
BURSTS = st.integers(1, 9)


@given(
    STEPS, BURSTS, st.lists(st.tuples(st.integers(0, 10 * NANOSECONDS), st.integers(0, 12)), min_size=1, max_size=15)
)
def test_no_window_has_more_starts_than_its_rate_and_the_burst(
    step: int, burst: int, claims: list[tuple[int, int]]
) -> None:
    now, through = 10**18, 0
    starts: list[int] = []
    for pause, wanted in claims:
        now += pause
        taken = min(wanted, tokens(through, now, step, burst))
        through = spent(through, now, step, taken)
        starts += [now] * taken
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            window = starts[last] - starts[first]
            assert last - first + 1 <= window / step + burst


@given(STEPS, BURSTS, st.integers(0, 100 * NANOSECONDS), st.integers(0, 9))
def test_who_waits_for_the_next_token_finds_it(step: int, burst: int, pause: int, taken: int) -> None:
    now = 10**18
    through = spent(0, now, step, min(taken, burst))
    at = next_token(through, step, burst)
    assert tokens(through, max(at, now), step, burst) >= 1
    if at > now:
        assert tokens(through, at - 1, step, burst) == 0
    assert 0 <= tokens(through, now + pause, step, burst) <= burst


@given(STEPS, BURSTS, st.integers(1, 30))
def test_those_who_take_tokens_that_are_to_come_wait_for_their_own(step: int, burst: int, count: int) -> None:
    now, through = 10**18, 0
    need = Need("retries", None, step, burst, "lease", False)
    starts: list[int] = []
    for _ in range(count):
        starts.append(now + 1000 * waits_for_token(through, now, need))
        through = spent(through, now, step, 1)
    for first in range(count):
        for last in range(first, count):
            # Waits are whole microseconds, rounded up.
            assert last - first + 1 <= (starts[last] - starts[first] + 1000) / step + burst


@given(st.lists(st.text() | st.integers() | st.booleans() | st.none(), max_size=4))
def test_a_name_tells_its_parts_apart(parts: list[object]) -> None:
    assert gate_name(*parts) != gate_name(*parts, "")
    assert gate_name("a/b", "c") != gate_name("a", "b/c")
    assert len(gate_name(*parts)) < 6000


def test_long_values_have_short_names() -> None:
    long, other = "x" * 10_000, "x" * 9_999 + "y"
    assert gate_name("rate", long) != gate_name("rate", other)
    assert len(gate_name("rate", long)) < 100
    assert gate_name(1) != gate_name("1")


@pytest.mark.parametrize("value", [object(), "\ud800", 10**5000], ids=["object", "surrogate", "huge"])
def test_what_has_no_form_in_json_names_no_gate(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        gate_name("rate", value)


def test_a_value_names_the_same_gate_whatever_its_class() -> None:
    class Size(StrEnum):
        SMALL = "s"

    assert gate_name("rate", Size.SMALL) == gate_name("rate", "s")
    assert gate_name({"b", "a", "c"}) == gate_name({"c", "b", "a"})


def test_gates_of_lanes_are_locked_before_gates_of_single_jobs() -> None:
    of_lane = [gate_name("rate", "queue", "z"), gate_name("retries", "queue", "a")]
    of_jobs = [gate_name("concurrency", "kind", "a", "key", 1), gate_name("sequence", "", "a")]
    assert in_order([*of_jobs, *of_lane]) == [*of_lane, *of_jobs]


@pytest.mark.parametrize(
    ("need", "words"),
    [
        (demand_of(ph.Rate("5/s"), "queue", "mail").need(), "rate of queue mail"),
        (demand_of(ph.Concurrency(5), "kind", "resize").need(), "concurrency of kind resize"),
        (demand_of(ph.Concurrency(5, name="api"), "kind", "resize").need(), "concurrency of api"),
        (demand_of(ph.Rate("1/s", per="tenant"), "queue", "mail").need("acme"), "rate of queue mail, tenant=acme"),
        (demand_of(ph.Rate("1/s", name="api", per="user"), "kind", "call").need(7), "rate of api, user=7"),
        (need_of_sequence(ph.Sequence("invoice-7"), kind="book", tenant="acme"), "sequence invoice-7"),
        (need_of_sequence(ph.Sequence(per="n"), kind="book", tenant="", value=7), "sequence book, n=7"),
        (budget_of(ph.Rate("1/s"), "mail"), "retries of queue mail"),
    ],
)
def test_a_gate_is_described_for_people(need: Need, words: str) -> None:
    assert described(need.gate) == words


def test_a_named_limit_is_one_gate_wherever_it_is_declared() -> None:
    limit = ph.Rate("5/s", name="api")
    assert demand_of(limit, "queue", "mail").need() == demand_of(limit, "kind", "call").need()
    assert demand_of(ph.Rate("5/s"), "queue", "call").need() != demand_of(ph.Rate("5/s"), "kind", "call").need()


@pytest.mark.parametrize(
    ("rate", "starts"), [("1/s", 1), ("1000000000/s", 1_000_000_000), ("3/s", 3), ("7/m", 7), ("1/d", 1)]
)
def test_a_rate_lets_no_more_through_than_it_says(rate: str, starts: int) -> None:
    need = demand_of(ph.Rate(rate), "queue", "mail").need()
    assert need.step * starts >= ph.Rate(rate).seconds * NANOSECONDS
    assert (need.step - 1) * starts < ph.Rate(rate).seconds * NANOSECONDS


# ── the tally ────────────────────────────────────────────────────────────────────────────────────────

ONE_AT_A_TIME = Need("one", 1, 0, 0, "lease", True)
TWO = Need("two", 2, 0, 0, "lease", False)
IN_ORDER = Need("order", 1, 0, 0, "mend", True)


def tally(
    need: Need, *, inside: int = 0, insider: str | None = None, held: tuple[int, int] | None = None, through: int = 0
) -> Tally:
    rank, place = held or (None, None)
    standing = GateState(need.gate, through, need.most, need.step, need.burst, inside, insider, rank, place)
    return Tally([standing], 10**18)


def test_nobody_enters_a_full_gate_and_whoever_enters_counts() -> None:
    gate = tally(TWO, inside=1)
    assert gate.admit(Arrival("a", 0, 1), [TWO]) is None
    assert gate.admit(Arrival("b", 0, 2), [TWO]) is TWO
    assert gate.room(TWO) == 0


def test_a_job_that_one_gate_keeps_out_takes_no_place_in_another() -> None:
    gates = tally(TWO)
    gates.learn([GateState("one", 0, 1, 0, 0, 1, "x", None, None)])
    assert gates.admit(Arrival("a", 0, 1), [TWO, ONE_AT_A_TIME]) is ONE_AT_A_TIME
    assert gates.room(TWO) == 2


def test_nobody_overtakes_those_who_are_held() -> None:
    assert tally(ONE_AT_A_TIME, held=(0, 5)).admit(Arrival("late", 0, 9), [ONE_AT_A_TIME]) is ONE_AT_A_TIME
    assert tally(ONE_AT_A_TIME, held=(0, 5)).admit(Arrival("early", 0, 3), [ONE_AT_A_TIME]) is None
    assert tally(ONE_AT_A_TIME, held=(0, 5)).admit(Arrival("urgent", 1, 9), [ONE_AT_A_TIME]) is None


def test_priority_overtakes_nobody_in_a_sequence() -> None:
    assert tally(IN_ORDER, held=(0, 5)).admit(Arrival("urgent", 100, 9), [IN_ORDER]) is IN_ORDER


def test_a_job_that_never_left_its_sequence_goes_on() -> None:
    gate = tally(IN_ORDER, inside=1, insider="head", held=(0, 5))
    assert gate.admit(Arrival("other", 0, 1), [IN_ORDER]) is IN_ORDER
    assert gate.admit(Arrival("head", 0, 9), [IN_ORDER]) is None


def test_what_tokens_are_left_is_known_and_when_the_next_one_comes() -> None:
    need = Need("rate", None, NANOSECONDS, 2, "lease", False)
    gate = tally(need)
    assert gate.room(need) == 2
    assert gate.opens_in(need) is None
    gate.admit(Arrival(None, 0, 1), [need])
    gate.admit(Arrival(None, 0, 2), [need])
    assert gate.room(need) == 0
    assert gate.opens_in(need) == 1.0
    assert gate.after(need, 2) == (10**18 + 2 * NANOSECONDS, 10**18 + NANOSECONDS)


def test_names_are_json() -> None:
    assert msgspec.json.decode(gate_name("rate", "queue", "mail", 5)) == ["rate", "queue", "mail", 5]


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 10**9), st.integers(1, 50))
def test_whoever_waits_in_microseconds_does_not_come_a_moment_too_early(
    through: int, now: int, step: int, burst: int
) -> None:
    need = Need("g", None, step, burst, "lease", False)
    wait = waits_for_token(through, now, need)
    assert tokens(through, now + 1000 * wait, step, burst) >= 1
    assert wait == 0 or tokens(through, now + 1000 * (wait - 1), step, burst) < 1


def test_sequences_of_two_tenants_are_two_even_if_they_have_one_name() -> None:
    for limit, value in ((ph.Sequence("imports"), None), (ph.Sequence(per="customer"), 5)):
        gates = {need_of_sequence(limit, kind="load", tenant=tenant, value=value).gate for tenant in ("", "a", "b")}
        assert len(gates) == 3
