"""Families are steered: what is requested of a parent is done to its children, and retries open what they belong to."""

from __future__ import annotations

import msgspec
import pytest

from posthorse.errors import InvalidTransition
from posthorse.rules.job import State
from posthorse.rules.joins import Edge
from posthorse.rules.outcomes import Joined, Waits
from posthorse.rules.topics import Topic
from posthorse.store.operations import families_steered, read, width
from posthorse.store.operations.families import NewFamily, add_children
from posthorse.store.operations.families_steered import steer_families
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.retention import Going, erase, forget_jobs
from posthorse.store.operations.runners import next_due
from posthorse.store.operations.runs import claim_one
from posthorse.store.operations.submit import EntryTerms, SubmitResult
from posthorse.store.operations.width import make_rooms, set_width
from tests.store.families import check_joins, dependent, family, join_of, release_all, submit
from tests.store.test_joins import end, states
from tests.store.yard import Yard

PENDING, BLOCKED, PAUSED, RUNNING = State.PENDING, State.BLOCKED, State.PAUSED, State.PROCESSING
COMPLETED, FAILED, CANCELLED = State.COMPLETED, State.FAILED, State.CANCELLED


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families_steered, "CHILDREN_AT_ONCE", 2)


def settle_down(yard: Yard) -> None:
    """Do all that the sweep and the runners do for families."""
    while yard.store.run(steer_families()) or release_all(yard):
        pass
    check_joins(yard)
    yard.audit()


def add(yard: Yard, attempt: Fence, count: int, parent: str | None = None) -> list[SubmitResult] | None:
    jobs = [msgspec.structs.replace(job, parent=parent or attempt.job) for job in yard.new(count)]
    lanes = yard.store.lanes({job.lane for job in jobs})
    return yard.store.run(add_children(attempt, NewFamily(jobs), EntryTerms(lanes)))


def test_a_pause_of_a_parent_pauses_its_children_and_a_resume_lets_all_go_on(yard: Yard) -> None:
    parent, children = family(yard, 5, {(3, 4): "completed"})
    running = yard.claim_one()
    assert running.job == children[0]
    yard.ask(parent, "pause")
    assert yard.store.read(next_due()).has_steered
    settle_down(yard)
    assert not yard.store.read(next_due()).has_steered
    assert states(yard, [parent, *children]) == [PAUSED, RUNNING, PAUSED, PAUSED, PAUSED, PAUSED]
    assert yard.complete(running) == []
    settle_down(yard)
    assert yard.state(parent) is PAUSED
    yard.ask(parent, "resume")
    settle_down(yard)
    assert states(yard, [parent, *children]) == [BLOCKED, COMPLETED, PENDING, PENDING, PENDING, BLOCKED]
    for child in children[1:]:
        end(yard, child, COMPLETED)
        settle_down(yard)
    assert yard.state(parent) is COMPLETED


def test_what_is_released_while_its_family_is_paused_waits_for_the_resume(yard: Yard) -> None:
    parent, [one, other] = family(yard, 2, {(0, 1): "completed"})
    running = yard.claim_one()
    assert running.job == one
    yard.ask(parent, "pause")
    assert yard.complete(running) == []
    settle_down(yard)
    assert states(yard, [parent, one, other]) == [PAUSED, COMPLETED, PAUSED]
    yard.ask(parent, "resume")
    settle_down(yard)
    assert states(yard, [parent, one, other]) == [BLOCKED, COMPLETED, PENDING]


def test_a_parent_whose_children_ended_while_it_was_paused_ends_with_the_resume(yard: Yard) -> None:
    parent, [child] = family(yard, 1)
    running = yard.claim_one()
    yard.ask(parent, "pause")
    assert yard.complete(running) == []
    settle_down(yard)
    assert yard.state(child) is COMPLETED
    yard.ask(parent, "resume")
    settle_down(yard)
    assert yard.state(parent) is COMPLETED


def test_a_cancel_of_a_parent_cancels_its_children_and_ends_it_after_them(yard: Yard) -> None:
    parent, children = family(yard, 5, {(1, 2): "over"})
    after = dependent(yard, {parent: "over"})
    running = yard.claim_one()
    assert yard.ask(parent, "cancel") is BLOCKED
    settle_down(yard)
    assert states(yard, [parent, *children, after]) == [BLOCKED, RUNNING, *[CANCELLED] * 4, BLOCKED]
    assert yard.complete(running) == []
    settle_down(yard)
    assert yard.state(parent) is CANCELLED
    assert yard.job(parent).reason == "cancelled on request"
    assert yard.state(after) is PENDING


def test_a_paused_parent_is_cancelled_with_its_children(yard: Yard) -> None:
    parent, children = family(yard, 3)
    yard.ask(parent, "pause")
    settle_down(yard)
    yard.ask(parent, "cancel")
    settle_down(yard)
    assert set(states(yard, [parent, *children])) == {CANCELLED}


def test_a_retry_of_a_parent_runs_again_what_failed_and_what_was_skipped(yard: Yard) -> None:
    parent, children = family(yard, 4, {(1, 2): "completed", (2, 3): "completed"})
    end(yard, children[0], COMPLETED)
    end(yard, children[1], FAILED)
    settle_down(yard)
    assert states(yard, [parent, *children]) == [FAILED, COMPLETED, FAILED, CANCELLED, CANCELLED]
    yard.ask(parent, "retry")
    settle_down(yard)
    assert yard.state(parent) is BLOCKED
    assert states(yard, children)[:2] == [COMPLETED, PENDING]
    for child in children[1:]:
        end(yard, child, COMPLETED)
        settle_down(yard)
    assert set(states(yard, [parent, *children])) == {COMPLETED}


def test_a_retry_of_a_child_opens_all_that_is_above_it(yard: Yard) -> None:
    grandparent, parent, child = yard.new(3)
    parent = msgspec.structs.replace(parent, parent=grandparent.id)
    child = msgspec.structs.replace(child, parent=parent.id)
    submit(yard, [grandparent, parent, child], [], [grandparent.id, parent.id])
    family_of = [grandparent.id, parent.id, child.id]
    end(yard, child.id, FAILED)
    settle_down(yard)
    assert states(yard, family_of) == [FAILED, FAILED, FAILED]
    yard.ask(child.id, "retry")
    check_joins(yard)
    assert states(yard, family_of) == [BLOCKED, BLOCKED, PENDING]
    end(yard, child.id, COMPLETED)
    settle_down(yard)
    assert states(yard, family_of) == [COMPLETED, COMPLETED, COMPLETED]


def test_a_discarded_child_does_not_fail_its_parent(yard: Yard) -> None:
    parent, [one, other] = family(yard, 2)
    end(yard, one, FAILED)
    settle_down(yard)
    yard.ask(one, "discard")
    check_joins(yard)
    end(yard, other, COMPLETED)
    settle_down(yard)
    assert yard.state(parent) is COMPLETED


def test_a_pause_and_a_resume_of_a_dependent_do_not_forget_what_it_needs(yard: Yard) -> None:
    [needed] = yard.enqueue()
    waits = dependent(yard, {needed: "completed"})
    yard.ask(waits, "pause")
    assert yard.ask(waits, "resume") is BLOCKED
    yard.ask(waits, "pause")
    end(yard, needed, COMPLETED)
    settle_down(yard)
    assert yard.state(waits) is PAUSED
    assert yard.ask(waits, "resume") is PENDING
    yard.audit()


def test_a_resumed_dependent_whose_needs_cannot_be_met_is_skipped(yard: Yard) -> None:
    [needed] = yard.enqueue()
    waits = dependent(yard, {needed: "completed"})
    yard.ask(waits, "pause")
    end(yard, needed, FAILED)
    settle_down(yard)
    assert yard.state(waits) is PAUSED
    assert yard.ask(waits, "resume") is CANCELLED
    check_joins(yard)


def test_a_skipped_job_is_not_retried_before_what_it_needs(yard: Yard) -> None:
    [needed] = yard.enqueue()
    waits = dependent(yard, {needed: "completed"})
    end(yard, needed, FAILED)
    settle_down(yard)
    with pytest.raises(InvalidTransition, match="retry that one, and this one comes back by itself"):
        yard.ask(waits, "retry")
    yard.ask(needed, "retry")
    assert yard.ask(waits, "retry") is BLOCKED
    end(yard, needed, COMPLETED)
    settle_down(yard)
    assert yard.state(waits) is PENDING


def test_a_job_with_needs_is_not_run_by_hand(yard: Yard) -> None:
    [needed] = yard.enqueue()
    waits = dependent(yard, {needed: "completed"})
    assert yard.store.run(claim_one(yard.runner(), waits, early=True)) == []
    end(yard, needed, COMPLETED)
    settle_down(yard)
    assert len(yard.store.run(claim_one(yard.runner(), waits, early=True))) == 1


def test_a_running_job_adds_children_under_its_fence(yard: Yard) -> None:
    attempt = yard.started()
    added = add(yard, attempt, 2)
    assert added is not None
    assert [each.created for each in added] == [True, True]
    add(yard, attempt, 1)
    found = join_of(yard, attempt.job)
    assert found is not None
    assert (found.open, found.total, found.phase) == (3, 3, None)
    check_joins(yard)
    yard.give_back(attempt)
    assert add(yard, attempt, 1) is None
    check_joins(yard)


def test_a_job_whose_code_returned_ends_after_its_children_and_keeps_its_result(yard: Yard) -> None:
    attempt = yard.started()
    add(yard, attempt, 2)
    assert yard.settle(attempt, Joined("42"))
    assert yard.state(attempt.job) is BLOCKED
    settle_down(yard)
    for _ in range(2):
        assert yard.state(attempt.job) is BLOCKED
        assert yard.complete(yard.claim_one()) == []
        settle_down(yard)
    assert yard.state(attempt.job) is COMPLETED
    outcome = yard.store.read(read.outcome(attempt.job))
    assert outcome is not None
    assert outcome.result == "42"


def test_a_job_that_waits_for_its_children_runs_again_after_them(yard: Yard) -> None:
    attempt = yard.started()
    add(yard, attempt, 1)
    assert yard.settle(attempt, Joined())
    child = yard.claim_one()
    assert yard.fail(child)
    settle_down(yard)
    assert yard.state(attempt.job) is PENDING
    again = yard.claim_one()
    assert again.job == attempt.job
    assert yard.complete(again) == []
    settle_down(yard)
    assert yard.state(attempt.job) is COMPLETED


def test_children_that_end_before_the_code_of_their_parent_do_not_strand_it(yard: Yard) -> None:
    attempt = yard.started()
    add(yard, attempt, 1)
    assert yard.complete(yard.claim_one()) == []
    settle_down(yard)
    assert yard.state(attempt.job) is RUNNING
    assert yard.settle(attempt, Joined("null"))
    settle_down(yard)
    assert yard.state(attempt.job) is COMPLETED


def test_children_that_are_added_to_a_paused_family_are_paused(yard: Yard) -> None:
    parent, [feeder] = family(yard, 1)
    attempt = yard.claim_one()
    assert attempt.job == feeder
    yard.ask(parent, "pause")
    settle_down(yard)
    added = add(yard, attempt, 3, parent)
    assert added is not None
    settle_down(yard)
    assert set(states(yard, [each.id for each in added])) == {PAUSED}


def test_a_job_that_is_needed_is_not_forgotten_and_children_leave_after_their_parent(yard: Yard) -> None:
    def forget(*jobs: str) -> int:
        going = [Going(job, yard.job(job).finished_at or 0) for job in jobs]
        return yard.store.run(forget_jobs(min(jobs), max(jobs), going, []))

    [needed, other] = yard.enqueue(2)
    waits = dependent(yard, {needed: "completed", other: "completed"})
    end(yard, needed, COMPLETED)
    settle_down(yard)
    assert forget(needed) == 0
    end(yard, other, COMPLETED)
    settle_down(yard)
    assert forget(needed) == 0
    end(yard, waits, COMPLETED)
    settle_down(yard)
    assert forget(needed, other) == 2
    assert forget(waits) == 1

    parent, [child] = family(yard, 1)
    end(yard, child, COMPLETED)
    settle_down(yard)
    with pytest.raises(InvalidTransition, match=f"is a part of job {parent}"):
        yard.store.run(erase(child))
    assert forget(child) == 0
    assert forget(parent) == 1
    assert forget(child) == 1
    table = yard.store.backend.dialect.table
    with yard.store.transaction() as connection:
        for name in ("edges", "joins", "jobs", "ends"):
            assert connection.execute(f"SELECT count(*) FROM {table(name)}").fetchone() == (0,)  # type: ignore[attr-defined]


def test_a_retry_does_not_wait_for_what_retention_removed(yard: Yard) -> None:
    [needed] = yard.enqueue()
    waits = dependent(yard, {needed: "completed"})
    end(yard, needed, FAILED)
    settle_down(yard)
    assert yard.state(waits) is CANCELLED
    yard.store.run(erase(needed))
    assert yard.ask(waits, "retry") is PENDING


def test_a_job_that_needs_a_parent_and_its_child_is_skipped_once(yard: Yard) -> None:
    parent, [child] = family(yard, 1)
    after = dependent(yard, {parent: "completed", child: "over"})
    end(yard, child, FAILED)
    settle_down(yard)
    assert yard.state(after) is CANCELLED
    assert yard.job(after).reason == f"skipped: needs {parent}, which failed"
    assert yard.told(after) == "submitted cancelled"


def test_a_child_whose_needs_are_met_while_its_family_is_cancelled_is_cancelled_with_it(yard: Yard) -> None:
    parent, children = family(yard, 4, {(0, 3): "over"})
    yard.ask(parent, "cancel")
    release_all(yard)
    assert states(yard, [parent, *children]) == [BLOCKED, CANCELLED, CANCELLED, PENDING, BLOCKED]
    check_joins(yard)
    settle_down(yard)
    assert set(states(yard, [parent, *children])) == {CANCELLED}


def test_a_child_is_not_retried_before_the_cancel_of_its_family_is_done(yard: Yard) -> None:
    parent, [one, other] = family(yard, 2, {(0, 1): "over"})
    running = yard.claim_one()
    yard.ask(parent, "cancel")
    settle_down(yard)
    assert states(yard, [parent, one, other]) == [BLOCKED, RUNNING, CANCELLED]
    with pytest.raises(InvalidTransition, match=f"is a part of job {parent}, which is being cancelled"):
        yard.ask(other, "retry")
    check_joins(yard)
    assert yard.complete(running) == []
    settle_down(yard)
    assert states(yard, [parent, one, other]) == [CANCELLED, COMPLETED, CANCELLED]
    assert yard.ask(other, "retry") is PENDING
    assert yard.state(parent) is BLOCKED
    end(yard, other, COMPLETED)
    settle_down(yard)
    assert yard.state(parent) is COMPLETED


def test_a_skipped_job_does_not_come_back_into_a_family_that_is_being_cancelled(yard: Yard) -> None:
    [needed] = yard.enqueue()
    parent, [child] = family(yard, 1)
    waits = dependent(yard, {needed: "completed"}, parent=parent)
    end(yard, needed, FAILED)
    settle_down(yard)
    running = yard.claim_one()
    assert (running.job, yard.state(waits)) == (child, CANCELLED)
    yard.ask(parent, "cancel")
    settle_down(yard)
    yard.ask(needed, "retry")
    end(yard, needed, COMPLETED)
    settle_down(yard)
    assert states(yard, [parent, child, waits]) == [BLOCKED, RUNNING, CANCELLED]
    assert yard.complete(running) == []
    settle_down(yard)
    assert states(yard, [parent, child, waits]) == [CANCELLED, COMPLETED, CANCELLED]


def test_a_retry_of_a_child_leaves_its_skipped_parent_to_what_that_needs(yard: Yard) -> None:
    [needed] = yard.enqueue()
    parent, child = yard.new(2)
    child = msgspec.structs.replace(child, parent=parent.id)
    submit(yard, [parent, child], [Edge(needed, parent.id)], [parent.id])
    end(yard, needed, FAILED)
    end(yard, child.id, FAILED)
    settle_down(yard)
    assert states(yard, [parent.id, child.id]) == [CANCELLED, FAILED]
    yard.ask(child.id, "retry")
    assert states(yard, [parent.id, child.id]) == [CANCELLED, PENDING]
    settle_down(yard)
    running = yard.claim_one()
    yard.ask(needed, "retry")
    end(yard, needed, COMPLETED)
    settle_down(yard)
    assert yard.state(parent.id) is BLOCKED
    assert yard.complete(running) == []
    settle_down(yard)
    assert yard.state(parent.id) is COMPLETED


def test_a_retry_of_a_child_withdraws_the_cancel_of_a_parent_that_was_skipped_meanwhile(yard: Yard) -> None:
    [needed] = yard.enqueue()
    parent, *children = yard.new(3)
    one, other = (msgspec.structs.replace(child, parent=parent.id) for child in children)
    submit(yard, [parent, one, other], [Edge(needed, parent.id), Edge(one.id, other.id)], [parent.id])
    runner = yard.runner()
    feeder, running = yard.claim_one(runner), yard.claim_one(runner)
    assert (feeder.job, running.job) == (needed, one.id)
    yard.ask(parent.id, "cancel")
    settle_down(yard)
    assert yard.fail(feeder)
    settle_down(yard)
    assert states(yard, [parent.id, one.id, other.id]) == [CANCELLED, RUNNING, CANCELLED]
    assert yard.ask(other.id, "retry") is BLOCKED
    assert yard.complete(running) == []
    settle_down(yard)
    assert states(yard, [parent.id, one.id, other.id]) == [CANCELLED, COMPLETED, PENDING]


def test_a_resumed_child_goes_on_although_its_parent_failed_before_it_obeyed_a_pause(yard: Yard) -> None:
    attempt = yard.started()
    one, other = (msgspec.structs.replace(job, parent=attempt.job) for job in yard.new(2))
    lanes = yard.store.lanes({one.lane})
    yard.store.run(add_children(attempt, NewFamily([one, other], [Edge(one.id, other.id)]), EntryTerms(lanes)))
    running = yard.claim_one()
    yard.ask(attempt.job, "pause")
    settle_down(yard)
    assert yard.fail(attempt)
    assert states(yard, [attempt.job, one.id, other.id]) == [FAILED, RUNNING, PAUSED]
    assert yard.ask(other.id, "resume") is BLOCKED
    assert yard.complete(running) == []
    settle_down(yard)
    assert yard.state(other.id) is PENDING


def second_round(yard: Yard) -> tuple[Fence, str]:
    """Return an attempt of a parent that ran again after its children, and a child that it added then."""
    attempt = yard.started()
    add(yard, attempt, 1)
    assert yard.settle(attempt, Joined())
    assert yard.complete(yard.claim_one()) == []
    settle_down(yard)
    again = yard.claim_one()
    assert again.job == attempt.job
    added = add(yard, again, 1)
    assert added is not None
    return again, added[0].id


def test_a_parent_that_ran_again_and_waits_for_an_event_can_be_cancelled(yard: Yard) -> None:
    again, child = second_round(yard)
    assert yard.settle(again, Waits("paid", Topic("", "paid")))
    yard.ask(again.job, "cancel")
    settle_down(yard)
    assert states(yard, [again.job, child]) == [CANCELLED, CANCELLED]
    check_joins(yard)


def test_a_parent_that_ran_again_does_not_wait_for_its_children_after_a_pause(yard: Yard) -> None:
    again, _ = second_round(yard)
    yard.give_back(again)
    yard.ask(again.job, "pause")
    settle_down(yard)
    assert yard.state(again.job) is PAUSED
    yard.ask(again.job, "resume")
    settle_down(yard)
    assert yard.state(again.job) is PENDING


def test_a_parent_whose_children_ended_while_it_was_paused_has_run_again_after_it(yard: Yard) -> None:
    attempt = yard.started()
    add(yard, attempt, 1)
    assert yard.settle(attempt, Joined())
    child = yard.claim_one()
    yard.ask(attempt.job, "pause")
    assert yard.complete(child) == []
    settle_down(yard)
    yard.ask(attempt.job, "resume")
    settle_down(yard)
    again = yard.claim_one()
    add(yard, again, 1)
    assert yard.settle(again, Waits("paid", Topic("", "paid")))
    yard.ask(again.job, "cancel")
    assert yard.state(again.job) is CANCELLED


def test_a_parent_that_ran_again_is_retried_after_its_children(yard: Yard) -> None:
    again, child = second_round(yard)
    failed = yard.claim_one()
    assert failed.job == child
    assert yard.fail(failed)
    assert yard.fail(again)
    settle_down(yard)
    yard.ask(again.job, "retry")
    settle_down(yard)
    assert states(yard, [again.job, child]) == [BLOCKED, PENDING]
    assert yard.complete(yard.claim_one()) == []
    settle_down(yard)
    assert yard.state(again.job) is PENDING


def test_a_parent_that_ran_again_runs_after_a_child_that_is_retried_alone(yard: Yard) -> None:
    again, child = second_round(yard)
    assert yard.fail(yard.claim_one())
    assert yard.fail(again)
    settle_down(yard)
    yard.ask(child, "retry")
    settle_down(yard)
    assert states(yard, [again.job, child]) == [BLOCKED, PENDING]


def test_a_job_that_runs_again_after_its_children_has_no_width(yard: Yard) -> None:
    """It was not cut, so its children are not parts, and a width must not send them away."""
    yard.enqueue()
    attempt = yard.claim_one()
    add(yard, attempt, 2)
    assert yard.settle(attempt, Joined())
    with pytest.raises(InvalidTransition, match="is not cut into parts"):
        yard.store.run(set_width(attempt.job, 1, may_be_cut=False))


def test_the_sweep_looks_at_every_narrow_family(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(width, "AT_ONCE", 1)
    parents = [family(yard, 2)[0] for _ in range(3)]
    for parent in parents:
        yard.store.run(set_width(parent, 1, may_be_cut=True))
    seen: list[str] = []
    while (last := yard.store.run(make_rooms(seen[-1] if seen else None))) is not None:
        seen.append(last)
    assert seen == parents
