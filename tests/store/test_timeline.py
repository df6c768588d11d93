"""Timelines: each statement raises the version of a job by what it tells of it, on every store."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec
import pytest

from posthorse.clock import SECOND
from posthorse.rules.events import Event
from posthorse.rules.job import JobError, NewJob
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Crashed, Expired, Lost, Outcome, Raised, Returned, Snoozed, Stopped, Unfit
from posthorse.rules.repeated_events import KEPT_APART
from posthorse.rules.requests import Request
from posthorse.rules.timeline import tell
from posthorse.rules.unique import Identity
from posthorse.store.operations import finish, read
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.runs import claim_one
from tests.store.yard import HOME, Yard

pytestmark = pytest.mark.all_postgres

ERROR = JobError("ValueError", "no")


def _unique(yard: Yard, arguments: str, on_conflict: str = "replace", *, delay: int | None = None) -> NewJob:
    identity = msgspec.convert({"value": "same", "rule": "queued", "on_conflict": on_conflict}, Identity)
    [new] = yard.new(arguments=arguments, delay=delay)
    return msgspec.structs.replace(new, unique=identity)


# ── each statement ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Returned("1"), "completed"),
        (Raised(ERROR), "attempt_failed"),
        (Raised(ERROR, gives_up="no use"), "failed"),
        (Raised(ERROR, wait=0), "attempt_failed"),
        (Snoozed(0, "not yet"), "snoozed"),
        (Snoozed(SECOND, "not yet"), "snoozed"),
        (Stopped("pause"), "paused"),
        (Stopped("cancel"), "cancelled"),
        (Stopped("shutdown"), "released"),
        (Stopped("yield"), "released"),
        (Lost("gone"), "lost"),
        (Crashed("died", alone=True), "crashed"),
        (Crashed("died", alone=False), "lost"),
    ],
    ids=repr,
)
def test_an_end_of_an_attempt_has_two_numbers(yard: Yard, outcome: Outcome, told: str) -> None:
    attempt = yard.started()
    if isinstance(outcome, Returned):
        assert yard.complete(attempt) == []
    else:
        if isinstance(outcome, Stopped) and outcome.request in ("pause", "cancel"):
            yard.ask(attempt.job, cast("Request", outcome.request))
        assert yard.settle(attempt, outcome)
    assert yard.told(attempt.job) == f"submitted started {told}"
    _, started, end = yard.timeline(attempt.job)
    assert (started.attempt, started.worker, end.attempt, end.worker) == (1, "worker-1", 1, "worker-1")
    assert started.at is not None
    assert end.at is not None
    assert started.at <= end.at


@pytest.mark.parametrize(("outcome", "told"), [(Unfit("no"), "unfit"), (Expired(), "expired")])
def test_a_job_whose_code_did_not_start_was_claimed(yard: Yard, outcome: Outcome, told: str) -> None:
    attempt = yard.started()
    yard.settle(attempt, outcome)
    assert yard.told(attempt.job) == f"submitted claimed {told}"


def test_requests_have_one_number_each(yard: Yard) -> None:
    [job] = yard.enqueue()
    requests: tuple[Request, ...] = ("pause", "resume", "pause", "cancel", "retry")
    for request in requests:
        yard.ask(job, request)
    assert yard.told(job) == "submitted paused resumed paused cancelled retried"
    attempt = yard.claim_one()
    yard.fail(attempt)
    yard.ask(job, "discard")
    assert yard.told(job).endswith("retried started failed discarded")
    assert [event.attempt for event in yard.timeline(job)][-3:] == [1, 1, None]


@pytest.mark.parametrize(("request_", "told"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_stop_by_force_says_so(yard: Yard, request_: Request, told: str) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, request_, force=True)
    _, started, end = yard.timeline(attempt.job)
    assert (started.name, end.name, end.detail["forced"]) == ("started", told, True)
    assert (end.attempt, end.worker) == (1, "worker-1")


def test_a_request_that_is_carried_out_with_the_end_has_its_own_number(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "pause")
    yard.settle(attempt, Stopped("shutdown"))
    assert yard.told(attempt.job) == "submitted started released paused"


def test_a_job_whose_time_came_lined_up(yard: Yard) -> None:
    [job] = yard.enqueue(delay=60 * SECOND)
    assert yard.told(job) == "submitted"
    yard.pass_time(seconds=61)
    yard.promote()
    assert yard.told(job) == "submitted queued"
    submitted, queued = yard.timeline(job)
    assert queued.at is not None
    assert submitted.at is not None
    assert (queued.at - submitted.at).total_seconds() == 60


def test_each_retry_tells_when_it_was_due(yard: Yard) -> None:
    attempt = yard.started()
    for _ in range(2):
        yard.settle(attempt, Raised(ERROR, wait=60 * SECOND), policy=Policy(max_attempts=9))
        yard.pass_time(seconds=90)
        yard.promote()
        attempt = yard.claim_one()
    told = yard.timeline(attempt.job)
    assert [event.name for event in told][3::3] == ["queued", "queued"]
    for end, queued in ((told[2], told[3]), (told[5], told[6])):
        assert end.at is not None
        assert queued.at is not None
        assert (queued.at - end.at).total_seconds() == 60


def test_a_job_that_was_taken_before_its_time_lined_up_for_that(yard: Yard) -> None:
    [job] = yard.enqueue(delay=60 * SECOND)
    yard.store.run(claim_one(yard.runner(), job, early=True))
    assert yard.told(job) == "submitted queued started"


def test_newer_jobs_that_supersede_one_are_counted(yard: Yard) -> None:
    [first] = yard.submit([_unique(yard, '{"n":0}')])
    for number in range(3):
        assert yard.submit([_unique(yard, f'{{"n":{number + 1}}}')])[0].id == first.id
    assert yard.told(first.id) == "submitted superseded superseded superseded"
    yard.submit([_unique(yard, "{}", "reschedule", delay=5 * SECOND)])
    yard.pass_time(seconds=6)
    yard.promote()
    assert yard.told(first.id).endswith("superseded queued")


def test_a_thousand_times_superseded_is_a_few_events(yard: Yard) -> None:
    [first] = yard.submit([_unique(yard, '{"n":0}')])
    for number in range(KEPT_APART + 20):
        yard.submit([_unique(yard, f'{{"n":{number + 1}}}')])
    told = yard.timeline(first.id)
    assert len(told) == KEPT_APART + 2  # the first, those that are stored, and one for those between
    assert (told[-2].name, told[-2].covers, told[-2].at) == ("superseded", 20, None)
    assert told[-1].detail == {"times": KEPT_APART + 20}


def test_a_job_that_was_given_back_has_not_started(yard: Yard) -> None:
    attempt = yard.started()
    assert yard.told(attempt.job) == "submitted started"
    yard.give_back(attempt)
    assert yard.told(attempt.job) == "submitted queued"
    yard.ask(attempt.job, "cancel")
    assert [event.name for event in yard.timeline(attempt.job, after=2)] == ["cancelled"]  # nothing was missed
    assert yard.job(attempt.job).started_at is None


def test_giving_back_twice_counts_once(yard: Yard) -> None:
    attempt = yard.started()
    yard.give_back(attempt)
    yard.give_back(attempt)
    assert yard.told(attempt.job) == "submitted queued"


def test_what_changes_no_step_raises_no_number(yard: Yard) -> None:
    attempt = yard.started()
    before = yard.timeline(attempt.job)
    yard.checkpoint(attempt)
    yard.ask(attempt.job, "pause")
    yard.ask(attempt.job, "resume")
    assert yard.timeline(attempt.job) == before


def test_an_endless_series_stays_bounded_and_covers_every_number(yard: Yard) -> None:
    [job] = yard.enqueue()
    reached = 0
    for number in range(KEPT_APART + 15):
        attempt = yard.claim_one()
        yard.settle(attempt, Snoozed(0 if number % 2 else SECOND, "not yet"))
        yard.pass_time(seconds=2)
        yard.promote()
        new = yard.timeline(job, reached)
        assert any(event.name == "snoozed" for event in new)  # a reader that came by in time missed nothing
        reached = new[-1].number
    assert len(yard.timeline(job)) < 4 * KEPT_APART


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────


def test_no_job_has_no_timeline(yard: Yard) -> None:
    [new] = yard.new()
    assert yard.store.read(read.timeline(new.id)) is None
    assert yard.store.read(read.pulse(new.id)) is None


def test_a_timeline_behind_any_number_is_the_rest_of_the_whole(yard: Yard) -> None:
    attempt = yard.started()
    yard.fail(attempt, attempts=3)
    yard.pass_time(minutes=5)
    yard.promote()
    yard.ask(attempt.job, "pause")
    yard.ask(attempt.job, "resume")
    second = yard.claim_one()
    yard.complete(second)
    told = yard.timeline(attempt.job)
    assert [event.name for event in told] == (
        ["submitted", "started", "attempt_failed", "queued", "paused", "resumed", "started", "completed"]
    )
    for number in range(len(told) + 1):
        assert yard.timeline(attempt.job, number) == told[number:]


def _change(of: Callable[[Yard, Fence], object]) -> Callable[[Yard, Fence], object]:
    return of


@pytest.mark.parametrize(
    "change",
    [
        _change(lambda yard, attempt: yard.complete(attempt)),
        _change(lambda yard, attempt: yard.fail(attempt)),
        _change(lambda yard, attempt: yard.give_back(attempt)),
        _change(lambda yard, attempt: yard.checkpoint(attempt)),
        _change(lambda yard, attempt: yard.ask(attempt.job, "cancel", force=True)),
    ],
    ids=["complete", "fail", "give back", "checkpoint", "force"],
)
def test_the_pulse_changes_with_everything_that_a_follower_tells(
    yard: Yard, change: Callable[[Yard, Fence], object]
) -> None:
    attempt = yard.started()
    before = yard.store.read(read.pulse(attempt.job))
    yard.pass_time(seconds=1)
    change(yard, attempt)
    assert yard.store.read(read.pulse(attempt.job)) != before


def test_dropped_evidence_is_seen(yard: Yard) -> None:
    """The check of all these tests is that every number is covered; what it was is checked by its name."""
    attempt = yard.started()
    yard.fail(attempt, attempts=3)
    stored = yard.store.read(read.timeline(attempt.job))
    assert stored is not None
    assert [event.name for event in tell(stored.facts, [])] == ["submitted", "queued", "queued"]


def test_an_event_says_for_how_long_the_job_waits(yard: Yard) -> None:
    attempt = yard.started()
    transition = decide(Spent(), Raised(ERROR, wait=1_500_000), Policy())
    yard.store.run(finish.settle(finish.Settlement(attempt, transition, HOME, '{"worker":"w","seconds":0.1}')))
    end: Event = yard.timeline(attempt.job)[-1]
    assert (end.detail["wait"], end.worker) == (1.5, "w")
