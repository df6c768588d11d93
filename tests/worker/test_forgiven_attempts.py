"""Forgiven attempts: a committed slice forgives those that failed before it, and numbering goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import posthorse as ph
from tests.waiting import until_state
from tests.worker import isolated_jobs as jobs


@pytest.fixture
def isolated(store_url: str) -> Iterator[ph.Posthorse]:
    jobs.app.use_url(store_url)
    yield jobs.app
    jobs.app.close()


def test_a_blip_now_and_then_kills_no_long_job(app: ph.Posthorse) -> None:
    """Every page fails twice, and three attempts in a row would be too many."""
    attempts: list[int] = []

    @app.job(max_attempts=3, backoff=0)
    def pages(ctx: ph.Context) -> int:
        attempts.append(ctx.attempt)
        for batch in ctx.slices(range(6), size=1):
            blips[batch[0]] += 1
            if blips[batch[0]] <= 2:
                raise ConnectionError("a blip")
        return ctx.progress.done

    blips = dict.fromkeys(range(6), 0)
    with app.worker():
        job = pages.enqueue()
        assert job.result(timeout=60) == 6
    assert attempts == list(range(1, 14))
    assert job.status().attempt == 13
    assert [(each.number, each.outcome) for each in job.attempts()] == [
        *((number, "failed") for number in range(1, 13)),
        (13, "completed"),
    ]


def test_attempts_without_a_committed_slice_are_counted_from_the_last_one(app: ph.Posthorse) -> None:
    @app.job(max_attempts=3, backoff=0)
    def pages(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(6), size=1):
            if ctx.attempt == 1 or batch[0] == 2:
                raise ConnectionError("the server is gone")
        return ctx.progress.done

    with app.worker():
        job = pages.enqueue()
        status = until_state(job, "failed")
    assert status.reason == "failed in 3 attempts since its last committed slice"
    assert (status.attempt, status.progress.done) == (4, 2)


def test_a_retry_has_all_attempts_again_and_counts_from_one(app: ph.Posthorse) -> None:
    attempts: list[int] = []

    @app.job(max_attempts=3, backoff=0)
    def pages(ctx: ph.Context) -> int:
        attempts.append(ctx.attempt)
        for batch in ctx.slices(range(9), size=1):
            blips[batch[0]] -= 1
            if blips[batch[0]] >= 0:
                raise ConnectionError("a blip")
        return ctx.progress.done

    blips = {**dict.fromkeys(range(9), 0), 0: 2, 1: 1, 2: 3 + 3 + 2}
    with app.worker():
        job = pages.enqueue()
        until_state(job, "failed")
        assert attempts == [1, 2, 3, 4, 5, 6]  # they failed on pages 0, 0, 1, 2, 2, 2
        job.retry()
        until_state(job, "failed")
        assert attempts[6:] == [1, 2, 3]
        job.retry()
        assert job.result(timeout=60) == 9
    assert attempts[9:] == [1, 2, 3]


def test_a_retry_of_bad_items_has_all_attempts_again(app: ph.Posthorse) -> None:
    attempts: list[int] = []

    @app.job(max_attempts=2, backoff=0)
    def pages(ctx: ph.Context) -> int:
        attempts.append(ctx.attempt)
        for batch in ctx.slices(range(2), size=1, tolerate=1):
            blips[batch[0]] -= 1
            if blips[batch[0]] >= 0:
                raise ConnectionError("a blip")
            with batch.tolerate(batch[0]):
                if batch[0] == 0 and not mended:
                    raise ValueError
        return ctx.progress.done

    blips, mended = {0: 1, 1: 1}, list[int]()
    with app.worker():
        job = pages.enqueue()
        assert job.result(timeout=60) == 2
        assert attempts == [1, 2, 3]
        mended.append(0)
        blips[0] = 2 + 1
        attempts.clear()
        job.retry_bad_items()
        until_state(job, "failed")
        job.retry()
        until_state(job, "completed")
    assert attempts == [1, 2, 1, 2]


def test_the_code_may_cap_attempts_over_the_whole_life(app: ph.Posthorse) -> None:
    @app.job(max_attempts=3, backoff=0)
    def pages(ctx: ph.Context) -> None:
        if ctx.attempt > 4:
            raise ph.GiveUp("four attempts in all")
        for batch in ctx.slices(range(100), size=1):
            if batch.number == 1:
                raise ConnectionError("a blip")

    with app.worker():
        status = until_state(pages.enqueue(), "failed")
    assert (status.attempt, status.reason) == (5, "gave up: four attempts in all")


def test_slices_of_isolated_jobs_forgive_as_well(isolated: ph.Posthorse) -> None:
    with isolated.worker():
        job = jobs.blips.enqueue()
        assert job.result(timeout=60) == 4
        assert job.status().attempt == 9
        dead = jobs.stuck_page.enqueue()
        status = until_state(dead, "failed")
    assert status.reason == "failed in 2 attempts since its last committed slice"
    assert status.attempt == 3
