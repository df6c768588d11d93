"""Lasting causes: a job is not run again if no attempt can cure its error; passing errors spare the budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

import posthorse as ph
from tests.waiting import until, until_state

RESULTS: dict[str, Callable[[], object]] = {
    "no form in JSON": object,
    "finite": lambda: math.nan,
    "the limit is": lambda: "x" * 5_000_000,
    "lone surrogate": lambda: "\ud800",
    "__main__ of a property": lambda: Exploding(a=1),
}


class Exploding(dict[str, int]):
    def __iter__(self) -> object:  # type: ignore[override]  # of no use to anybody
        raise SystemExit("__main__ of a property")

    items = __iter__  # type: ignore[assignment]  # the same


@pytest.mark.parametrize("is_async", [True, False])
def test_a_result_that_cannot_be_stored_runs_the_code_once(app: ph.Posthorse, is_async: bool) -> None:
    runs: list[str] = []

    def give(what: str) -> object:
        runs.append(what)
        return RESULTS[what]()

    async def agive(what: str) -> object:
        return give(what)

    kind = app.job(kind="give", backoff=0)(agive) if is_async else app.job(kind="give", backoff=0)(give)
    with app.worker():
        jobs = [kind.enqueue(what) for what in RESULTS]
        statuses = [until_state(job, "failed", "completed") for job in jobs]
    assert {status.reason for status in statuses} == {"gave up: its result cannot be stored"}
    for what, status in zip(RESULTS, statuses, strict=True):
        assert what in str(status.error)
        assert "raise the limit" not in str(status.error)
    assert sorted(runs) == sorted(RESULTS)


def test_a_call_that_is_wrong_in_itself_is_not_tried_again_unless_the_job_asks_for_it(app: ph.Posthorse) -> None:
    runs: list[str] = []

    @app.job(backoff=0)
    def wrong() -> None:
        runs.append("wrong")
        wrong.using(priority=1_000).enqueue()

    @app.job(backoff=0, max_attempts=2, retry_on=ph.InvalidOption)
    def hopeful() -> None:
        runs.append("hopeful")
        raise ph.InvalidOption("perhaps")

    with app.worker():
        once, twice = wrong.enqueue(), hopeful.enqueue()
        statuses = [until_state(job, "failed") for job in (once, twice)]
    assert [status.reason for status in statuses] == [
        "gave up: InvalidOption would come again: the call itself is wrong",
        "failed in 2 attempts",
    ]
    assert sorted(runs) == ["hopeful", "hopeful", "wrong"]


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("source", ["a generator", "a file that is not UTF-8", "two loops without names"])
def test_a_loop_over_what_it_can_never_run_over_is_not_begun_five_times(
    app: ph.Posthorse, tmp_path: Path, source: str, is_async: bool
) -> None:
    runs: list[int] = []
    (tmp_path / "odd.txt").write_bytes(b"caf\xe9\n")

    def made() -> object:
        return (n for n in range(3)) if source == "a generator" else ph.lines(tmp_path / "odd.txt")

    def walk(ctx: ph.Context) -> None:
        runs.append(1)
        loops = [ctx.slices(made()) for _ in range(1 + source.startswith("two"))]  # type: ignore[call-overload]
        for _ in loops[0]:
            pass

    async def awalk(ctx: ph.Context) -> None:
        runs.append(1)
        loops = [ctx.slices(made()) for _ in range(1 + source.startswith("two"))]  # type: ignore[call-overload]
        async for _ in loops[0]:
            pass

    kind = app.job(kind="walk", backoff=0)(awalk if is_async else walk)
    with app.worker():
        status = until_state(kind.enqueue(), "failed")
    assert status.reason is not None
    assert status.reason.endswith("would come again: the call itself is wrong")
    assert runs == [1]


@pytest.mark.parametrize("misuse", ["nested", "again", "entered again", "in a loop", "blocking"])
def test_a_call_that_cannot_be_made_there_runs_the_job_once(app: ph.Posthorse, misuse: str) -> None:
    runs: list[str] = []

    def misused(batch: ph.Batch[int]) -> None:
        if misuse == "nested":
            with batch.transaction(), batch.transaction():
                pass
        transaction = batch.transaction()
        for _ in range(2):
            with transaction if misuse == "entered again" else batch.transaction():
                pass

    @app.job(backoff=0)
    def walk(ctx: ph.Context) -> None:
        runs.append(misuse)
        for batch in ctx.slices(range(2)):
            misused(batch)

    @app.job(backoff=0)
    async def awalk(ctx: ph.Context) -> None:
        runs.append(misuse)
        if misuse == "blocking":
            walk.get_job(ctx.job_id).result()
        async for batch in ctx.slices(range(2)):
            with batch.transaction(cast("Any", object())):
                pass

    with app.worker():
        job = (awalk if misuse in ("in a loop", "blocking") else walk).enqueue()
        status = until_state(job, "failed", "completed")
    assert status.reason == "gave up: InvalidCall would come again: the call itself is wrong"
    assert runs == [misuse]


def test_an_invalid_call_is_still_what_python_raises_for_it() -> None:
    assert issubclass(ph.InvalidCall, RuntimeError)
    assert issubclass(ph.InvalidCall, ph.UsageError)


def test_the_store_of_another_application_that_is_away_is_an_error_of_the_job(
    app: ph.Posthorse, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    billing = ph.Posthorse(f"sqlite:///{tmp_path}/file/no/folder/billing.db")

    @billing.job
    def bill() -> None: ...

    @app.job(max_attempts=3, backoff="1h")
    def order() -> None:
        bill.enqueue()

    @app.job(max_attempts=3, backoff="1h", give_up_on=ph.StoreError)
    async def order_or_not() -> None:
        await bill.aenqueue()

    with app.worker():
        jobs = order.enqueue(), order_or_not.enqueue()
        statuses = [until_state(job, "scheduled", "failed") for job in jobs]
    assert [status.reason for status in statuses] == [
        "attempt 1 of 3 failed",
        "gave up: StoreUnreachable is in give_up_on",
    ]
    assert [status.interruptions for status in statuses] == [0, 0]
    billing.close()


def test_the_own_store_that_is_away_is_a_loss_that_waits_longer_each_time(app: ph.Posthorse) -> None:
    away = ph.StoreUnreachable("away")
    away.where = app.store.where
    runs: list[int] = []

    @app.job(max_attempts=1)
    def order() -> str:
        runs.append(1)
        if len(runs) < 3:
            raise away
        return "done"

    with app.worker():
        job = order.enqueue()
        assert job.result(timeout=30) == "done"
    attempts = job.attempts()
    assert [attempt.outcome for attempt in attempts] == ["lost", "lost", "completed"]
    ends = [attempt.finished_at for attempt in attempts if attempt.finished_at]
    assert ends[2] - ends[1] >= timedelta(seconds=0.9), (
        "one second from when the end was decided, a moment before it was noted"
    )
    assert (job.status().attempt, job.status().interruptions) == (1, 2)


@pytest.mark.parametrize("is_async", [True, False])
def test_an_interruption_that_nobody_asked_for_is_an_error(app: ph.Posthorse, is_async: bool) -> None:
    def stop() -> None:
        raise ph.Interrupted("not today")

    async def astop() -> None:
        stop()

    kind = app.job(kind="stop", max_attempts=2, backoff=0)(astop if is_async else stop)
    with app.worker():
        status = until_state(kind.enqueue(), "failed")
    assert status.reason == "failed in 2 attempts"
    assert status.error is not None
    assert status.error.type == "posthorse.errors.Interrupted"
    assert "nothing asked this job to stop" in status.error.message
    assert "not today" in status.error.message


def test_a_pause_that_is_taken_back_on_the_way_out_spends_nothing(app: ph.Posthorse) -> None:
    begun: list[int] = []

    @app.job(max_attempts=1)
    def long(ctx: ph.Context) -> str:
        begun.append(1)
        if len(begun) > 1:
            return "to the end"
        until(lambda: ctx.stop_requested)
        try:
            ctx.checkpoint()
        finally:
            job.resume()
            until(lambda: not ctx.stop_requested)
        return "never"

    with app.worker():
        job = long.enqueue()
        until(lambda: begun)
        job.pause()
        assert job.result(timeout=30) == "to the end"
    assert job.status().attempt == 1
