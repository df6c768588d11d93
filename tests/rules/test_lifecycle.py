"""The lifecycle, the only place that decides what follows: every outcome, every budget."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.job import JobError, State
from posthorse.rules.lifecycle import GRAPH, Policy, Spent, decide
from posthorse.rules.outcomes import Crashed, Lost, Raised, Returned, Snoozed, Stopped, Unfit
from posthorse.rules.requests import ACTIONS, REQUESTS, Action, Request, state_after
from posthorse.rules.retry import Backoff
from posthorse.rules.search.aims import has_effect
from posthorse.rules.tuning import DEFAULTS

ERROR = JobError("ValueError", "no")
FIXED = Policy(max_attempts=3, max_crashes=2, max_interruptions=3, backoff=Backoff(base=10, jitter=0))


def test_return_completes_with_the_result() -> None:
    found = decide(Spent(1, 1, 1), Returned("[1]"), FIXED)
    assert (found.state, found.result, found.spent) == (State.COMPLETED, "[1]", Spent(1, 1, 1))


def test_errors_spend_attempts_until_none_is_left() -> None:
    first = decide(Spent(), Raised(ERROR), FIXED)
    second = decide(first.spent, Raised(ERROR), FIXED)
    last = decide(second.spent, Raised(ERROR), FIXED)
    assert [found.state for found in (first, second, last)] == [State.SCHEDULED, State.SCHEDULED, State.FAILED]
    assert (first.wait, second.wait, last.wait) == (10_000_000, 20_000_000, None)
    assert (last.error, last.reason) == (ERROR, "failed in 3 attempts")
    assert decide(Spent(), Raised(ERROR), Policy(max_attempts=1)).reason == "failed in 1 attempt"


def test_errors_before_the_last_committed_slice_are_numbered_and_not_counted() -> None:
    first = decide(Spent(errors=7, forgiven=7), Raised(ERROR), FIXED)
    assert (first.state, first.wait, first.spent.errors) == (State.SCHEDULED, 10_000_000, 8)
    assert first.reason == "attempt 1 of 3 since its last committed slice failed"
    last = decide(Spent(errors=9, forgiven=7), Raised(ERROR), FIXED)
    assert (last.state, last.spent.errors) == (State.FAILED, 10)
    assert last.reason == "failed in 3 attempts since its last committed slice"


def test_error_without_backoff_is_tried_again_at_once() -> None:
    found = decide(Spent(), Raised(ERROR), Policy(backoff=Backoff(base=0)))
    assert (found.state, found.wait) == (State.PENDING, None)


def test_a_wait_that_the_error_brings_wins_over_the_backoff_and_may_be_none_at_all() -> None:
    later = decide(Spent(), Raised(ERROR, wait=7), FIXED)
    assert (later.state, later.wait, later.spent) == (State.SCHEDULED, 7, Spent(errors=1))
    at_once = decide(Spent(), Raised(ERROR, wait=0), FIXED)
    assert (at_once.state, at_once.wait) == (State.PENDING, None)


def test_an_error_that_gives_up_is_a_dead_letter_and_an_attempt_all_the_same() -> None:
    found = decide(Spent(errors=1), Raised(ERROR, wait=7, gives_up="gone"), Policy(max_attempts=9))
    assert (found.state, found.reason, found.error) == (State.FAILED, "gave up: gone", ERROR)
    assert (found.spent, found.wait) == (Spent(errors=2), None)


def test_a_snooze_spends_nothing_and_without_a_wait_the_job_is_lined_up() -> None:
    later = decide(Spent(1, 1, 1), Snoozed(7, "not yet"), FIXED)
    assert (later.state, later.wait, later.spent, later.reason) == (State.SCHEDULED, 7, Spent(1, 1, 1), "not yet")
    at_once = decide(Spent(), Snoozed(0, "others first"), FIXED)
    assert (at_once.state, at_once.wait) == (State.PENDING, None)


@pytest.mark.parametrize(
    ("request_", "state"),
    [("pause", State.PAUSED), ("cancel", State.CANCELLED), ("shutdown", State.PENDING), ("yield", State.PENDING)],
)
def test_stops_spend_nothing(request_: str, state: State) -> None:
    found = decide(Spent(1, 1, 1), Stopped(request_), FIXED)
    assert (found.state, found.spent, found.error) == (state, Spent(1, 1, 1), None)


def test_lost_workers_spend_only_losses_and_end_in_a_dead_letter() -> None:
    found = decide(Spent(), Lost("no beat"), FIXED)
    assert (found.state, found.spent, found.solo) == (State.PENDING, Spent(interruptions=1), False)
    last = decide(Spent(interruptions=2), Lost("no beat"), FIXED)
    assert (last.state, last.reason) == (State.FAILED, "no progress")
    assert last.error is not None
    assert "3 times" in last.error.message


@pytest.mark.parametrize("outcome", [Lost("no process"), Crashed("killed", alone=True), Crashed("killed", alone=False)])
def test_the_first_time_a_job_goes_on_at_once_and_then_it_waits_longer_each_time(outcome: Lost | Crashed) -> None:
    """A rescue is immediate; a lasting cause, as a machine without memory, does not use up the budget in a moment."""
    policy, spent = Policy(max_interruptions=10, max_crashes=10), Spent()
    waits: list[int | None] = []
    for _ in range(9):
        found = decide(spent, outcome, policy)
        assert (found.state is State.PENDING) == (found.wait is None)
        waits.append(found.wait)
        spent = found.spent
    assert waits == [None, *(second * 1_000_000 for second in (1, 2, 4, 8, 16, 32, 60, 60))]
    assert decide(spent, outcome, policy).state is State.FAILED


def test_crash_in_company_only_makes_a_suspect() -> None:
    found = decide(Spent(), Crashed("signal 11", alone=False), FIXED)
    assert (found.state, found.solo, found.spent) == (State.PENDING, True, Spent(interruptions=1))


def test_crash_alone_counts() -> None:
    found = decide(Spent(), Crashed("signal 11", alone=True), FIXED)
    assert (found.state, found.solo, found.spent) == (State.PENDING, True, Spent(crashes=1))
    last = decide(found.spent, Crashed("signal 11", alone=True), FIXED)
    assert (last.state, last.reason) == (State.FAILED, "crashed")


def test_a_crash_in_a_process_of_its_own_counts_and_makes_no_suspect() -> None:
    found = decide(Spent(), Crashed("signal 9", alone=True, is_contained=True), FIXED)
    assert (found.state, found.solo, found.spent) == (State.PENDING, False, Spent(crashes=1))
    last = decide(found.spent, Crashed("signal 9", alone=True, is_contained=True), FIXED)
    assert last.error is not None
    assert last.error.message == "crashed its process 2 times; the last time: signal 9"


def test_unfit_arguments_wait_for_another_version() -> None:
    found = decide(Spent(1, 2, 3), Unfit("no `week`"), FIXED)
    assert (found.state, found.wait, found.spent) == (State.BLOCKED, DEFAULTS.unfit_wait, Spent(1, 2, 3))


EVERY_PAIR = sorted(itertools.product(State, REQUESTS))


def test_every_request_is_decided_in_every_state() -> None:
    assert sorted(ACTIONS) == EVERY_PAIR


@given(st.sampled_from(EVERY_PAIR), st.booleans(), st.booleans())
def test_actions_follow_the_graph(pair: tuple[State, Request], waits: bool, blocks: bool) -> None:
    state, request = pair
    action = ACTIONS[state, request]
    target = state_after(action, waits=waits, blocks=blocks)
    assert target is None or target in GRAPH[state]
    if state is State.PROCESSING:  # only its runner ends it
        assert action in (Action.ASK_RUNNER, Action.WITHDRAW_PAUSE, Action.REFUSE)
    else:
        assert action not in (Action.ASK_RUNNER, Action.WITHDRAW_PAUSE)
        assert (target is None) == (action in (Action.KEEP, Action.REFUSE))


@given(st.sampled_from(EVERY_PAIR), st.booleans())
def test_what_is_requested_twice_changes_nothing_the_second_time(pair: tuple[State, Request], waits: bool) -> None:
    state, request = pair
    target = state_after(ACTIONS[state, request], waits=waits)
    if target is not None:
        again = Action.REFUSE if request in ("retry", "discard") else Action.KEEP
        assert ACTIONS[target, request] is again


@pytest.mark.parametrize(("state", "request_"), EVERY_PAIR)
def test_filters_take_the_jobs_for_which_the_table_has_an_action(state: State, request_: Request) -> None:
    changes = ACTIONS[state, request_] not in (Action.KEEP, Action.REFUSE)
    assert changes == has_effect(request_, state, "pause" if request_ == "resume" else None)


def test_final_states_are_left_only_by_retry_and_dead_letters_by_a_discard() -> None:
    assert GRAPH[State.COMPLETED] == {State.PENDING, State.BLOCKED}
    assert GRAPH[State.CANCELLED] == {State.PENDING, State.SCHEDULED, State.BLOCKED}
    assert GRAPH[State.FAILED] == {State.PENDING, State.SCHEDULED, State.BLOCKED, State.CANCELLED}
    assert {ACTIONS[state, "discard"] for state in State if state is not State.FAILED} == {Action.REFUSE}
    assert state_after(ACTIONS[State.FAILED, "discard"], waits=False) is State.CANCELLED
    assert ACTIONS[State.FAILED, "cancel"] is Action.REFUSE
    assert ACTIONS[State.COMPLETED, "retry"] is Action.REFUSE  # of its bad items only
