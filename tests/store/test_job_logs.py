"""Logs in the store: written under leases, read in order, removed with their jobs or earlier."""

from __future__ import annotations

import pytest

from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Completion, complete
from posthorse.store.operations.job_logs import (
    DroppedPiece,
    LogChanges,
    LogPiece,
    StoredPiece,
    after_logs,
    last_log_pieces,
    log_pieces,
    write_logs,
)
from posthorse.store.operations.retention import Going, erase, forget_jobs
from tests.store.yard import Yard

pytestmark = pytest.mark.all_postgres


def piece_of(attempt: Fence, number: int, text: str = "[]") -> LogPiece:
    return LogPiece(attempt.job, attempt.epoch, number, 1, text)


def write(yard: Yard, attempt: Fence, *numbers: int, dropped: tuple[int, ...] = ()) -> None:
    pieces = [piece_of(attempt, number, f"[{number}]") for number in numbers]
    gone = [DroppedPiece(attempt.job, attempt.epoch, number) for number in dropped]
    yard.store.run(write_logs(attempt.runner, LogChanges(pieces, gone)))


def pieces(
    yard: Yard, job: str, *, epoch: int = 0, number: int = 0, attempt: int | None = None, limit: int = 100
) -> list[tuple[int, int]]:
    found = yard.store.read(log_pieces(job, epoch=epoch, number=number, attempt=attempt, limit=limit))
    assert found is not None
    return [(row.epoch, row.piece) for row in found]


def test_pieces_of_several_jobs_are_written_at_once_and_read_in_order(yard: Yard) -> None:
    runner = yard.runner()
    yard.enqueue(2)
    one, two = (yard.claim_one(runner) for _ in range(2))
    given = [piece_of(one, 11, "[11]"), piece_of(two, 1), piece_of(one, 1, "[1]")]
    yard.store.run(write_logs(runner, LogChanges(given)))
    assert yard.store.read(log_pieces(one.job, epoch=0, number=0, attempt=None, limit=10)) == [
        StoredPiece(one.epoch, 1, 1, "[1]"),
        StoredPiece(one.epoch, 11, 1, "[11]"),
    ]
    assert pieces(yard, two.job) == [(1, 1)]


def test_only_an_attempt_that_has_its_lease_can_write(yard: Yard) -> None:
    yard.enqueue(1)
    attempt = yard.claim_one()
    write(yard, attempt._replace(epoch=attempt.epoch + 1), 1)
    write(yard, attempt._replace(runner=yard.runner()), 2)
    assert pieces(yard, attempt.job) == []
    write(yard, attempt, 3)
    yard.complete(attempt)
    write(yard, attempt, 4)
    assert pieces(yard, attempt.job) == [(1, 3)]


def test_a_piece_that_is_sent_again_is_written_once(yard: Yard) -> None:
    yard.enqueue(1)
    attempt = yard.claim_one()
    write(yard, attempt, 1, 2)
    write(yard, attempt, 2, 3)
    assert pieces(yard, attempt.job) == [(1, 1), (1, 2), (1, 3)]


def test_later_lines_replace_pieces(yard: Yard) -> None:
    yard.enqueue(1)
    attempt = yard.claim_one()
    write(yard, attempt, 1, 201, 301)
    write(yard, attempt, 401, dropped=(201,))
    assert pieces(yard, attempt.job) == [(1, 1), (1, 301), (1, 401)]


def test_the_last_lines_are_written_in_the_commit_that_ends_the_attempt(yard: Yard) -> None:
    yard.enqueue(2)
    runner = yard.runner()
    one, two = (yard.claim_one(runner) for _ in range(2))
    completing = complete(runner, [Completion(one.job, one.epoch, "1"), Completion(two.job, two.epoch, "2")])
    changes = LogChanges([piece_of(one, 1), piece_of(two, 1)])
    assert yard.store.run(after_logs(runner, changes, completing)).refused == []
    assert pieces(yard, one.job) == pieces(yard, two.job) == [(1, 1)]
    assert yard.state(one.job) == "completed"
    assert after_logs(runner, LogChanges(), completing) is completing


def test_reading_goes_on_at_the_piece_that_holds_a_line(yard: Yard) -> None:
    yard.enqueue(1)
    attempt = yard.claim_one()
    write(yard, attempt, 1, 101, 201)
    yard.give_back(attempt)
    again = yard.claim_one()
    write(yard, again, 1)
    first, second = attempt.epoch, again.epoch
    whole = [(first, 1), (first, 101), (first, 201), (second, 1)]
    assert pieces(yard, attempt.job) == whole
    assert pieces(yard, attempt.job, epoch=first, number=150) == whole[1:]
    assert pieces(yard, attempt.job, epoch=first, number=300) == whole[2:]
    assert pieces(yard, attempt.job, epoch=second, number=1) == whole[3:]
    assert pieces(yard, attempt.job, limit=2) == whole[:2]
    assert pieces(yard, attempt.job, attempt=2) == []
    last = yard.store.read(last_log_pieces(attempt.job, attempt=None, limit=2))
    assert last is not None
    assert [(row.epoch, row.piece) for row in last] == [(second, 1), (first, 201)]


def test_an_unknown_job_has_no_log(yard: Yard) -> None:
    job = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"
    assert yard.store.read(log_pieces(job, epoch=0, number=0, attempt=None, limit=1)) is None
    assert yard.store.read(last_log_pieces(job, attempt=None, limit=1)) is None


def test_a_log_leaves_with_its_job(yard: Yard) -> None:
    yard.enqueue(2)
    runner = yard.runner()
    one, two = (yard.claim_one(runner) for _ in range(2))
    for attempt in (one, two):
        write(yard, attempt, 1)
        yard.complete(attempt)
    yard.store.run(erase(one.job))
    assert yard.store.read(log_pieces(one.job, epoch=0, number=0, attempt=None, limit=1)) is None
    assert pieces(yard, two.job) == [(1, 1)]


def test_a_log_may_leave_earlier_unless_the_job_was_retried_meanwhile(yard: Yard) -> None:
    yard.enqueue(2)
    runner = yard.runner()
    one, two = (yard.claim_one(runner) for _ in range(2))
    for attempt in (one, two):
        write(yard, attempt, 1)
        yard.complete(attempt)
    finished_at = yard.job(one.job).finished_at
    assert finished_at is not None
    first, last = sorted((one.job, two.job))
    yard.store.run(forget_jobs(first, last, [], [], [Going(one.job, finished_at), Going(two.job, finished_at - 1)]))
    assert pieces(yard, one.job) == []
    assert pieces(yard, two.job) == [(1, 1)]
