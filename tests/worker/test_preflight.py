"""Preflight: the last check before a job starts, with a store that does not answer, and jobs that come too late."""

from __future__ import annotations

from datetime import timedelta

import pytest

import posthorse as ph
from posthorse.errors import StoreUnreachable
from posthorse.store.operations import read
from posthorse.worker.running import preflight
from tests.waiting import until_state
from tests.worker import isolated_jobs

LONG = "x" * 10_000


@pytest.mark.parametrize("question", ["arguments", "lateness"])
def test_where_the_store_does_not_answer_the_job_is_given_back_unspent(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    refused: list[str] = []

    def once(job: str) -> object:
        if not refused:
            refused.append(job)
            raise StoreUnreachable("it went away")
        return getattr(read, question)(job)

    monkeypatch.setattr(preflight, question, once)

    @app.job(max_attempts=1, expires="1h")
    async def length(text: str) -> int:
        return len(text)

    job = length.enqueue(LONG)
    with app.worker():
        assert job.result(timeout=30) == len(LONG)
    assert refused == [job.id]
    assert [event.name for event in app.store.read(read.events(job.id))] == ["released"]


def test_of_a_job_that_comes_too_late_nothing_else_is_asked(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: str) -> object:
        raise AssertionError

    monkeypatch.setattr(preflight, "arguments", never)

    @app.job(expires="1m")
    async def length(text: str) -> int:
        return len(text)

    job = length.enqueue(LONG)
    app.store.clock.advance(timedelta(minutes=2))
    with app.worker():
        assert until_state(job, "cancelled", "completed").reason == "expired"


def test_an_isolated_job_can_come_too_late_as_well(store_url: str) -> None:
    isolated_jobs.app.use_url(store_url)
    job = isolated_jobs.length.using(expires="1m").enqueue(LONG)
    isolated_jobs.app.store.clock.advance(timedelta(minutes=2))
    try:
        with isolated_jobs.app.worker():
            assert until_state(job, "cancelled", "completed").reason == "expired"
    finally:
        isolated_jobs.app.store.clock.shift = 0
        isolated_jobs.app.close()
