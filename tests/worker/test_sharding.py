"""A job whose loop is cut into parts: they run side by side, and it ends with what they returned."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import posthorse as ph
from posthorse.errors import InvalidOption, JobFailed
from posthorse.store.operations.parts import results_of_parts
from tests.waiting import until


def joined_result(job: ph.Job[Any]) -> Any:  # noqa: ANN401 - what the combine function returns
    return job.result(timeout=30)


def parts_of(app: ph.Posthorse, job: ph.Job[object]) -> list[ph.Job[object]]:
    return [app.get_job(row.job) for row in app.store.read(results_of_parts(job.id))]


def until_more_is_done(job: ph.Job[object]) -> None:
    done = job.status().progress.done
    until(lambda: job.status().state == "completed" or job.status().progress.done > done)


def test_parts_run_on_their_ranges_and_their_results_are_joined_in_order(app: ph.Posthorse) -> None:
    seen: list[int | None] = []

    @app.job(shards=3)
    def first_and_last(ctx: ph.Context, count: int) -> tuple[int, int]:
        met = ctx.keep("met", list[int]())
        for batch in ctx.slices(range(count), size=4):
            met.extend(batch)
        seen.append(ctx.shard)
        return met[0], met[-1]

    @first_and_last.combine
    def joined(parts: list[tuple[int, int]]) -> list[int]:
        return [end for part in parts for end in part]

    with app.worker(concurrency=4):
        job = first_and_last.enqueue(100)
        assert joined_result(job) == [0, 32, 33, 65, 66, 99]
    progress = job.status().progress
    assert (progress.done, progress.total, progress.fraction) == (100, 100, 1.0)
    assert sorted(number for number in seen if number is not None) == [0, 1, 2]
    assert [attempt.outcome for attempt in job.attempts()] == ["split", "completed"]
    assert [part.status().kind for part in parts_of(app, job)] == ["first_and_last"] * 3


def test_without_a_combine_function_the_result_is_the_list_or_none(app: ph.Posthorse) -> None:
    @app.job
    def add(ctx: ph.Context, count: int) -> int:
        return sum(number for batch in ctx.slices(range(count)) for number in batch)

    @app.job
    def nothing(ctx: ph.Context) -> None:
        for _ in ctx.slices(range(10)):
            pass

    with app.worker(concurrency=4):
        assert joined_result(add.using(shards=2).enqueue(4)) == [1, 5]
        assert nothing.using(shards=2).enqueue().result(timeout=30) is None
        assert joined_result(add.using(shards=8).enqueue(2)) == [0, 1]  # fewer items than parts
        assert joined_result(add.using(shards=8).enqueue(0)) == [0]  # none
        assert add.enqueue(4).result(timeout=30) == 6


def test_async_jobs_are_cut_too_and_either_kind_of_combine_function_joins_them(app: ph.Posthorse) -> None:
    async def evens(after: int, limit: int) -> list[int]:
        return [number for number in range(after + 1, after + 2 * limit + 2) if number % 2 == 0 and number <= 40][
            :limit
        ]

    @app.job(shards=4)
    async def count(ctx: ph.Context) -> int:
        async for _ in ctx.slices(ph.keyset(evens, key=lambda number: number, start=0, stop=40), size=2):
            await asyncio.sleep(0)
        return ctx.progress.done

    @count.combine
    async def total(parts: list[int]) -> int:
        await asyncio.sleep(0)
        return sum(parts)

    @app.job(shards=2)
    async def other(ctx: ph.Context) -> int:
        async for _ in ctx.slices(range(10)):
            pass
        return ctx.progress.done

    other.combine(sum)
    with app.worker(concurrency=4):
        assert count.enqueue().result(timeout=30) == 20
        assert other.enqueue().result(timeout=30) == 10


def test_a_part_that_failed_fails_the_job_and_is_retried_alone(app: ph.Posthorse) -> None:
    met: list[int] = []
    bad = [7]

    @app.job(shards=4, max_attempts=1)
    def work(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(12), size=1):
            if batch[0] in bad:
                raise ValueError("seven")
            met.append(batch[0])
        return ctx.progress.done

    work.combine(sum)
    with app.worker(concurrency=4):
        job = work.enqueue()
        with pytest.raises(JobFailed, match=r"1 of 4 parts failed; the first one is .*: failed in 1 attempt"):
            job.result(timeout=30)
        assert sorted(met) == [0, 1, 2, 3, 4, 5, 6, 9, 10, 11]
        assert job.status().state == "failed"
        met.clear()
        bad.clear()
        job.retry()
        assert job.result(timeout=30) == 12
    assert met == [7, 8]


def test_parts_keep_the_arguments_that_they_have(app: ph.Posthorse) -> None:
    @app.job(shards=2, max_attempts=1)
    def work(ctx: ph.Context, divisor: int) -> float:
        return sum(1 / divisor for _ in ctx.slices(range(4), size=1))

    with app.worker(concurrency=2):
        job = work.enqueue(0)
        with pytest.raises(JobFailed, match="2 of 2 parts failed"):
            job.result(timeout=30)
    with pytest.raises(ph.InvalidTransition, match="has parts or children, which keep the arguments"):
        job.retry(arguments={"divisor": 1})
    assert job.status().state == "failed"


def test_a_job_that_is_retried_waits_for_all_of_its_parts(app: ph.Posthorse) -> None:
    """The part that is retried ends after the job itself could have run."""
    bad, again = [1], threading.Event()

    @app.job(shards=2, max_attempts=1)
    def work(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(2), size=1):
            if batch[0] in bad:
                raise ValueError("one")
            if again.is_set():
                time.sleep(0.5)
        return ctx.progress.done

    with app.worker(concurrency=4):
        job = work.enqueue()
        with pytest.raises(JobFailed):
            job.result(timeout=30)
        bad.clear()
        again.set()
        job.retry()
        assert job.status().state == "blocked"
        assert joined_result(job) == [1, 1]


def test_a_part_that_is_retried_before_the_job_joins_is_waited_for(app: ph.Posthorse) -> None:
    begun, go_on, bad = threading.Semaphore(0), threading.Event(), [1]

    @app.job(shards=2, max_attempts=1)
    def work(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(2), size=1):
            begun.release()
            go_on.wait(30)
            if batch[0] in bad:
                raise ValueError("one")
        return ctx.progress.done

    queue = app.queue("default")
    with app.worker(concurrency=4):
        job = work.enqueue()
        assert begun.acquire(timeout=30)
        assert begun.acquire(timeout=30)
        queue.pause()
        go_on.set()
        until(lambda: job.status().state == "pending")  # its parts are over, and it may join them
        [failed] = app.jobs(f"parent:{job.id} state:failed")
        bad.clear()
        failed.retry()
        failed.pause()
        queue.resume()
        until(lambda: job.status().state == "blocked")
        failed.resume()
        assert joined_result(job) == [1, 1]


def test_a_place_in_a_sequence_and_an_expiry_are_those_of_the_job_and_not_of_its_parts(app: ph.Posthorse) -> None:
    @app.job(shards=3, sequence="reports", expires="0.5s")
    def work(ctx: ph.Context) -> int:
        for _ in ctx.slices(range(3), size=1):
            time.sleep(0.4)
        return ctx.progress.done

    with app.worker(concurrency=1):
        assert joined_result(work.enqueue()) == [1, 1, 1]
        assert joined_result(work.enqueue()) == [1, 1, 1]


def test_a_loop_that_cannot_be_cut_fails_with_the_reason(app: ph.Posthorse) -> None:
    @app.job(shards=2, max_attempts=1)
    def names(ctx: ph.Context) -> None:
        for _ in ctx.slices(ph.keyset(lambda after, limit: list[str](), key=str)):
            pass

    with app.worker(), pytest.raises(JobFailed, match="this key set cannot be cut into parts"):
        names.enqueue().result(timeout=30)


def test_a_job_of_two_loops_is_not_cut_in_one_of_them(app: ph.Posthorse) -> None:
    @app.job(shards=2, max_attempts=1)
    def twice(ctx: ph.Context) -> None:
        for name in ("one", "two"):
            for _ in ctx.slices(range(4), name=name):
                pass

    with app.worker(concurrency=2):
        job = twice.enqueue()
        with pytest.raises(JobFailed, match="2 of 2 parts failed"):
            job.result(timeout=30)
    errors = [part.status().error for part in parts_of(app, job)]
    assert all(error is not None and "all of loop 'two', too" in error.message for error in errors)


def test_only_kinds_with_a_loop_have_shards(app: ph.Posthorse) -> None:
    @app.job
    def plain() -> None: ...

    with pytest.raises(InvalidOption, match="it takes no context, so it has no loop to cut"):
        plain.using(shards=2)
    with pytest.raises(InvalidOption, match="it takes no context"):

        @app.job(shards=2)
        def other() -> None: ...

    @app.job
    def long(ctx: ph.Context) -> None: ...

    with pytest.raises(InvalidOption, match="shards is 0; it must be a whole number from 1 to 1,000"):
        long.using(shards=0)
    long.combine(sum)
    with pytest.raises(InvalidOption, match="'long' has a combine function already"):
        long.combine(sum)
    with pytest.raises(InvalidOption, match="@combine needs a function"):
        long.combine(7)  # type: ignore[arg-type]  # that is the point


def test_what_is_requested_of_the_job_is_done_to_its_parts(app: ph.Posthorse) -> None:
    @app.job(shards=3)
    def endless(ctx: ph.Context) -> None:
        for _ in ctx.slices(range(100_000), size=1):
            if ctx.stop_requested:
                continue

    with app.worker(concurrency=3):
        job = endless.enqueue()
        until(lambda: job.status().progress.done > 10)
        job.pause()
        until(lambda: all(part.status().state == "paused" for part in parts_of(app, job)))
        done = job.status().progress.done
        job.resume()
        until(lambda: job.status().progress.done > done)
        job.cancel()
        until(lambda: job.status().state == "cancelled")
        assert {part.status().state for part in parts_of(app, job)} == {"cancelled"}


def test_each_item_comes_once_though_workers_come_and_go(app: ph.Posthorse, tmp_path: Path) -> None:
    path = tmp_path / "met.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE met (number INTEGER, part INTEGER)")

    @app.job(shards=4)
    def work(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(400), size=5):
            with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
                connection.executemany("INSERT INTO met VALUES (?, ?)", [(item, ctx.shard) for item in batch])

    job = work.enqueue()
    for _ in range(3):
        with app.worker(concurrency=2):
            until_more_is_done(job)
    with app.worker(concurrency=4):
        job.result(timeout=30)
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT number, part FROM met ORDER BY number").fetchall()
    assert [number for number, _ in found] == list(range(400))
    assert [part for _, part in found] == [number // 100 for number in range(400)]


def test_results_and_positions_of_parts_are_packed_by_a_codec(sqlite_url: str) -> None:
    class Backwards:
        mark = "b"

        def pack(self, text: str, about: ph.About) -> str:
            return text[::-1]

        def unpack(self, packed: str, about: ph.About) -> str:
            return packed[::-1]

    app = ph.Posthorse(sqlite_url, codecs=[Backwards()])

    @app.job(shards=2)
    def ends(ctx: ph.Context, words: list[str]) -> str:
        def fetch(after: str | None, limit: int) -> list[str]:
            return [word for word in words if word > (after or "")][:limit]

        def cut(*_: object) -> list[str]:
            return ["m-secret"]

        source = ph.keyset(fetch, key=str, split=cut)
        return "+".join(word for batch in ctx.slices(source) for word in batch)

    with app.worker(concurrency=2):
        job = ends.enqueue(["a", "b", "m-secret", "z"])
        assert joined_result(job) == ["a+b+m-secret", "z"]
    rows = app.store.read(results_of_parts(job.id))
    assert all("secret" not in (row.options or "") + (row.result or "") for row in rows)
    app.close()


def test_a_kind_of_a_bundle_is_joined_in_each_application(sqlite_url: str) -> None:
    bundle = ph.Bundle()

    @bundle.job(shards=2)
    def add(ctx: ph.Context) -> int:
        return sum(number for batch in ctx.slices(range(10)) for number in batch)

    add.combine(sum)
    app = ph.Posthorse(sqlite_url)
    app.include(bundle)
    with app.worker(concurrency=2):
        assert add.enqueue().result(timeout=30) == 45
    app.close()
