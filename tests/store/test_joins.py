"""Joins: jobs start after what they need, parents end after their children, each once, and nothing is stranded."""

from __future__ import annotations

import threading

import msgspec
import pytest

from posthorse.errors import JobNotFound
from posthorse.rules.job import State
from posthorse.rules.joins import Edge, Need
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Lost
from posthorse.rules.why.facts import Needed, WaitsForOthers
from posthorse.store.operations.families import NewFamily, submit_family
from posthorse.store.operations.releasing import release
from posthorse.store.operations.runners import next_due
from posthorse.store.operations.submit import EntryTerms, SubmitResult
from posthorse.store.operations.why import obstacles, whereabouts
from tests.store.families import check_joins, dependent, family, join_of, release_all, submit
from tests.store.yard import Yard

PENDING, BLOCKED, COMPLETED = State.PENDING, State.BLOCKED, State.COMPLETED
FAILED, CANCELLED, SCHEDULED = State.FAILED, State.CANCELLED, State.SCHEDULED


def end(yard: Yard, job: str, state: State) -> None:
    """Let a job end in a state; it is at the head of its lane, or waits."""
    if state is CANCELLED:
        yard.ask(job, "cancel")
        return
    runner = yard.runner()
    attempt = yard.claim_one(runner)
    while attempt.job != job:
        yard.give_back(attempt)
        attempt = yard.claim_one(runner)
    assert yard.complete(attempt) == [] if state is COMPLETED else yard.fail(attempt)


def states(yard: Yard, jobs: list[str]) -> list[State]:
    return [yard.state(job) for job in jobs]


@pytest.mark.parametrize("needs", ["completed", "failed", "over"])
@pytest.mark.parametrize("state", [COMPLETED, FAILED, CANCELLED])
def test_a_job_starts_after_the_end_that_it_needs_and_is_skipped_after_another(
    yard: Yard, needs: Need, state: State
) -> None:
    [needed] = yard.enqueue()
    waits = dependent(yard, {needed: needs})
    assert yard.state(waits) is BLOCKED
    assert yard.job(waits).reason == "waits for other jobs"
    end(yard, needed, state)
    assert yard.state(waits) is BLOCKED
    check_joins(yard)
    assert release_all(yard) == 1
    check_joins(yard)
    yard.audit()
    if needs in ("over", state):
        assert yard.state(waits) is PENDING
        assert yard.claim_one().job == waits
    else:
        assert yard.state(waits) is CANCELLED
        what = "was cancelled" if state is CANCELLED else state.value
        assert yard.job(waits).reason == f"skipped: needs {needed}, which {what}"
        assert yard.told(waits) == "submitted cancelled"


def test_a_job_that_needs_several_starts_after_the_last(yard: Yard) -> None:
    needed = yard.enqueue(3)
    waits = dependent(yard, dict.fromkeys(needed, "completed"))
    for number, job in enumerate(needed):
        assert join_of(yard, waits) is not None
        assert yard.state(waits) is BLOCKED
        end(yard, job, COMPLETED)
        release_all(yard)
        check_joins(yard)
        found = join_of(yard, waits)
        assert found is not None
        assert found.missing == 2 - number
    assert yard.state(waits) is PENDING


@pytest.mark.parametrize("needs", ["completed", "failed", "over"])
@pytest.mark.parametrize("state", [COMPLETED, FAILED, CANCELLED])
def test_what_is_over_already_counts_at_once(yard: Yard, needs: Need, state: State) -> None:
    [needed] = yard.enqueue()
    end(yard, needed, state)
    waits = dependent(yard, {needed: needs})
    assert yard.state(waits) is (PENDING if needs in ("over", state) else CANCELLED)
    check_joins(yard)
    yard.audit()


def test_a_job_that_is_needed_must_exist(yard: Yard) -> None:
    [unknown] = yard.new()
    with pytest.raises(JobNotFound):
        dependent(yard, {unknown.id: "completed"})
    assert yard.waiting() == 0


def test_a_delay_counts_from_when_the_needs_are_met(yard: Yard) -> None:
    [needed] = yard.enqueue()
    waits = dependent(yard, {needed: "completed"}, delay=60_000_000)
    yard.pass_time(minutes=5)
    assert yard.promote() == 0
    end(yard, needed, COMPLETED)
    release_all(yard)
    assert yard.state(waits) is SCHEDULED
    yard.pass_time(seconds=61)
    assert yard.promote() == 1
    assert yard.claim_one().job == waits


def test_a_parent_ends_after_its_children(yard: Yard) -> None:
    parent, children = family(yard, 3)
    assert yard.state(parent) is BLOCKED
    assert yard.job(parent).reason == "waits for its children"
    for child in children:
        assert yard.state(parent) is BLOCKED
        end(yard, child, COMPLETED)
        release_all(yard)
        check_joins(yard)
    assert yard.state(parent) is COMPLETED
    assert yard.told(parent) == "submitted completed"
    yard.audit()


def test_a_parent_fails_with_its_children(yard: Yard) -> None:
    parent, [one, other] = family(yard, 2)
    end(yard, one, FAILED)
    release_all(yard)
    assert yard.state(parent) is BLOCKED
    end(yard, other, COMPLETED)
    release_all(yard)
    assert yard.state(parent) is FAILED
    assert yard.job(parent).reason == "1 of 2 children failed"
    assert yard.events(parent) == ["failed"]
    check_joins(yard)
    yard.audit()


def test_a_parent_without_children_completes_at_once(yard: Yard) -> None:
    parent, _ = family(yard, 0)
    assert yard.state(parent) is COMPLETED


def test_what_is_skipped_skips_what_needs_it_and_the_family_ends(yard: Yard) -> None:
    parent, children = family(yard, 4, {(0, 1): "completed", (1, 2): "completed", (2, 3): "over"})
    end(yard, children[0], FAILED)
    release_all(yard)
    assert states(yard, children) == [FAILED, CANCELLED, CANCELLED, PENDING]
    check_joins(yard)
    end(yard, children[3], COMPLETED)
    release_all(yard)
    assert yard.state(parent) is FAILED
    check_joins(yard)


def test_a_parent_that_is_needed_is_over_when_its_family_is(yard: Yard) -> None:
    parent, children = family(yard, 2)
    after = dependent(yard, {parent: "completed"})
    for child in children:
        assert yard.state(after) is BLOCKED
        end(yard, child, COMPLETED)
        release_all(yard)
    assert yard.state(after) is PENDING
    check_joins(yard)


def test_a_loss_that_ends_in_a_dead_letter_counts(yard: Yard) -> None:
    parent, _ = family(yard, 1)
    attempt = yard.claim_one()
    assert yard.settle(attempt, Lost("gone"), policy=Policy(max_interruptions=1))
    release_all(yard)
    assert yard.state(parent) is FAILED


def test_a_discard_and_a_completion_told_twice_are_no_second_end(yard: Yard) -> None:
    parent, [one, other] = family(yard, 2)
    attempt = yard.claim_one()
    assert attempt.job == one
    assert yard.complete(attempt) == []
    assert yard.complete(attempt) == []
    end(yard, other, FAILED)
    release_all(yard)
    check_joins(yard)
    assert yard.state(parent) is FAILED


def test_many_dependents_of_one_job_are_released_in_several_transactions(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthorse.store.operations.releasing.EDGES_AT_ONCE", 3)
    monkeypatch.setattr("posthorse.store.operations.releasing.SKIPPED_AT_ONCE", 2)
    [needed] = yard.enqueue()
    met = [dependent(yard, {needed: "completed"}) for _ in range(7)]
    barred = [dependent(yard, {needed: "failed"}) for _ in range(5)]
    end(yard, needed, COMPLETED)
    assert release_all(yard) >= 3
    assert set(states(yard, met)) == {PENDING}
    assert set(states(yard, barred)) == {CANCELLED}
    check_joins(yard)
    yard.audit()


def test_a_job_that_is_needed_twice_over_is_met_once(yard: Yard) -> None:
    [needed, other] = yard.enqueue(2)
    waits = dependent(yard, {needed: "over", other: "completed"})
    end(yard, needed, FAILED)
    release_all(yard)
    yard.ask(needed, "retry")
    end(yard, other, CANCELLED)
    release_all(yard)
    assert yard.state(waits) is CANCELLED
    end(yard, needed, FAILED)
    release_all(yard)
    found = join_of(yard, waits)
    assert found is not None
    assert found.missing == 1
    assert yard.state(waits) is CANCELLED
    check_joins(yard)


def test_a_skipped_job_comes_back_and_opens_its_parent(yard: Yard) -> None:
    parent, [one, other] = family(yard, 2, {(0, 1): "completed"})
    end(yard, one, FAILED)
    release_all(yard)
    assert states(yard, [one, other, parent]) == [FAILED, CANCELLED, FAILED]
    yard.ask(one, "retry")
    check_joins(yard)
    assert yard.state(parent) is BLOCKED
    end(yard, one, COMPLETED)
    release_all(yard)
    check_joins(yard)
    assert states(yard, [one, other, parent]) == [COMPLETED, PENDING, BLOCKED]
    end(yard, other, COMPLETED)
    release_all(yard)
    assert yard.state(parent) is COMPLETED
    yard.audit()


def test_a_family_whose_key_is_known_is_answered_with_the_earlier_one(yard: Yard) -> None:
    def submit_keyed() -> list[SubmitResult]:
        [parent] = yard.new(key="once")
        [child] = yard.new()
        return submit(yard, [parent, msgspec.structs.replace(child, parent=parent.id)], [], [parent.id])

    [first, _] = submit_keyed()
    again = submit_keyed()
    assert first.created
    assert again[0] == (first.id, False)
    assert not again[1].created
    assert yard.waiting() == 1
    check_joins(yard)


def test_the_sweep_is_told_of_ends_that_are_not_counted(yard: Yard) -> None:
    [needed] = yard.enqueue()
    dependent(yard, {needed: "completed"})
    assert not yard.store.read(next_due()).has_ends
    end(yard, needed, COMPLETED)
    assert yard.store.read(next_due()).has_ends
    release_all(yard)
    assert not yard.store.read(next_due()).has_ends


def test_a_late_edge_and_a_completion_never_miss_each_other(yard: Yard) -> None:
    """Whichever commits first, the dependent goes on."""
    for _ in range(30):
        attempt = yard.started()
        [job] = yard.new()
        lanes = yard.store.lanes({job.lane})
        wanted = submit_family(NewFamily([job], [Edge(attempt.job, job.id)]), EntryTerms(lanes))
        other = threading.Thread(target=yard.store.run, args=(wanted,))
        other.start()
        assert yard.complete(attempt) == []
        other.join()
        while yard.store.run(release()):
            pass
        assert yard.state(job.id) is PENDING
        assert yard.claim_one().job == job.id


def test_why_names_what_a_job_waits_for(yard: Yard) -> None:
    def others(job: str) -> WaitsForOthers | None:
        found = yard.store.read(whereabouts(job))
        assert found is not None
        return yard.store.read(obstacles(found, [], is_fair=False, is_lifo=False)).others

    parent, [one, other, third] = family(yard, 3, {(0, 1): "completed", (1, 2): "over"})
    assert others(parent) == WaitsForOthers(0, [], 3, 3)
    assert others(other) == WaitsForOthers(1, [Needed(one, "completed", PENDING)])
    assert others(third) == WaitsForOthers(1, [Needed(other, "over", BLOCKED)])
