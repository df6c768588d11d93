"""Steps: named results are kept with the checkpoint, and no later attempt repeats them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

import posthorse as ph
from posthorse.errors import StoreError
from posthorse.rules.tuning import Tuning
from posthorse.store.base import Operation
from tests.waiting import until, until_state
from tests.worker import isolated_jobs, packed_jobs


def rows_of(app: ph.Posthorse, job: ph.Job[Any]) -> dict[str, str]:
    """Return the stored steps of a job: the value by the name."""
    with app.store.transaction() as open_connection:
        connection = cast("Any", open_connection)
        table = app.store.backend.dialect.table("steps")
        return dict(connection.execute(f"SELECT name, value FROM {table} WHERE job = '{job.id}'").fetchall())


def test_a_step_runs_once_whatever_ends_the_attempt(app: ph.Posthorse) -> None:
    calls: list[str] = []

    def note(what: str, *, upper: bool = False) -> str:
        calls.append(what)
        return what.upper() if upper else what

    @app.job(max_attempts=3, backoff=0)
    def order(ctx: ph.Context) -> list[str]:
        paid = ctx.step("pay", note, "paid")
        if ctx.attempt == 1:
            raise ValueError("before the second step")
        packed = ctx.step("pack", note, "packed", upper=True)
        if ctx.attempt == 2:
            raise ValueError("after the second step")
        return [paid, packed]

    with app.worker():
        job = order.enqueue()
        assert job.result(timeout=30) == ["paid", "PACKED"]
    assert calls == ["paid", "packed"]
    assert job.status().attempt == 3
    assert rows_of(app, job) == {"pay": '"paid"', "pack": '"PACKED"'}


def test_async_steps_run_once_one_after_the_other_and_at_once(app: ph.Posthorse) -> None:
    calls: list[int] = []

    async def double(number: int) -> int:
        await asyncio.sleep(0.01 * (5 - number))
        calls.append(number)
        return 2 * number

    @app.job(max_attempts=3, backoff=0)
    async def doubles(ctx: ph.Context) -> list[int]:
        first = await ctx.astep("first", double, 0)
        some = await asyncio.gather(*(ctx.astep(f"number {n}", double, n) for n in range(1, 4)))
        if ctx.attempt == 1:
            raise ValueError("after the steps")
        order = [3, 1, 2] if ctx.attempt == 2 else [2, 3, 1]
        again = await asyncio.gather(*(ctx.astep(f"again {n}", double, n) for n in order))
        if ctx.attempt == 2:
            raise ValueError("in another order the next time")
        plain = await ctx.astep("plain", max, [*some, *again])
        return [first, *some, *again, plain]

    with app.worker():
        assert doubles.enqueue().result(timeout=30) == [0, 2, 4, 6, 4, 6, 2, 6]
    assert sorted(calls) == [0, 1, 1, 2, 2, 3, 3]


def test_the_first_run_and_a_resumed_one_get_the_same_types(app: ph.Posthorse) -> None:
    made: dict[str, object] = {
        "tuple": (1, (2, "x")),
        "set": {1, 2},
        "moment": datetime(2026, 12, 1, tzinfo=UTC),
        "bytes": b"\0\xff",
        "nothing": None,
        "by number": {1: "one"},
        "text": "Größe \U0001f40e",
        "plainer": msgspec.json.decode(b'{"a": [1, 2.5, null]}'),
    }
    seen: list[dict[str, object]] = []

    @app.job(max_attempts=2, backoff=0)
    def collect(ctx: ph.Context) -> None:
        seen.append({name: ctx.step(name, deepcopy, value) for name, value in made.items()})
        if ctx.attempt == 1:
            raise ValueError

    with app.worker():
        collect.enqueue().result(timeout=30)
    assert seen == [made, made]
    assert all(first[name] is not made[name] for first in seen for name in ("tuple", "set", "plainer"))
    assert [type(value) for value in seen[1].values()] == [type(value) for value in made.values()]


def test_steps_stand_inside_of_slices_and_beside_them(app: ph.Posthorse) -> None:
    calls: list[int] = []

    @app.job(max_attempts=4, backoff=0)
    def mail(ctx: ph.Context) -> list[int]:
        sent = ctx.keep("sent", list[int]())
        ctx.step("before", calls.append, -1)
        for batch in ctx.slices(range(6), size=3):
            for number in batch:
                ctx.step(f"send {number}", calls.append, number)
                sent.append(number)
                if (ctx.attempt, number) in {(1, 1), (2, 4)}:
                    raise ValueError("inside of a slice")
        ctx.step("after", calls.append, 6)
        if ctx.attempt == 3:
            raise ValueError("at the end")
        return sent

    with app.worker():
        job = mail.enqueue()
        assert job.result(timeout=30) == [0, 1, 2, 3, 4, 5]
    assert calls == [-1, 0, 1, 2, 3, 4, 5, 6]
    assert job.status().progress.done == 6


@pytest.mark.parametrize("is_async", [False, True])
def test_a_step_inside_of_a_transaction_is_refused(app: ph.Posthorse, is_async: bool) -> None:
    @app.job
    def save(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3)):
            with batch.transaction():
                ctx.step("save", len, "abc")

    @app.job
    async def asave(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(3)):
            async with batch.transaction():
                await ctx.astep("save", len, "abc")

    with app.worker():
        job = (asave if is_async else save).enqueue()
        with pytest.raises(ph.JobFailed, match=r"step 'save' is inside a transaction.*take it before the block"):
            job.result(timeout=30)
    assert job.status().attempt == 1


def test_a_step_beside_the_transaction_of_another_task_waits_for_it(app: ph.Posthorse) -> None:
    is_inside, is_kept = asyncio.Event(), list[bool]()

    @app.job
    async def both(ctx: ph.Context) -> int:
        async def slices() -> None:
            async for batch in ctx.slices(range(2), size=2):
                async with batch.transaction():
                    is_inside.set()
                    await asyncio.sleep(0.2)
                    assert is_kept == []

        async def steps() -> int:
            await is_inside.wait()
            size = await ctx.astep("size", len, "abc")
            is_kept.append(True)
            return size

        return (await asyncio.gather(slices(), steps()))[1]

    with app.worker():
        assert both.enqueue().result(timeout=30) == 3


@pytest.mark.parametrize(
    ("name", "told"),
    [("twice", "had a step 'twice' before"), ("", "the name of a step is ''"), ("a*", "the name of a step is 'a*'")],
)
def test_a_name_that_cannot_be_found_again_is_refused(app: ph.Posthorse, name: str, told: str) -> None:
    calls: list[int] = []

    @app.job
    def twice(ctx: ph.Context) -> None:
        ctx.step("twice", calls.append, 1)
        ctx.step(name, calls.append, 2)

    with app.worker():
        job = twice.enqueue()
        with pytest.raises(ph.JobFailed) as error:
            job.result(timeout=30)
    assert told in str(error.value)
    assert (calls, job.status().attempt) == ([1], 1)


def test_a_result_that_cannot_be_kept_says_so_and_is_not_made_again(app: ph.Posthorse) -> None:
    calls: list[int] = []

    def makes_one() -> list[object]:
        calls.append(1)
        return [object()]

    @app.job
    def strange(ctx: ph.Context) -> None:
        ctx.step("object", makes_one)

    with (
        app.worker(),
        pytest.raises(ph.JobFailed, match=r"step 'object' ran, but its result cannot be kept: .*plain data"),
    ):
        strange.enqueue().result(timeout=30)
    assert calls == [1]


@pytest.mark.parametrize("is_resumed", [False, True])
def test_the_steps_of_a_job_have_one_limit_together(app: ph.Posthorse, is_resumed: bool) -> None:
    def text(size: int) -> str:
        return "\xe4" * (size // 2)

    @app.job(max_attempts=2, backoff=0)
    def large(ctx: ph.Context) -> None:
        ctx.step("first", text, 3_000_000)
        ctx.step("second", text, 1_000_000)
        if is_resumed and ctx.attempt == 1:
            raise ValueError
        ctx.step("third", text, 300_000)

    with app.worker():
        job = large.enqueue()
        with pytest.raises(
            ph.JobFailed, match=r"'third' cannot be kept.*takes 300,002 bytes.*4,194,304.*4,000,004 are kept"
        ):
            job.result(timeout=30)
    assert sorted(rows_of(app, job)) == ["first", "second"]


# ── tries ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_tries_again_without_spending_an_attempt_of_the_job(app: ph.Posthorse) -> None:
    calls: list[float] = []

    def flaky(until: int) -> int:
        calls.append(time.monotonic())
        if len(calls) < until:
            raise ConnectionError(f"call {len(calls)}")
        return len(calls)

    @app.job(max_attempts=1)
    def one(ctx: ph.Context) -> int:
        return ctx.step("flaky", flaky, 3, attempts=3, backoff=["20ms", "30ms"])

    @app.job(max_attempts=1)
    async def aone(ctx: ph.Context) -> int:
        return await ctx.astep("flaky", flaky, 6, attempts=3, backoff="1ms")

    with app.worker():
        assert one.enqueue().result(timeout=30) == 3
        assert calls[1] - calls[0] >= 0.02
        assert calls[2] - calls[1] >= 0.03
        assert aone.enqueue().result(timeout=30) == 6


@pytest.mark.parametrize(
    ("raised", "calls_expected"),
    [
        (ValueError("as any"), 3),
        (ph.GiveUp("for good"), 1),
        (ph.InvalidCall("the call is wrong"), 1),
        (StoreError("not this step's fault"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_step_gives_up_after_its_tries_or_at_once(app: ph.Posthorse, raised: Exception, calls_expected: int) -> None:
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise raised

    @app.job(max_attempts=1)
    def job_of(ctx: ph.Context) -> None:
        ctx.step("fails", fails, attempts=3, backoff=0)

    with app.worker(), pytest.raises(ph.JobFailed, match=str(raised)):
        job_of.enqueue().result(timeout=30)
    assert len(calls) == calls_expected


@pytest.mark.parametrize("attempts", [0, -1, True, 1.5, "3"])
def test_a_number_of_tries_is_checked(app: ph.Posthorse, attempts: object) -> None:
    @app.job
    def job_of(ctx: ph.Context) -> None:
        ctx.step("fails", len, "", attempts=cast("int", attempts))

    with app.worker(), pytest.raises(ph.JobFailed, match=r"attempts of a step is .*; it must be a whole number from 1"):
        job_of.enqueue().result(timeout=30)


def test_an_async_function_must_be_awaited(app: ph.Posthorse) -> None:
    async def pay() -> None: ...

    @app.job
    def job_of(ctx: ph.Context) -> None:
        ctx.step("pay", cast("Callable[[], None]", pay))

    with app.worker(), pytest.raises(ph.JobFailed, match=r"must be awaited; write `await ctx\.astep\('pay', …\)`"):
        job_of.enqueue().result(timeout=30)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_job_that_waits_between_two_tries_can_be_paused(app: ph.Posthorse, is_async: bool) -> None:
    calls: list[int] = []

    def flaky() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError
        return len(calls)

    @app.job
    def one(ctx: ph.Context) -> int:
        return ctx.step("flaky", flaky, attempts=2, backoff="1h")

    @app.job
    async def aone(ctx: ph.Context) -> int:
        return await ctx.astep("flaky", flaky, attempts=2, backoff="1h")

    with app.worker():
        job = (aone if is_async else one).enqueue()
        until(lambda: calls, what="the first try")
        job.pause()
        assert until_state(job, "paused").attempt == 1
        job.resume()
        assert job.result(timeout=30) == 2


# ── what ends an attempt ─────────────────────────────────────────────────────────────────────────────


def test_a_job_stops_between_two_steps_when_asked(app: ph.Posthorse) -> None:
    calls: list[str] = []
    jobs: list[ph.Job[str]] = []

    def first(ctx: ph.Context) -> None:
        calls.append("first")
        jobs[0].pause()
        until(lambda: ctx.stop_requested)

    @app.job
    def order(ctx: ph.Context) -> str:
        ctx.step("first", first, ctx)
        ctx.step("second", calls.append, "second")
        return "done"

    with app.worker():
        jobs.append(order.using(delay="50ms").enqueue())
        until_state(jobs[0], "paused")
        assert calls == ["first"]
        jobs[0].resume()
        assert jobs[0].result(timeout=30) == "done"
    assert calls == ["first", "second"]


def test_a_commit_that_fails_is_an_error_of_the_attempt_and_the_step_runs_again(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    @app.job(max_attempts=2, backoff=0)
    def order(ctx: ph.Context) -> int:
        ctx.step("first", calls.append, 1)
        if ctx.attempt == 1:
            monkeypatch.setattr(type(app.store), "run", failing)
        ctx.step("second", calls.append, 2)
        return len(calls)

    original: Callable[..., Any] = type(app.store).run

    def failing(store: object, operation: Operation[Any]) -> None:
        monkeypatch.setattr(type(app.store), "run", original)
        raise StoreError("the disk is full")

    with app.worker():
        assert order.enqueue().result(timeout=30) == 3
    assert calls == [1, 2, 2]


def test_progress_by_steps_forgives_earlier_errors(app: ph.Posthorse) -> None:
    """Otherwise a job of many steps, each with an error now and then, would become a dead letter."""

    @app.job(max_attempts=2, backoff=0)
    def climbs(ctx: ph.Context) -> int:
        for number in range(1, 6):
            if number == ctx.attempt + 1:
                raise ValueError(f"before step {number}")
            ctx.step(f"step {number}", int)
        return ctx.attempt

    @app.job(max_attempts=3, backoff=0)
    def stays(ctx: ph.Context) -> None:
        if ctx.attempt > 1:
            ctx.step("one", int)
        raise ValueError("always here")

    with app.worker():
        assert climbs.enqueue().result(timeout=30) == 5
        stuck = stays.enqueue()
        with pytest.raises(ph.JobFailed, match="always here"):
            stuck.result(timeout=30)
    assert stuck.status().attempt == 4, "the one before the step was kept counts no longer"


def test_a_retry_of_a_dead_letter_keeps_its_steps(app: ph.Posthorse) -> None:
    calls: list[str] = []
    is_mended: list[bool] = []

    @app.job(max_attempts=2, backoff=0)
    def order(ctx: ph.Context) -> int:
        ctx.step("pay", calls.append, "pay")
        if not is_mended:
            raise ValueError("to be mended")
        ctx.step("ship", calls.append, "ship")
        return ctx.attempt

    with app.worker():
        job = order.enqueue()
        with pytest.raises(ph.JobFailed):
            job.result(timeout=30)
        job.retry()
        until_state(job, "failed")
        is_mended.append(True)
        job.retry()
        assert job.result(timeout=30) == 1
    assert calls == ["pay", "ship"]


def test_a_job_that_lost_its_lease_keeps_no_step(app: ph.Posthorse) -> None:
    calls: list[str] = []
    jobs: list[ph.Job[str]] = []

    def is_taken_away() -> str:
        calls.append("first")
        if len(calls) == 1:
            jobs[0].pause(force=True)
        return "result"

    @app.job
    def order(ctx: ph.Context) -> str:
        return ctx.step("first", is_taken_away)

    with app.worker():
        jobs.append(order.using(delay="50ms").enqueue())
        until(lambda: calls)
        until_state(jobs[0], "paused")
        assert rows_of(app, jobs[0]) == {}
        jobs[0].resume()
        assert jobs[0].result(timeout=30) == "result"
    assert calls == ["first", "first"]


# ── elsewhere ────────────────────────────────────────────────────────────────────────────────────────


def test_steps_in_child_processes_are_kept(store_url: str) -> None:
    app = isolated_jobs.app
    app.use_url(store_url)
    with app.worker():
        job = isolated_jobs.steps.enqueue()
        first, second, third = job.result(timeout=60)
    assert (first, second) == (1, 2), "each attempt was a process of its own"
    assert third == 3
    assert (job.status().attempt, job.status().crashes) == (1, 1), (
        "a step is progress: the second crash is the first again"
    )
    app.close()


def test_steps_are_packed_by_codecs(store_url: str) -> None:
    app = packed_jobs.app
    app.use_url(store_url)
    app.migrate()
    with app.worker():
        job = packed_jobs.steps.using(tenant="acme").enqueue(packed_jobs.MARKER)
        assert job.result(timeout=30) == [f"{packed_jobs.MARKER} of attempt 1", "twice"]
    stored = rows_of(app, job)
    assert all(value.startswith("~z:") for value in stored.values())
    assert sorted(stored) == ["first", "second"]
    app.close()


def test_a_step_that_no_codec_opens_leaves_the_job_to_another_worker(sqlite_url: str) -> None:
    app = packed_jobs.app
    app.use_url(sqlite_url)
    with app.worker():
        job = packed_jobs.stops_after_a_step.enqueue(packed_jobs.MARKER)
        until_state(job, "paused")
    table = app.store.backend.dialect.table("steps")
    with app.store.transaction() as open_connection:
        cast("Any", open_connection).execute(f"UPDATE {table} SET value = '~unknown:x'")
    job.resume()
    with app.worker():
        status = until_state(job, "blocked")
    assert "the text (step) of job" in str(status.reason)
    assert "packed by a codec 'unknown'" in str(status.reason)
    app.close()


@pytest.mark.tuning(step_pause=0.0)
def test_the_pauses_between_tries_can_be_left_out(app: ph.Posthorse, tuning: Tuning) -> None:
    """As in a kit for tests, where nothing sleeps."""
    assert tuning.step_pause == 0.0
    calls: list[int] = []

    def flaky() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError

    @app.job
    def one(ctx: ph.Context) -> None:
        ctx.step("flaky", flaky, attempts=3, backoff="1h")

    with app.worker():
        one.enqueue().result(timeout=30)


def test_a_sync_step_in_an_async_job_says_that_it_blocks_the_loop(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)

    @app.job
    async def blocks(ctx: ph.Context) -> int:
        with pytest.warns(RuntimeWarning, match=r"use `await ctx\.astep\('size', …\)`"):
            return ctx.step("size", len, "abc")

    with app.worker():
        assert blocks.enqueue().result(timeout=30) == 3
    app.close()


# ── sleeping ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_async", [False, True])
def test_a_sleep_holds_no_worker_and_lasts_until_its_moment(app: ph.Posthorse, is_async: bool) -> None:
    begun: list[float] = []

    @app.job(max_attempts=1)
    def naps(ctx: ph.Context) -> float:
        begun.append(time.monotonic())
        try:
            ctx.sleep("nap", "1.5s")
        except Exception:  # what ends the attempt is another one
            return -1.0
        return time.monotonic() - begun[0]

    @app.job(max_attempts=1)
    async def anaps(ctx: ph.Context) -> float:
        begun.append(time.monotonic())
        await ctx.asleep("nap", "1.5s")
        return time.monotonic() - begun[0]

    with app.worker(concurrency=1):
        job = (anaps if is_async else naps).enqueue()
        status = until_state(job, "scheduled")
        assert status.reason == "sleeps: nap"
        [until_then] = [int(value) for value in rows_of(app, job).values()]
        assert status.run_at is not None
        assert abs(status.run_at.timestamp() - until_then / 1e6) < 0.001, "exactly then"
        assert job.why().leading.code == "snoozed"
        assert 1.5 <= job.result(timeout=30) < 15
    assert len(begun) == 2
    assert [attempt.outcome for attempt in job.attempts()] == ["snoozed", "completed"]
    assert (job.status().attempt, job.status().interruptions) == (1, 0)


def test_a_short_sleep_keeps_its_worker(app: ph.Posthorse) -> None:
    begun: list[int] = []

    @app.job
    def naps(ctx: ph.Context) -> float:
        begun.append(1)
        before = time.monotonic()
        ctx.sleep("nap", 0.2)
        ctx.sleep("none", 0)
        return time.monotonic() - before

    @app.job
    async def anaps(ctx: ph.Context) -> float:
        begun.append(1)
        before = time.monotonic()
        await ctx.asleep("nap", 0.2)
        await ctx.asleep("none", 0)
        return time.monotonic() - before

    with app.worker():
        assert naps.enqueue().result(timeout=30) >= 0.2
        assert anaps.enqueue().result(timeout=30) >= 0.2
    assert len(begun) == 2


def test_a_job_that_is_run_before_its_time_sleeps_on(app: ph.Posthorse) -> None:
    begun: list[int] = []

    @app.job
    def naps(ctx: ph.Context) -> str:
        begun.append(1)
        ctx.sleep("nap", "1h")
        return "awake"

    with app.worker():
        job = naps.enqueue()
        due = until_state(job, "scheduled").run_at
        job.pause()
        assert job.resume() == "scheduled", "a pause does not end the sleep"
        job.cancel()
        job.retry()  # it may run now, and keeps the moment
        until(lambda: len(begun) == 2)
        again = until_state(job, "scheduled").run_at
        assert due is not None
        assert again is not None
        assert abs((again - due).total_seconds()) < 0.001
        job.cancel()


def test_a_pause_comes_before_a_sleep(app: ph.Posthorse) -> None:
    jobs: list[ph.Job[None]] = []

    @app.job
    def naps(ctx: ph.Context) -> None:
        jobs[0].pause()
        until(lambda: ctx.stop_requested)
        ctx.sleep("nap", "1h")

    with app.worker():
        jobs.append(naps.using(delay="50ms").enqueue())
        until_state(jobs[0], "paused")
    assert rows_of(app, jobs[0]) == {}


def test_a_name_that_was_something_else_before_is_refused(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0)
    def changes(ctx: ph.Context) -> None:
        if ctx.attempt == 1:
            ctx.sleep("wait", 0)
            raise ValueError
        ctx.step("wait", len, "")

    with (
        app.worker(),
        pytest.raises(ph.JobFailed, match=r"'wait' is kept .* as one of ctx\.sleep, and now .*ctx\.step"),
    ):
        changes.enqueue().result(timeout=30)


def test_a_sleep_in_a_child_process_ends_its_turn(store_url: str) -> None:
    app = isolated_jobs.app
    app.use_url(store_url)
    with app.worker():
        job = isolated_jobs.naps.enqueue()
        until_state(job, "scheduled")
        assert job.result(timeout=60) == "awake"
    app.close()
