"""Finishing an attempt, and its checkpoints, on every store: the fence, repeats, every transition."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, cast

import msgspec
import pytest

from posthorse.clock import SECOND
from posthorse.rules.job import JobError, Lane, State
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Crashed, Lost, Outcome, Raised, Returned, Snoozed, Stopped, Unfit
from posthorse.rules.packing import PLAIN_TEXTS
from posthorse.rules.repeated_events import KEPT_APART
from posthorse.rules.retry import Backoff
from posthorse.store.operations import checkpoints, finish, read, runners
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Completion, Settlement
from tests.store.yard import HOME, LEASE, Yard, standing

pytestmark = pytest.mark.all_postgres

ERROR = JobError("ValueError", 'no\x00 é "quoted" {}', "Traceback …")


def stale(attempt: Fence) -> Fence:
    return attempt._replace(epoch=attempt.epoch - 1)


# ── complete ─────────────────────────────────────────────────────────────────────────────────────────


def test_completed_job_keeps_its_result_and_its_times(yard: Yard) -> None:
    attempt = yard.started()
    assert yard.complete(attempt, result='{"rows":[1,"é{}\\"\\\\"]}') == []
    assert yard.store.read(read.outcome(attempt.job)) == (
        "completed",
        '{"rows":[1,"é{}\\"\\\\"]}',
        None,
        None,
        "work",
    )
    row = yard.job(attempt.job)
    assert row.started_at is not None
    assert row.finished_at is not None
    assert row.created_at <= row.started_at <= row.finished_at <= row.now
    assert row.worker is None
    yard.audit()


def test_stale_worker_cannot_complete(yard: Yard) -> None:
    attempt = yard.started()
    assert yard.complete(stale(attempt)) == [attempt.job]
    assert yard.state(attempt.job) is State.PROCESSING


def test_an_epoch_alone_is_no_right_to_write(yard: Yard) -> None:
    """A database that lost a claim which it had acknowledged gives the same epoch to another runner."""
    attempt = yard.started()
    other = attempt._replace(runner=yard.runner())
    assert yard.complete(other) == [attempt.job]
    assert yard.checkpoint(other) is None
    assert not yard.settle(other, Lost("gone"))
    yard.give_back(other)
    fence = (attempt.job, attempt.epoch)
    assert yard.store.read(runners.still_held(other.runner, [fence])) == set()
    assert yard.store.read(runners.still_held(attempt.runner, [fence])) == {attempt.job}
    assert yard.complete(attempt) == []


def test_unknown_job_cannot_be_completed(yard: Yard) -> None:
    ghost = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"
    assert yard.complete(Fence(ghost, 1, yard.runner())) == [ghost]


def test_batch_completes_in_part_when_some_leases_are_gone(yard: Yard) -> None:
    good, gone, also_good = yard.started(), yard.started(), yard.started()
    yard.ask(gone.job, "cancel", force=True)
    assert yard.complete(good, gone, also_good) == [gone.job]
    assert [yard.state(a.job) for a in (good, gone, also_good)] == [
        State.COMPLETED,
        State.CANCELLED,
        State.COMPLETED,
    ]
    yard.audit()


def test_completing_again_after_a_lost_reply_is_no_loss(yard: Yard) -> None:
    attempts = [yard.started() for _ in range(3)]
    yard.complete(*attempts, result="1")
    assert yard.complete(*attempts, result="1") == []
    assert yard.events(attempts[0].job) == []


def test_thousand_jobs_complete_at_once(yard: Yard) -> None:
    yard.enqueue(1000)
    runner = yard.runner()
    claimed = yard.claim(runner, 1000)
    completions = [Completion(job.job, job.epoch, str(n)) for n, job in enumerate(claimed)]
    assert yard.store.run(finish.complete(runner, completions)).refused == []
    assert yard.store.read(read.running_count()) == 0
    outcome = yard.store.read(read.outcome(claimed[777].job))
    assert outcome is not None
    assert outcome.result == "777"


# ── settle ───────────────────────────────────────────────────────────────────────────────────────────

TRANSITIONS: list[tuple[str, Outcome, Policy, State, str]] = [
    ("returned", Returned("7"), Policy(), State.COMPLETED, "completed"),
    ("retry", Raised(ERROR), Policy(backoff=Backoff(base=60)), State.SCHEDULED, "attempt_failed"),
    ("retry at once", Raised(ERROR), Policy(backoff=Backoff(base=0)), State.PENDING, "attempt_failed"),
    ("dead letter", Raised(ERROR), Policy(max_attempts=1), State.FAILED, "failed"),
    ("shutdown", Stopped("shutdown"), Policy(), State.PENDING, "released"),
    ("cancel", Stopped("cancel"), Policy(), State.CANCELLED, "cancelled"),
    ("lost", Lost("no beat"), Policy(), State.PENDING, "lost"),
    ("lost for good", Lost("no beat"), Policy(max_interruptions=1), State.FAILED, "failed"),
    ("crash in company", Crashed("signal 11", alone=False), Policy(), State.PENDING, "lost"),
    ("crash alone", Crashed("signal 11", alone=True), Policy(), State.PENDING, "crashed"),
    ("crash for good", Crashed("signal 11", alone=True), Policy(max_crashes=1), State.FAILED, "failed"),
    ("unfit", Unfit("unknown argument"), Policy(), State.BLOCKED, "unfit"),
]


@pytest.mark.parametrize(
    ("outcome", "policy", "state", "event"),
    [case[1:] for case in TRANSITIONS],
    ids=[case[0] for case in TRANSITIONS],
)
def test_transition_is_applied_with_its_event(
    yard: Yard, outcome: Outcome, policy: Policy, state: State, event: str
) -> None:
    attempt = yard.started()
    assert yard.settle(attempt, outcome, policy=policy)
    row = yard.job(attempt.job)
    assert row.state == state.value
    assert yard.events(attempt.job) == [event]
    assert (row.finished_at is not None) == state.is_final
    assert row.started_at is not None
    if isinstance(outcome, Raised):
        assert row.errors == 1
        assert row.error is not None
        assert PLAIN_TEXTS.error_in(row.error) == ERROR
    yard.audit()


@pytest.mark.parametrize("outcome", [Unfit("unknown argument"), Snoozed(0, "not yet")], ids=["unfit", "snoozed"])
def test_an_endless_series_of_ends_takes_few_rows_and_counts_all(yard: Yard, outcome: Outcome) -> None:
    [job] = yard.enqueue()
    runner = yard.runner()
    for _ in range(KEPT_APART + 5):
        if isinstance(outcome, Unfit):
            yard.store.clock.advance(timedelta(hours=1))
            yard.store.run(runners.promote(9))
            runner = yard.runner()
        assert yard.settle(yard.claim_one(runner), outcome)
    told = yard.store.read(read.events(job))
    assert len(told) == KEPT_APART
    assert len({event.version for event in told}) == KEPT_APART
    assert msgspec.json.decode(told[-1].detail or "")["times"] == KEPT_APART + 5
    assert yard.store.read(finish.unfit_in_a_row(job)) == (KEPT_APART + 5 if isinstance(outcome, Unfit) else 0)
    yard.audit()


def test_an_end_that_a_runner_cannot_tell_of_says_where_it_ran_and_for_how_long(yard: Yard) -> None:
    attempt = yard.started()
    yard.pass_time(seconds=7)
    assert yard.settle(attempt, Lost("its runner ended"))
    [event] = yard.store.read(read.events(attempt.job))
    told = msgspec.json.decode(event.detail or "")
    assert (told["worker"], told["pid"]) == ("worker-1", 4711)
    assert 7 <= told["seconds"] < 60


def test_what_a_runner_tells_of_an_end_is_kept_as_it_is(yard: Yard) -> None:
    attempt = yard.started()
    transition = decide(Spent(), Raised(ERROR), Policy())
    evidence = '{"worker":"mine","seconds":0.5}'
    assert yard.store.run(finish.settle(Settlement(attempt, transition, HOME, evidence)))
    [event] = yard.store.read(read.events(attempt.job))
    assert event.detail == '{"worker":"mine","seconds":0.5,"wait":2.0}'  # and how long the job waits


def test_settling_again_after_a_lost_reply_is_told_so(yard: Yard) -> None:
    attempt = yard.started()
    assert yard.fail(attempt)
    assert yard.fail(attempt)
    assert yard.events(attempt.job) == ["failed"]


def test_stale_worker_cannot_settle(yard: Yard) -> None:
    attempt = yard.started()
    assert not yard.fail(stale(attempt))
    assert yard.state(attempt.job) is State.PROCESSING
    assert yard.events(attempt.job) == []


def test_attempts_that_end_at_the_same_moment_are_settled_together_and_answered_one_by_one(yard: Yard) -> None:
    runner = yard.runner()
    yard.enqueue(8)
    attempts = [Fence(each.job, each.epoch, runner) for each in yard.claim(runner, 8)]
    dead, retried, at_once, paused, cancelled, unfit, before, late = attempts
    yard.ask(retried.job, "cancel")  # its runner fails before it hears of that
    yard.ask(at_once.job, "pause")
    assert yard.fail(before)  # the reply was lost
    outcomes: list[tuple[Fence, Outcome, Policy]] = [
        (dead, Raised(ERROR), Policy(max_attempts=1)),
        (retried, Raised(ERROR), Policy()),
        (at_once, Raised(ERROR), Policy(backoff=Backoff(base=0))),
        (paused, Stopped("pause"), Policy()),
        (cancelled, Stopped("cancel"), Policy()),
        (unfit, Unfit("unknown argument"), Policy()),
        (before, Raised(JobError("ValueError", "no")), Policy(max_attempts=1)),
        (stale(late), Raised(ERROR), Policy(max_attempts=1)),
    ]
    together = [Settlement(each, decide(Spent(), outcome, policy), HOME) for each, outcome, policy in outcomes]
    assert yard.store.run(finish.settle_all(together)) == {late.job}
    assert [yard.state(each.job).value for each in attempts] == [
        "failed", "cancelled", "paused", "pending", "cancelled", "blocked", "failed", "processing",
    ]  # fmt: skip
    assert [yard.events(each.job) for each in attempts] == [
        ["failed"],
        ["attempt_failed", "cancelled"],
        ["attempt_failed", "paused"],
        ["paused", "resumed"],  # no request stood: it was withdrawn
        ["cancelled"],
        ["unfit"],
        ["failed"],
        [],
    ]
    # The claim and the end of an attempt raise the version by one each, and so does what is done to the job after it.
    versions = [[event.version for event in yard.store.read(read.events(each.job))] for each in attempts]
    assert versions == [[3], [3, 4], [3, 4], [3, 4], [3], [3], [3], []]
    assert yard.store.run(finish.settle_all(together[:1])) == set()  # said twice
    assert yard.events(dead.job) == ["failed"]
    yard.audit()


def test_nothing_of_what_is_settled_together_is_written_if_one_cannot_be(yard: Yard) -> None:
    runner = yard.runner()
    yard.enqueue(2)
    good, bad = (Fence(each.job, each.epoch, runner) for each in yard.claim(runner, 2))
    fine = decide(Spent(), Raised(ERROR), Policy(max_attempts=1))
    broken = msgspec.structs.replace(fine, reason="half of a \ud800")
    with pytest.raises(Exception, match=r"surrogate|UTF-8|utf-8"):
        yard.store.run(finish.settle_all([Settlement(good, fine, HOME), Settlement(bad, broken, HOME)]))
    assert {yard.state(each.job) for each in (good, bad)} == {State.PROCESSING}
    assert yard.store.run(finish.settle(Settlement(good, fine, HOME)))
    yard.audit()


def test_paused_job_lies_aside_with_its_reason(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "pause")
    assert yard.settle(attempt, Stopped("pause"))
    assert yard.job(attempt.job).reason == "paused on request"
    assert yard.store.read(read.parked_counts()) == {State.PAUSED: 1}
    yard.audit()


def test_pause_that_was_taken_back_does_not_happen(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "pause")
    yard.ask(attempt.job, "resume")
    assert yard.settle(attempt, Stopped("pause"))
    assert yard.state(attempt.job) is State.PENDING
    yard.audit()


def test_cancel_that_came_after_a_pause_wins(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "pause")
    yard.ask(attempt.job, "cancel")
    yard.settle(attempt, Stopped("pause"))
    assert yard.state(attempt.job) is State.CANCELLED
    yard.audit()


@pytest.mark.parametrize("outcome", [Lost("gone"), Raised(ERROR), Stopped("shutdown"), Unfit("x")])
def test_cancelled_job_never_runs_again_whatever_its_worker_met(yard: Yard, outcome: Outcome) -> None:
    attempt = yard.started()
    assert yard.ask(attempt.job, "cancel") is State.PROCESSING
    yard.settle(attempt, outcome)
    assert yard.state(attempt.job) is State.CANCELLED
    assert yard.job(attempt.job).request is None
    yard.audit()


def test_pause_outlives_the_worker_that_was_asked(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "pause")
    yard.settle(attempt, Lost("gone"))
    assert yard.state(attempt.job) is State.PAUSED
    yard.audit()


def test_failure_waits_for_its_backoff(yard: Yard) -> None:
    attempt = yard.started()
    yard.settle(attempt, Raised(ERROR), policy=Policy(backoff=Backoff(base=60, jitter=0)))
    due = yard.store.read(runners.next_due()).job
    assert due is not None
    assert 58 * SECOND < due <= 60 * SECOND


def test_suspect_waits_in_the_solo_lane_and_comes_home_when_cleared(yard: Yard) -> None:
    attempt = yard.started()
    yard.settle(attempt, Crashed("signal 11", alone=False))
    assert yard.claim(yard.runner()) == []
    alone = yard.claim_one(lane=Lane("default", "work", solo=True))
    assert alone[:2] == (attempt.job, 2)
    yard.settle(alone, Stopped("shutdown"))
    assert yard.claim_one()[:2] == (attempt.job, 3)


def test_spent_budgets_come_back_with_the_next_claim(yard: Yard) -> None:
    attempt = yard.started()
    yard.settle(attempt, Raised(ERROR), spent=Spent(1, 2, 3), policy=Policy(backoff=Backoff(base=0)))
    [claimed] = yard.claim(yard.runner())
    assert (claimed.errors, claimed.crashes, claimed.interruptions) == (2, 2, 3)


# ── checkpoint ───────────────────────────────────────────────────────────────────────────────────────


def test_checkpoint_is_kept_and_slices_are_counted(yard: Yard) -> None:
    attempt = yard.started()
    assert yard.store.read(checkpoints.load_checkpoint(attempt.job))[:2] == (0, None)
    assert yard.checkpoint(attempt, 0, is_slice=False) == (0, None)
    assert yard.checkpoint(attempt, 1) == (1, None)
    assert yard.checkpoint(attempt, 2) == (2, None)
    assert yard.checkpoint(attempt, 2, is_slice=False) == (2, None)
    assert yard.store.read(checkpoints.load_checkpoint(attempt.job))[:2] == (2, standing(2))
    row = yard.job(attempt.job)
    assert (row.done, row.total, row.note, row.pace) == (2, 10, "note", "[2]")


def test_slice_told_twice_counts_once(yard: Yard) -> None:
    attempt = yard.started()
    yard.checkpoint(attempt, 1)
    yard.checkpoint(attempt, 2)
    assert yard.checkpoint(attempt, 2) == (2, None)
    assert yard.checkpoint(attempt, 3) == (3, None)


def test_stale_worker_cannot_save_a_checkpoint(yard: Yard) -> None:
    attempt = yard.started()
    yard.checkpoint(attempt, 5)
    yard.settle(attempt, Lost("gone"))
    assert yard.checkpoint(attempt, 6) is None
    heir = yard.claim_one()
    assert yard.checkpoint(attempt, 6) is None
    assert yard.store.read(checkpoints.load_checkpoint(attempt.job))[:2] == (1, standing(5))
    assert yard.checkpoint(heir, 6) == (2, None)


def test_checkpoint_tells_what_is_asked(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "pause")
    assert yard.checkpoint(attempt, 1) == (1, "pause")
    yard.ask(attempt.job, "cancel")
    assert yard.checkpoint(attempt, 2) == (2, "cancel")


def test_texts_of_a_checkpoint_may_hold_anything(yard: Yard) -> None:
    attempt = yard.started()
    texts = json.dumps({"a,b": '{}"\\\n', "é": None}, ensure_ascii=False)
    at = checkpoints.Checkpoint(2**40, None, texts, None, texts, texts)
    assert yard.store.run(checkpoints.checkpoint(attempt, at)) == (None,)
    assert yard.store.read(checkpoints.load_checkpoint(attempt.job))[:2] == (1, at)


def test_committed_slice_of_the_lost_attempt_clears_its_budgets(yard: Yard) -> None:
    attempt = yard.started()
    yard.settle(attempt, Lost("gone"), spent=Spent(1, 2, 3))
    yard.pass_time(hours=2)
    yard.promote()
    runner = yard.runner()
    held = yard.claim_one(runner)
    assert yard.store.read(runners.held_by(runner))[0].spent == Spent(1, 2, 4)
    yard.checkpoint(held, 1)
    assert yard.store.read(runners.held_by(runner))[0].spent == Spent(1)


# ── late writes inside a slice transaction ───────────────────────────────────────────────────────────


class Fenced(Exception):
    """The attempt lost its lease: its slice must not be committed."""


def run_slice(yard: Yard, attempt: Fence) -> None:
    """Write an effect and its checkpoint in one transaction, as a slice commits them."""
    with yard.store.transaction() as connection:
        cast("Any", connection).execute("CREATE TABLE effects (x int)")
        if yard.checkpoint(attempt, 1) is None:
            raise Fenced


def test_slice_transaction_of_a_rescued_job_writes_nothing(yard: Yard) -> None:
    attempt = yard.started()
    yard.pass_time(seconds=LEASE // SECOND + 1)
    yard.rescue_expired()
    [orphan] = yard.store.read(runners.orphans(10))
    yard.settle(Fence(orphan.job, orphan.epoch, orphan.runner), Lost("gone"))
    with pytest.raises(Fenced):
        run_slice(yard, attempt)
    heir = yard.claim_one()
    assert heir.epoch == attempt.epoch + 1
    with pytest.raises(Fenced):
        run_slice(yard, attempt)
    # If the effect had stayed, the table would exist.
    run_slice(yard, heir)
    with yard.store.transaction() as connection:
        cast("Any", connection).execute("DROP TABLE effects")
