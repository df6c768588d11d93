"""Unique jobs: the same kind with the same arguments is not started twice while one of the two is not over."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import posthorse as ph
from tests.waiting import until_state

SUBMITTER = """
import sys
import posthorse as ph

app = ph.Posthorse(sys.argv[1])

@app.job(unique=True)
def report(week: str) -> None: ...

sys.stdin.readline()
for turn in range(20):
    job = report.enqueue(f"week {turn}")
    print(turn, job.id, job.created)
"""


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, lease="6s")
    yield app
    app.close()


def test_the_same_job_is_given_until_it_is_over(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: str, pages: int = 3) -> str:
        if week == "bad":
            raise ValueError
        return week

    first, again = report.enqueue("a"), report.enqueue("a")
    assert (first.created, again.created) == (True, False)
    assert first == again
    others = [report.enqueue("b"), report.using(tenant="t").enqueue("a"), report.using(unique=False).enqueue("a")]
    assert all(other.created for other in others)
    assert len({first, *others}) == 4
    with app.worker():
        first.result(timeout=10)
        second = report.enqueue("a")
        assert second.created
        assert second != first
        failing = report.using(max_attempts=1).enqueue("bad")
        until_state(failing, "failed")
        assert report.using(max_attempts=1).enqueue("bad").created
    cancelled = report.using(delay="1h").enqueue("c")
    assert report.enqueue("c") == cancelled
    cancelled.cancel()
    assert report.enqueue("c").created


def test_a_unique_job_survives_its_own_retry_but_not_beside_a_newer_one(app: ph.Posthorse) -> None:
    @app.job
    def report(week: str) -> None: ...

    unique = report.using(unique=True)
    old = unique.enqueue("a")
    old.cancel()
    old.retry()
    assert unique.enqueue("a") == old
    old.cancel()
    new = unique.enqueue("a")
    assert new.created
    with pytest.raises(ph.NotAllowed, match=f"job {new.id} of the same kind with the same arguments is not over"):
        old.retry()
    assert old.status().state == "cancelled"
    new.cancel()
    old.retry()
    assert unique.enqueue("a") == old
    plain = report.enqueue("a")
    plain.cancel()
    plain.retry()  # was never unique


def test_equal_arguments_are_the_same_however_they_are_written(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def export(filters: dict[str, int], tags: set[str], *, to: str) -> None: ...

    one = export.enqueue({"a": 1, "b": 2}, {"x", "y", "z"}, to="f")
    assert export.enqueue(tags={"z", "y", "x"}, to="f", filters={"b": 2, "a": 1}) == one
    assert export.enqueue({"a": 1, "b": 3}, {"x", "y", "z"}, to="f").created


def test_duplicates_within_one_call_become_one_job(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: str) -> None: ...

    over = report.enqueue("over")
    over.cancel()
    running = report.enqueue("running")
    weeks = ["a", "over", "a", "running", "over", "b"]
    jobs = app.enqueue_many([report.bind(week) for week in weeks])
    assert [job.created for job in jobs] == [True, True, False, False, False, True]
    assert jobs[0] == jobs[2]
    assert jobs[1] == jobs[4]
    assert jobs[1] != over
    assert jobs[3] == running
    assert all(job.status().state == "pending" for job in jobs)


def test_a_key_and_an_identity_go_together(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: str) -> None: ...

    first = report.using(key="k").enqueue("a")
    assert report.using(key="k").enqueue("a") == report.using(key="other").enqueue("a") == report.enqueue("a") == first
    with pytest.raises(ph.KeyConflict):
        report.using(key="k").enqueue("b")
    assert report.enqueue("b").created  # the conflict took no identity


def test_racing_threads_get_one_job_and_so_do_racing_heirs(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: str) -> None: ...

    app.migrate()
    for turn in range(3):
        jobs: list[ph.Job[None]] = []
        barrier = threading.Barrier(8)

        def submit(jobs: list[ph.Job[None]] = jobs, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            jobs.append(report.enqueue("a"))

        threads = [threading.Thread(target=submit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(jobs)) == 1, turn
        assert sum(job.created for job in jobs) == 1
        jobs[0].cancel()  # the next ones race for what it leaves


def test_racing_processes_get_one_job(store_url: str) -> None:
    app = ph.Posthorse(store_url)
    app.migrate()

    @app.job(unique=True)
    def report(week: str) -> None: ...

    for turn in range(20):  # over already: they race to take these over
        report.enqueue(f"week {turn}").cancel()
    app.close()
    command = [sys.executable, "-c", SUBMITTER, store_url]
    submitters = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for submitter in submitters:
        assert submitter.stdin is not None
        submitter.stdin.write("go\n")
        submitter.stdin.flush()
    lines = [line.split() for submitter in submitters for line in submitter.communicate(timeout=60)[0].splitlines()]
    assert len(lines) == 60
    assert len({(turn, job) for turn, job, _ in lines}) == 20
    assert sum(created == "True" for _, _, created in lines) == 20


@pytest.mark.parametrize("unique", ["yes", 1, "until"])
def test_what_is_no_yes_or_no_is_refused(sqlite_url: str, unique: object) -> None:
    app = ph.Posthorse(sqlite_url)
    with pytest.raises(ph.InvalidOption, match="unique is"):
        app.job(unique=unique)  # type: ignore[call-overload]  # that is the point
    app.close()
