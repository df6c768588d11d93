"""`watch` of many jobs: which ones it chooses, how few queries it makes, and how it draws them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from posthorse.cli.exits import Exit
from posthorse.cli.job_lookup import JobLook
from posthorse.cli.summary import RunTally, counts
from posthorse.cli.watch import unfinished_jobs
from posthorse.rules.job import State, Status
from posthorse.rules.progress import Progress
from posthorse.store.operations import read
from tests.cli.conftest import Shop
from tests.cli.test_processes import seen_on_a_terminal
from tests.waiting import until_state

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def look(state: State, progress: Progress | None = None, *, id: str = "0123abcd") -> JobLook:
    """Return a job in this state, with defaults for everything that does not matter here."""
    status = Status(
        id=id,
        state=state,
        reason=None,
        kind="work",
        queue="default",
        priority=0,
        tenant=None,
        tags=(),
        attempt=1,
        max_attempts=None,
        crashes=0,
        interruptions=0,
        progress=progress or Progress(),
        requested=None,
        error=None,
        worker=None,
        created_at=NOW,
        run_at=None,
        started_at=NOW,
        finished_at=NOW if state.is_final else None,
    )
    return JobLook(status, NOW)


def watched(shop: Shop, *words: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Return the first picture of a watch that is then interrupted."""

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("posthorse.cli.watch.time.sleep", interrupt)
    result = shop.run("watch", *words, "--json")
    assert result.exit_code == Exit.INTERRUPTED, result.output
    return [cast("dict[str, object]", json.loads(line)) for line in result.stdout.splitlines()]


def test_jobs_that_are_not_over_come_as_they_will_run(any_shop: Shop) -> None:
    any_shop.done("migrate")
    with any_shop.working(queues=["default"]):
        running = any_shop.app.get_job(any_shop.done("enqueue", "endless"))
        until_state(running, "processing")
        waiting = [any_shop.done("enqueue", "welcome", str(number)) for number in (1, 2)]
        later, ended = (any_shop.done("enqueue", "welcome", "3", "--delay", delay) for delay in ("1h", "2h"))
        any_shop.done("cancel", ended)
        found = unfinished_jobs(any_shop.app, {})
        assert list(found) == [running.id, *waiting, later]
        assert list(unfinished_jobs(any_shop.app, {"queue": "mail", "kind": "welcome"})) == [*waiting, later]
        assert list(unfinished_jobs(any_shop.app, {"kind": "nothing"})) == []
        running.cancel()


def test_filters_choose_what_is_not_over(any_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = any_shop.done("enqueue", "welcome", "1")
    later = any_shop.done("enqueue", "welcome", "2", "--delay", "1h")
    paused = any_shop.done("enqueue", "welcome", "3")
    any_shop.done("pause", paused)
    other = any_shop.done("enqueue", "count", "5")
    any_shop.done("cancel", any_shop.done("enqueue", "welcome", "4"))

    def ids(*words: str) -> list[object]:
        return [job["id"] for job in watched(any_shop, *words, monkeypatch=monkeypatch)]

    assert ids("-q", "mail") == [waiting, later, paused]
    assert ids("--kind", "count") == [other]
    assert ids("--state", "paused") == [paused]
    assert set(ids("--follow")) == {waiting, later, paused, other}
    assert "No job fits." in any_shop.run("watch", "-q", "nothing").stderr
    assert any_shop.run("watch", waiting, "--follow").exit_code == Exit.USAGE


def test_many_jobs_are_looked_at_with_one_question(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [shop.done("enqueue", "welcome", str(number)) for number in range(5)]
    turns = iter(range(10))
    asked: list[int] = []
    ask = read.jobs_by_id

    def counted(ids: list[str]) -> object:
        asked.append(len(ids))
        return ask(ids)

    def sleep(seconds: float) -> None:
        if job := dict(enumerate(jobs)).get(next(turns)):
            shop.app.get_job(job).cancel()

    monkeypatch.setattr("posthorse.cli.watch.time.sleep", sleep)
    monkeypatch.setattr("posthorse.store.operations.read.jobs_by_id", counted)
    monkeypatch.setattr("posthorse.store.operations.read.job", lambda job: pytest.fail("asked for a single job"))
    assert shop.run("watch", *jobs).exit_code == Exit.CANCELLED
    assert asked == [5, 5, 4, 3, 2, 1]  # jobs that are over are not queried again


def test_job_that_is_not_there_ends_with_three(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "1")
    assert shop.run("watch", job, "01936f5e-7c1a-7d2b-8e3f-0123456789ab").exit_code == Exit.NOT_FOUND


def test_many_jobs_fit_the_terminal_and_end_as_numbers(shop: Shop) -> None:
    calls = "\n".join(f"[{number}]" for number in range(40))
    jobs = shop.done("enqueue", "welcome", "--from-file", "-", input=calls).split("\n")
    bad = shop.done("enqueue", "broken", "no luck")
    shop.app.get_job(jobs[0]).cancel()
    with shop.app.worker():
        seen = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", seen_on_a_terminal(shop, "watch", *jobs, bad, LINES="12"))
        until_state(shop.app.get_job(bad), "failed")
    assert "✓ 39 completed  ⊘ 1 cancelled  ✗ 1 failed" in seen


def test_counts_come_in_the_order_of_the_states() -> None:
    looks = [look(State.FAILED), look(State.PENDING), look(State.PROCESSING), look(State.PENDING)]
    assert list(counts(looks).items()) == [(State.PROCESSING, 1), (State.PENDING, 2), (State.FAILED, 1)]


def test_last_job_to_end_is_the_end_of_all_when_none_waits() -> None:
    def running(seconds: int) -> JobLook:
        eta = NOW + timedelta(seconds=seconds)
        return look(
            State.PROCESSING,
            Progress(1, 2, eta=eta, eta_range=(eta - timedelta(seconds=1), eta + timedelta(seconds=2))),
        )

    forecast = RunTally().forecast([running(10), running(30), look(State.COMPLETED)])
    assert forecast.remaining == timedelta(seconds=30)
    assert forecast.eta_range == (NOW + timedelta(seconds=29), NOW + timedelta(seconds=32))


def test_pace_of_the_crowd_tells_when_jobs_wait() -> None:
    tally = RunTally()
    jobs = 100
    looks: list[JobLook] = []
    for over in range(0, 60, 10):
        looks = [look(State.COMPLETED)] * over + [look(State.PENDING)] * (jobs - over)
        tally.observe(looks, 2.0)
    remaining = tally.forecast(looks).remaining
    assert remaining is not None
    assert 8 < remaining.total_seconds() < 12  # half of them are over, ten in two seconds
    assert RunTally().forecast(looks).remaining is None
    assert RunTally().forecast([]).remaining is None
