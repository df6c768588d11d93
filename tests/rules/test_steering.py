"""Steering: what an error leads to, by what the code raises, by the options of its kind, by a function."""

from __future__ import annotations

import pickle
from datetime import timedelta

import pytest

import posthorse as ph
from posthorse.rules.job import JobError, State
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Expired, Raised, Snoozed
from posthorse.rules.retry import BackoffFunction, checked_backoff, checked_errors
from posthorse.rules.steering import Verdict, verdict_on

ERROR = JobError("ValueError", "no")
SPENT = Spent(errors=1, crashes=1, interruptions=2)


def verdict(
    error: BaseException,
    *,
    retry_on: tuple[type[BaseException], ...] | None = None,
    give_up_on: tuple[type[BaseException], ...] = (),
    backoff: BackoffFunction | None = None,
) -> Verdict:
    return verdict_on(error, 2, retry_on=retry_on, give_up_on=give_up_on, backoff=backoff)


def test_an_error_is_tried_again_where_nothing_is_said() -> None:
    assert verdict(ValueError()) == Verdict()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionResetError(), None),
        (KeyError(), "KeyError is not in retry_on"),
        (BrokenPipeError(), "BrokenPipeError is in give_up_on"),
        (ph.Retry(), None),
        (ph.GiveUp("no such user"), "no such user"),
    ],
)
def test_the_more_severe_of_two_lists_wins_and_the_code_over_both(error: Exception, why: str | None) -> None:
    found = verdict(error, retry_on=(ConnectionError,), give_up_on=(BrokenPipeError, ph.Retry))
    assert found.gives_up == why


def test_the_wait_is_the_one_that_the_code_asks_for_and_else_that_of_the_function() -> None:
    asked: list[tuple[int, BaseException]] = []

    def backoff(attempt: int, error: BaseException) -> str:
        asked.append((attempt, error))
        return "3s"

    error = ValueError()
    assert verdict(ph.Retry(after="5m"), backoff=backoff).wait == 300_000_000
    assert verdict(error, backoff=backoff).wait == verdict(ph.Retry(), backoff=backoff).wait == 3_000_000
    assert asked[0] == (2, error)
    assert len(asked) == 2


def test_a_settled_wait_wins_over_the_backoff_and_spends_an_attempt() -> None:
    found = decide(SPENT, Raised(ERROR, wait=7), Policy(), chance=0.9)
    assert (found.state, found.wait, found.spent.errors) == (State.SCHEDULED, 7, 2)
    assert decide(SPENT, Raised(ERROR, wait=0), Policy()).state is State.PENDING
    assert decide(SPENT, Raised(ERROR, wait=7), Policy(max_attempts=2)).state is State.FAILED


def test_giving_up_is_a_dead_letter_at_once_that_says_why() -> None:
    found = decide(Spent(), Raised(ERROR, wait=7, gives_up="no such user"), Policy())
    assert (found.state, found.event, found.reason) == (State.FAILED, "failed", "gave up: no such user")
    assert (found.error, found.wait, found.spent.errors) == (ERROR, None, 1)


@pytest.mark.parametrize(("wait", "state"), [(5, State.SCHEDULED), (0, State.PENDING)])
def test_a_snooze_spends_nothing(wait: int, state: State) -> None:
    found = decide(SPENT, Snoozed(wait, "snoozed: busy"), Policy(max_attempts=1))
    assert (found.state, found.event, found.reason) == (state, "snoozed", "snoozed: busy")
    assert found.spent == SPENT
    assert found.error is None


def test_what_was_not_started_in_time_is_cancelled() -> None:
    found = decide(Spent(), Expired(), Policy())
    assert (found.state, found.event, found.reason) == (State.CANCELLED, "expired", "expired")


def test_what_steers_is_checked_where_it_is_made_and_travels() -> None:
    assert ph.Snooze("1h").duration == timedelta(hours=1)
    for wrong in (lambda: ph.Retry(after="soon"), lambda: ph.Snooze(-1)):
        with pytest.raises(ph.InvalidOption):
            wrong()
    assert type(ph.GiveUp("x")).__module__ == "posthorse"
    assert str(pickle.loads(pickle.dumps(ph.GiveUp("x")))) == "x"


async def slow(attempt: int, error: BaseException) -> int:
    return 1


def of_nothing() -> int:
    return 1


def of_the_attempt(attempt: int) -> int:
    return attempt


@pytest.mark.parametrize("wrong", [slow, of_nothing, of_the_attempt, (), "soon", ("1s", "soon")])
def test_a_backoff_that_could_not_be_used_is_refused(wrong: object) -> None:
    with pytest.raises(ph.InvalidOption, match="ackoff"):
        checked_backoff(wrong)


@pytest.mark.parametrize("wrong", [(), "ValueError", ValueError(), int, (ValueError, "x")])
def test_only_classes_of_exceptions_are_taken(wrong: object) -> None:
    with pytest.raises(ph.InvalidOption, match="retry_on"):
        checked_errors(wrong, name="retry_on")
    assert checked_errors(ValueError, name="retry_on") == (ValueError,)
