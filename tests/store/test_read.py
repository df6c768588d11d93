"""Reading, on every store."""

from __future__ import annotations

import pytest

from posthorse.clock import SECOND
from posthorse.rules.job import Lane, State
from posthorse.rules.search.ways import IdRange
from posthorse.store.operations import read
from posthorse.store.operations.finding import newest_ids
from posthorse.store.operations.unserved import Unserved
from posthorse.store.operations.unserved import unserved as unserved_jobs
from tests.statuses import newest_rows
from tests.store.yard import HOME, Yard

pytestmark = pytest.mark.all_postgres

OTHER = Lane("mail", "send", 5)
GHOST = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


def test_what_is_not_there_reads_as_nothing(yard: Yard) -> None:
    assert yard.store.read(read.job(GHOST)) is None
    assert yard.store.read(read.outcome(GHOST)) is None
    assert yard.store.read(read.arguments(GHOST)) is None
    assert yard.store.read(read.events(GHOST)) == []
    assert newest_rows(yard.store) == []
    assert yard.store.read(read.workers()) == []
    assert yard.store.read(read.depths()) == []
    assert yard.store.read(read.parked_counts()) == {}
    assert yard.store.read(read.running_count()) == 0
    assert yard.store.read(unserved_jobs()) == []


def test_ids_are_read_from_the_newest_in_ranges(yard: Yard) -> None:
    jobs = yard.enqueue(5)
    assert yard.store.read(newest_ids(IdRange(), 2)) == [jobs[4], jobs[3]]
    assert yard.store.read(newest_ids(IdRange(before=jobs[3]), 50)) == [jobs[2], jobs[1], jobs[0]]
    assert yard.store.read(newest_ids(IdRange(after=jobs[0], before=jobs[2]), 50)) == [jobs[1]]


def test_jobs_are_filtered_by_state_queue_and_kind(yard: Yard) -> None:
    running = yard.started().job
    [home], [other] = yard.enqueue(), yard.enqueue(1, OTHER)
    [later] = yard.enqueue(delay=60 * SECOND)

    def listed(**filters: object) -> set[str]:
        return {
            row.id for row in newest_rows(yard.store, " ".join(f"{word}:{value}" for word, value in filters.items()))
        }

    assert listed(state=State.PROCESSING) == {running}
    assert listed(state=State.PENDING) == {home, other}
    assert listed(state=State.SCHEDULED) == {later}
    assert listed(queue="mail") == listed(kind="send") == {other}
    assert listed(state=State.PENDING, queue="default", kind="work") == {home}
    assert listed(kind="nothing") == set()


def test_listed_job_reads_as_the_job_itself(yard: Yard) -> None:
    attempt = yard.started()
    yard.checkpoint(attempt, 3)
    yard.ask(attempt.job, "pause")
    [listed] = newest_rows(yard.store)
    assert listed._replace(now=0) == yard.job(attempt.job)._replace(now=0)
    assert (listed.request, listed.done, listed.worker) == ("pause", 3, "worker-1")


def test_counts_tell_where_jobs_lie(yard: Yard) -> None:
    yard.started()
    yard.enqueue(3)
    yard.enqueue(2, OTHER)
    yard.enqueue(2, delay=60 * SECOND)
    yard.ask(yard.enqueue()[0], "pause")
    assert [depth[:4] for depth in yard.store.read(read.depths())] == [
        ("default", "work", 0, 3),
        ("mail", "send", 5, 2),
    ]
    assert yard.store.read(read.parked_counts()) == {State.PAUSED: 1, State.SCHEDULED: 2}
    assert yard.store.read(read.running_count()) == 1


def test_jobs_that_no_living_runner_takes_are_reported(yard: Yard) -> None:
    def unserved() -> list[Unserved]:
        return yard.store.read(unserved_jobs())

    yard.enqueue(2)
    yard.enqueue(3, OTHER)
    work, send = Unserved("default", "work", 2, is_known=False), Unserved("mail", "send", 3, is_known=False)
    assert unserved() == [work, send]
    yard.runner(kinds=["work", "more"])
    assert unserved() == [send]
    yard.runner(kinds=["send"])
    assert unserved() == [send._replace(is_known=True)]
    yard.runner(kinds=["send"], queues=[])
    assert unserved() == []
    yard.pass_time(seconds=31)
    assert unserved() == [work, send]


def test_health_says_what_the_store_runs_on(yard: Yard) -> None:
    yard.store.lanes({HOME})
    health = yard.store.health()
    if yard.store.backend.capabilities.is_file:
        assert (health["journal_mode"], health["synchronous"], health["integrity"]) == ("wal", "FULL", "ok")
        assert isinstance(health["file_bytes"], int)
        assert isinstance(health["log_bytes"], int)
        assert str(health["library"]).startswith("3.")
    else:
        assert str(health["server"]).startswith(("15", "18"))
        assert health["pooled"] == 0
        assert isinstance(health["dead_rows"], int)
        assert isinstance(health["most_connections"], int)
