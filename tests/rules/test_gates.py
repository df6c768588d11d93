"""Gates: no window lets more through than its rate and burst, no job overtakes, and no two names can be confused."""

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
    GateLedger,
    GateState,
    Requirement,
    budget_of,
    gate_in_words,
    gate_name,
    gate_rule_of,
    lock_order,
    next_token,
    requirement_of_sequence,
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
    requirement = Requirement("retries", None, step, burst, "lease", False)
    starts: list[int] = []
    for _ in range(count):
        starts.append(now + 1000 * waits_for_token(through, now, requirement))
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
    assert lock_order([*of_jobs, *of_lane]) == [*of_lane, *of_jobs]


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        (gate_rule_of(ph.Rate("5/s"), "queue", "mail").requirement(), "rate of queue mail"),
        (gate_rule_of(ph.Concurrency(5), "kind", "resize").requirement(), "concurrency of kind resize"),
        (gate_rule_of(ph.Concurrency(5, name="api"), "kind", "resize").requirement(), "concurrency of api"),
        (
            gate_rule_of(ph.Rate("1/s", per="tenant"), "queue", "mail").requirement("acme"),
            "rate of queue mail, tenant=acme",
        ),
        (gate_rule_of(ph.Rate("1/s", name="api", per="user"), "kind", "call").requirement(7), "rate of api, user=7"),
        (requirement_of_sequence(ph.Sequence("invoice-7"), kind="book", tenant="acme"), "sequence invoice-7"),
        (requirement_of_sequence(ph.Sequence(per="n"), kind="book", tenant="", value=7), "sequence book, n=7"),
        (budget_of(ph.Rate("1/s"), "mail"), "retries of queue mail"),
    ],
)
def test_a_gate_is_described_for_people(requirement: Requirement, words: str) -> None:
    assert gate_in_words(requirement.gate) == words


def test_a_named_limit_is_one_gate_wherever_it_is_declared() -> None:
    limit = ph.Rate("5/s", name="api")
    assert gate_rule_of(limit, "queue", "mail").requirement() == gate_rule_of(limit, "kind", "call").requirement()
    assert (
        gate_rule_of(ph.Rate("5/s"), "queue", "call").requirement()
        != gate_rule_of(ph.Rate("5/s"), "kind", "call").requirement()
    )


@pytest.mark.parametrize(
    ("rate", "starts"), [("1/s", 1), ("1000000000/s", 1_000_000_000), ("3/s", 3), ("7/m", 7), ("1/d", 1)]
)
def test_a_rate_lets_no_more_through_than_it_says(rate: str, starts: int) -> None:
    requirement = gate_rule_of(ph.Rate(rate), "queue", "mail").requirement()
    assert requirement.step * starts >= ph.Rate(rate).seconds * NANOSECONDS
    assert (requirement.step - 1) * starts < ph.Rate(rate).seconds * NANOSECONDS


# ── the tally ────────────────────────────────────────────────────────────────────────────────────────

ONE_AT_A_TIME = Requirement("one", 1, 0, 0, "lease", True)
TWO = Requirement("two", 2, 0, 0, "lease", False)
IN_ORDER = Requirement("order", 1, 0, 0, "mend", True)


def ledger(
    requirement: Requirement,
    *,
    inside: int = 0,
    insider: str | None = None,
    held: tuple[int, int] | None = None,
    through: int = 0,
) -> GateLedger:
    rank, place = held or (None, None)
    standing = GateState(
        requirement.gate, through, requirement.most, requirement.step, requirement.burst, inside, insider, rank, place
    )
    return GateLedger([standing], 10**18)


def test_nobody_enters_a_full_gate_and_whoever_enters_counts() -> None:
    gate = ledger(TWO, inside=1)
    assert gate.admit(Arrival("a", 0, 1), [TWO]) is None
    assert gate.admit(Arrival("b", 0, 2), [TWO]) is TWO
    assert gate.room(TWO) == 0


def test_a_job_that_one_gate_keeps_out_takes_no_place_in_another() -> None:
    states = [GateState("two", 0, 2, 0, 0, 0, None, None, None), GateState("one", 0, 1, 0, 0, 1, "x", None, None)]
    gates = GateLedger(states, 10**18)
    assert gates.admit(Arrival("a", 0, 1), [TWO, ONE_AT_A_TIME]) is ONE_AT_A_TIME
    assert gates.room(TWO) == 2


def test_nobody_overtakes_those_who_are_held() -> None:
    assert ledger(ONE_AT_A_TIME, held=(0, 5)).admit(Arrival("late", 0, 9), [ONE_AT_A_TIME]) is ONE_AT_A_TIME
    assert ledger(ONE_AT_A_TIME, held=(0, 5)).admit(Arrival("early", 0, 3), [ONE_AT_A_TIME]) is None
    assert ledger(ONE_AT_A_TIME, held=(0, 5)).admit(Arrival("urgent", 1, 9), [ONE_AT_A_TIME]) is None


def test_priority_overtakes_nobody_in_a_sequence() -> None:
    assert ledger(IN_ORDER, held=(0, 5)).admit(Arrival("urgent", 100, 9), [IN_ORDER]) is IN_ORDER


def test_a_job_that_never_left_its_sequence_goes_on() -> None:
    gate = ledger(IN_ORDER, inside=1, insider="head", held=(0, 5))
    assert gate.admit(Arrival("other", 0, 1), [IN_ORDER]) is IN_ORDER
    assert gate.admit(Arrival("head", 0, 9), [IN_ORDER]) is None


def test_what_tokens_are_left_is_known_and_when_the_next_one_comes() -> None:
    requirement = Requirement("rate", None, NANOSECONDS, 2, "lease", False)
    gate = ledger(requirement)
    assert gate.room(requirement) == 2
    assert gate.opens_in(requirement) is None
    gate.admit(Arrival(None, 0, 1), [requirement])
    gate.admit(Arrival(None, 0, 2), [requirement])
    assert gate.room(requirement) == 0
    assert gate.opens_in(requirement) == 1.0
    assert gate.after(requirement, 2) == (10**18 + 2 * NANOSECONDS, 10**18 + NANOSECONDS)


def test_names_are_json() -> None:
    assert msgspec.json.decode(gate_name("rate", "queue", "mail", 5)) == ["rate", "queue", "mail", 5]


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 10**9), st.integers(1, 50))
def test_whoever_waits_in_microseconds_does_not_come_a_moment_too_early(
    through: int, now: int, step: int, burst: int
) -> None:
    requirement = Requirement("g", None, step, burst, "lease", False)
    wait = waits_for_token(through, now, requirement)
    assert tokens(through, now + 1000 * wait, step, burst) >= 1
    assert wait == 0 or tokens(through, now + 1000 * (wait - 1), step, burst) < 1


def test_sequences_of_two_tenants_are_two_even_if_they_have_one_name() -> None:
    for limit, value in ((ph.Sequence("imports"), None), (ph.Sequence(per="customer"), 5)):
        gates = {
            requirement_of_sequence(limit, kind="load", tenant=tenant, value=value).gate for tenant in ("", "a", "b")
        }
        assert len(gates) == 3
