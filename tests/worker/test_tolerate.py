"""Tolerated bad items: skipped within a budget, stored in the commit of their slice with errors, retried alone."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import posthorse as ph
from posthorse.store.operations.bad_items import bad_items
from posthorse.store.operations.read import depths
from tests.effects import effects_of, insert, make_effects
from tests.waiting import until_state

Effects = Callable[[], list[int]]


@pytest.fixture
def effects(app: ph.Posthorse) -> Effects:
    """Create a table of the user's own; return a function that reads it."""
    make_effects(app, are_unique=True)
    return lambda: effects_of(app)


@pytest.mark.parametrize("is_async", [True, False])
def test_what_a_bad_item_wrote_is_undone_alone(app: ph.Posthorse, effects: Effects, is_async: bool) -> None:
    """The slice transaction stays usable, although an error of the database itself would otherwise end it."""

    @app.job(max_attempts=1)
    def write(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(9), size=4, tolerate=2):
            with batch.transaction() as connection:
                for item in batch:
                    with batch.tolerate(item):
                        connection.execute(insert(item))
                        if item == 2:
                            raise ValueError("two is bad")
                        if item == 7:
                            connection.execute(insert(1))
        return ctx.progress.done

    @app.job(max_attempts=1)
    async def awrite(ctx: ph.Context) -> int:
        async for batch in ctx.slices(range(9), size=4, tolerate=2):
            async with batch.transaction() as connection:
                for item in batch:
                    async with batch.tolerate(item):
                        await connection.execute(insert(item))
                        if item == 2:
                            raise ValueError("two is bad")
                        if item == 7:
                            await connection.execute(insert(1))
        return ctx.progress.done

    with app.worker():
        job = awrite.enqueue() if is_async else write.enqueue()
        assert job.result(timeout=30) == 9
    assert effects() == [0, 1, 3, 4, 5, 6, 8]
    two, seven = job.bad_items()
    assert (two.loop, two.number, two.item, two.is_retryable) == ("", 1, 2, True)
    assert str(two.error) == "ValueError: two is bad"
    assert two.error.traceback is not None
    assert "raise ValueError" in two.error.traceback
    assert "contextlib" not in two.error.traceback
    assert (seven.number, seven.item) == (2, 7)
    assert "IntegrityError" in seven.error.type or "UniqueViolation" in seven.error.type


def test_a_bad_item_is_undone_on_a_connection_of_the_users_own(
    app: ph.Posthorse, effects: Effects, store_url: str
) -> None:
    driver = "sqlite" if store_url.startswith("sqlite") else "postgresql+psycopg"
    engine = sa.create_engine(f"{driver}{store_url[store_url.index(':') :]}")

    @app.job(queue="unserved")
    def note(item: int) -> None: ...

    @app.job(max_attempts=1)
    def write(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(4), size=4, tolerate=2):
            with engine.connect() as connection, batch.transaction(connection):
                for item in batch:
                    with batch.tolerate(item):
                        connection.execute(sa.text(insert(item)))
                        note.using(connection=connection).enqueue(item)
                        if item == 1:
                            connection.execute(sa.text(insert(0)))
                        if item == 2:
                            raise ValueError
        return ctx.progress.done

    with app.worker(queues=["default"]):
        job = write.enqueue()
        assert job.result(timeout=30) == 4
    assert effects() == [0, 3]
    assert [one.item for one in job.bad_items()] == [1, 2]
    assert [depth.waiting for depth in app.store.read(depths()) if depth.queue == "unserved"] == [2]
    engine.dispose()


@pytest.mark.parametrize("is_async", [True, False])
def test_beyond_the_budget_the_job_fails_and_tells_how_many(app: ph.Posthorse, is_async: bool) -> None:
    @app.job(max_attempts=1)
    def strict(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(100), name="users", size=10, tolerate=3):
            for item in batch:
                with batch.tolerate(item):
                    if item % 20 == 5:
                        raise KeyError(item)

    @app.job(max_attempts=1)
    async def astrict(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(100), name="users", size=10, tolerate=3):
            for item in batch:
                async with batch.tolerate(item):
                    if item % 20 == 5:
                        raise KeyError(item)

    with app.worker():
        job = astrict.enqueue() if is_async else strict.enqueue()
        expected = "4 bad items of 70 of loop 'users' are more than the 3 that it tolerates; .* error: KeyError: 65"
        with pytest.raises(ph.JobFailed, match=expected):
            job.result(timeout=30)
    assert job.status().progress.done == 60
    assert [bad.item for bad in job.bad_items()] == [5, 25, 45, 65]
    error = job.status().error
    assert error is not None
    assert error.type == "posthorse.errors.ToleranceExceeded"


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("in_transaction", [True, False])
def test_bad_items_that_are_too_many_are_kept_and_met_again(
    app: ph.Posthorse, is_async: bool, in_transaction: bool
) -> None:
    """Even in the first slice: it commits nothing, and its bad items are the only trace."""
    bad: list[int] = [1, 3, 5, 7]

    @app.job(max_attempts=1)
    def strict(ctx: ph.Context, in_transaction: bool) -> list[int]:
        good = ctx.keep("good", list[int]())
        for batch in ctx.slices(range(16), size=8, tolerate=2):
            with batch.transaction() if in_transaction else nullcontext():
                for item in batch:
                    with batch.tolerate(item):
                        if item in bad:
                            raise KeyError(item)
                        good.append(item)
        return good

    @app.job(max_attempts=1)
    async def astrict(ctx: ph.Context, in_transaction: bool) -> list[int]:
        good = ctx.keep("good", list[int]())
        async for batch in ctx.slices(range(16), size=8, tolerate=2):
            async with batch.transaction() if in_transaction else nullcontext():
                for item in batch:
                    async with batch.tolerate(item):
                        if item in bad:
                            raise KeyError(item)
                        good.append(item)
        return good

    def kept() -> list[tuple[int, object]]:
        return [(each.number, each.item) for each in job.bad_items()]

    with app.worker():
        job = astrict.enqueue(in_transaction) if is_async else strict.enqueue(in_transaction)
        assert until_state(job, "failed").progress.done == 0
        assert kept() == [(1, 1), (2, 3), (3, 5)]
        bad[:] = [2, 3, 4]
        job.retry()
        until_state(job, "failed")
        assert kept() == [(1, 2), (2, 3), (3, 4)]
        bad[:] = [6]
        job.retry_bad_items()  # none of a committed slice: the job goes on where it stopped
        assert job.result(timeout=30) == [*range(6), *range(7, 16)]
        assert kept() == [(1, 6)]
        bad.clear()
        job.retry_bad_items()
        until_state(job, "completed")
    assert kept() == []


def test_a_share_is_judged_from_a_hundred_items_on_and_at_the_end(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job(max_attempts=1)
    def share(ctx: ph.Context, bad: list[int], count: int) -> int:
        for batch in ctx.slices(range(count), size=10, tolerate="2%"):
            for item in batch:
                with batch.tolerate(item):
                    if item in bad:
                        raise ValueError
        return ctx.progress.done

    def outcome(bad: list[int], count: int) -> int:
        job = share.enqueue(bad, count)
        try:
            return job.result(timeout=30)
        except ph.JobFailed:
            return -job.status().progress.done

    with app.worker():
        assert outcome([1, 2], 200) == 200
        assert outcome([1, 2, 3], 200) == -90  # three of a hundred
        assert outcome([1], 50) == 50
        assert outcome([1, 2], 50) == -40  # no more are to come
    app.close()


def test_the_budget_counts_over_attempts_and_a_repeated_slice_counts_once(app: ph.Posthorse) -> None:
    @app.job(max_attempts=4, backoff=0)
    def long(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(40), size=10, tolerate=4):
            for item in batch:
                with batch.tolerate(item):
                    if item % 10 == 5:
                        raise ValueError(item)
            if batch[0] == 10 * ctx.attempt:
                raise RuntimeError("the slice is to be repeated")
        return ctx.progress.done

    with app.worker():
        job = long.enqueue()
        assert job.result(timeout=30) == 40
    assert [(bad.number, bad.item) for bad in job.bad_items()] == [(1, 5), (2, 15), (3, 25), (4, 35)]


@pytest.mark.parametrize("is_async", [True, False])
def test_stops_timeouts_and_faults_of_the_store_are_never_tolerated(sqlite_url: str, is_async: bool) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job(max_attempts=1, timeout="0.3s")
    def late(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3), tolerate="100%"):
            for item in batch:
                with batch.tolerate(item):
                    while True:
                        ctx.checkpoint()

    @app.job(max_attempts=1, timeout="0.3s")
    async def alate(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(3), tolerate="100%"):
            for item in batch:
                async with batch.tolerate(item):
                    await asyncio.sleep(60)

    @app.job(max_attempts=1)
    def paused(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3), tolerate="100%"):
            for item in batch:
                with batch.tolerate(item):
                    app.get_job(ctx.job_id).pause()
                    while True:
                        ctx.checkpoint()

    with app.worker():
        with pytest.raises(ph.JobFailed, match="longer than its timeout"):
            (alate.enqueue() if is_async else late.enqueue()).result(timeout=30)
        until_state(paused.enqueue(), "paused")
    app.close()


def test_only_the_named_errors_are_tolerated(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job(max_attempts=1)
    def picky(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3), tolerate=3):
            for item in batch:
                with batch.tolerate(item, KeyError, ValueError):
                    raise [KeyError, ValueError, OSError][item]("no")

    with app.worker(), pytest.raises(ph.JobFailed, match="OSError: no"):
        picky.enqueue().result(timeout=30)
    app.close()


class Odd:
    def __repr__(self) -> str:
        return "<odd \0 \ud800>"


@dataclass
class Shouting:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    def __hash__(self) -> int:
        return 1

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


def test_items_that_cannot_be_kept_are_kept_as_text_and_not_retried(app: ph.Posthorse) -> None:
    items: Sequence[object] = ["text\0 \\ ' \"{}", (1, {2, 3}), Odd(), Shouting(), "x" * 300_000, None]

    @app.job(max_attempts=1)
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(items, tolerate=10):
            for item in batch:
                with batch.tolerate(item):
                    raise ValueError("bad \0 \ud800")
            with batch.tolerate("an item that is none of the batch"):
                raise ValueError

    with app.worker():
        job = long.enqueue()
        job.result(timeout=30)
    bad = job.bad_items()
    assert [one.is_retryable for one in bad] == [True, True, False, False, False, True, False]
    assert [one.item for one in bad[:3]] == ["text\0 \\ ' \"{}", (1, {2, 3}), "<odd \\0 \\ud800>"]
    assert bad[3].item == "<an item that cannot be shown: RuntimeError>"
    assert len(str(bad[4].item)) <= 1001
    assert bad[0].error.message == "bad \\0 \\ud800"
    pages = job.bad_items(limit=3), job.bad_items(limit=3, after=bad[2]), job.bad_items(limit=3, after=bad[5])
    assert [one for page in pages for one in page] == bad
    with pytest.raises(ph.InvalidOption):
        job.bad_items(limit=0)


def test_a_retry_of_bad_items_that_were_all_kept_as_text_is_refused(app: ph.Posthorse) -> None:
    @app.job
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices([Odd()], tolerate=1):
            for item in batch:
                with batch.tolerate(item):
                    raise ValueError

    with app.worker():
        job = long.enqueue()
        job.result(timeout=30)
    with pytest.raises(ph.InvalidTransition, match="its 1 bad items were kept as text only"):
        job.retry_bad_items()
    assert job.status().state == "completed"


@pytest.mark.parametrize("is_async", [True, False])
def test_a_retry_meets_the_bad_items_alone_and_forgets_those_that_succeed(
    app: ph.Posthorse, effects: Effects, is_async: bool
) -> None:
    bad = {3, 10, 17}
    met: list[int] = []

    @app.job(max_attempts=2, backoff=0)
    def long(ctx: ph.Context) -> tuple[int, int]:
        sums = ctx.keep("sums", [0])
        for batch in ctx.slices(range(20), name="first", size=5, tolerate=5):
            with batch.transaction() as connection:
                for item in batch:
                    with batch.tolerate(item):
                        met.append(item)
                        connection.execute(insert(item))
                        if item in bad:
                            raise ValueError(f"{item} is bad")
                        sums[0] += item
        for batch in ctx.slices(range(5), name="second"):
            met.extend(batch)
        return sums[0], ctx.progress.done

    @app.job(max_attempts=2, backoff=0)
    async def along(ctx: ph.Context) -> tuple[int, int]:
        sums = ctx.keep("sums", [0])
        async for batch in ctx.slices(range(20), name="first", size=5, tolerate=5):
            async with batch.transaction() as connection:
                for item in batch:
                    async with batch.tolerate(item):
                        met.append(item)
                        await connection.execute(insert(item))
                        if item in bad:
                            raise ValueError(f"{item} is bad")
                        sums[0] += item
        async for batch in ctx.slices(range(5), name="second"):
            met.extend(batch)
        return sums[0], ctx.progress.done

    with app.worker():
        job = along.enqueue() if is_async else long.enqueue()
        assert job.result(timeout=30) == (160, 25)
        met.clear()
        bad -= {3, 17}
        first = job.attempts()
        assert job.retry_bad_items() == "pending"
        assert job.result(timeout=30) == (180, 25)
        assert [attempt.outcome for attempt in job.attempts()] == ["completed", "completed"]
        assert job.attempts()[:1] == first
        assert [attempt.worker for attempt in job.attempts()] == [f"{socket.gethostname()}:embedded"] * 2
        assert met == [3, 10, 17]
        assert [(one.number, one.item, one.error.message) for one in job.bad_items()] == [(2, 10, "10 is bad")]
        bad.clear()
        job.retry_bad_items()
        assert job.result(timeout=30) == (190, 25)
    assert job.bad_items() == []
    assert effects() == list(range(20))
    assert job.status().progress.done == 25
    with pytest.raises(ph.InvalidTransition, match="has none"):
        job.retry_bad_items()


def test_a_failed_job_takes_up_its_bad_items_and_then_goes_on(app: ph.Posthorse) -> None:
    met: list[int] = []
    is_mended: list[bool] = []

    @app.job(max_attempts=1)
    def long(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(12), size=4, tolerate=1):
            for item in batch:
                with batch.tolerate(item):
                    met.append(item)
                    if item in (2, 5) and not is_mended:
                        raise ValueError
        return ctx.progress.done

    with app.worker():
        job = long.enqueue()
        until_state(job, "failed")
        assert [one.item for one in job.bad_items()] == [2, 5]
        met.clear()
        is_mended.append(True)
        job.retry_bad_items()
        assert job.result(timeout=30) == 12
    assert met == [2, *range(4, 12)]
    assert job.bad_items() == []


def test_a_retry_is_refused_where_there_is_nothing_to_retry(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job
    def plain() -> None: ...

    job = plain.enqueue()
    with pytest.raises(ph.InvalidTransition, match="is pending"):
        job.retry_bad_items()
    with app.worker():
        job.result(timeout=30)
    with pytest.raises(ph.InvalidTransition, match="no bad items"):
        job.retry_bad_items()
    missing = app.get_job("01936f5e-7c1a-7d2b-8e3f-0123456789ab")
    with pytest.raises(ph.JobNotFound):
        missing.retry_bad_items()
    with pytest.raises(ph.JobNotFound):
        missing.bad_items()
    app.close()


def test_bad_items_have_async_twins(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(2), tolerate=1):
            with batch.tolerate(batch[1]):
                raise ValueError

    async def use() -> None:
        job = await long.aenqueue()
        await job.aresult(timeout=30)
        assert [one.item for one in await job.abad_items()] == [1]
        assert await job.aretry_bad_items() == "pending"

    with app.worker():
        asyncio.run(use())
    app.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    count=st.integers(1, 30),
    size=st.integers(1, 9),
    bad=st.sets(st.integers(0, 29), max_size=8),
    budget=st.integers(0, 8),
    broken=st.lists(st.integers(0, 29), max_size=4),
)
def test_whatever_breaks_in_between_each_bad_item_is_counted_and_kept_once(
    count: int, size: int, bad: set[int], budget: int, broken: list[int]
) -> None:
    """Items of `broken` fail their attempt once each, in mid-slice; the bad ones are always bad."""
    with tempfile.TemporaryDirectory() as folder:
        app = ph.Posthorse(f"sqlite:///{Path(folder)}/jobs.db", lease="6s")
        to_break = list(broken)

        @app.job(max_attempts=50, backoff=0)
        def long(ctx: ph.Context) -> int:
            for batch in ctx.slices(range(count), size=size, tolerate=budget):
                for item in batch:
                    with batch.tolerate(item, ValueError):
                        if item in bad:
                            raise ValueError
                    if item in to_break:
                        to_break.remove(item)
                        raise RuntimeError
            return ctx.progress.done

        met = sorted(item for item in bad if item < count)
        with app.worker():
            job = long.using(max_attempts=len(broken) + 1).enqueue()
            if len(met) <= budget:
                assert job.result(timeout=30) == count
                assert [one.item for one in job.bad_items()] == met
            else:
                assert until_state(job, "failed").progress.done == met[budget] // size * size
                assert [one.item for one in job.bad_items()] == met[: budget + 1]
        app.close()


def test_what_cannot_be_tolerated_or_read_is_refused_by_name(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def name_an_error(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3), tolerate=3):
            with batch.tolerate(batch[0], "ValueError"):  # type: ignore[arg-type]  # what untyped code does
                raise ValueError

    with app.worker():
        job = name_an_error.enqueue()
        with pytest.raises(ph.JobFailed, match="takes classes of exceptions, not 'ValueError'"):
            job.result(timeout=30)
    with pytest.raises(ph.InvalidOption, match="after is 'last'"):
        job.bad_items(after="last")  # type: ignore[arg-type]  # as above


def test_a_retry_that_is_broken_off_goes_on_where_it_was(app: ph.Posthorse) -> None:
    met: list[int] = []
    is_mended: list[bool] = []

    @app.job(max_attempts=2, backoff=0)
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(6), size=2, tolerate=6):
            for item in batch:
                with batch.tolerate(item, ValueError):
                    met.append(item)
                    if not is_mended or item == 0:
                        raise ValueError
            if is_mended and ctx.attempt == 1 and 2 in batch:
                raise RuntimeError("its second slice is broken off")

    with app.worker():
        job = long.enqueue()
        job.result(timeout=30)
        met.clear()
        is_mended.append(True)
        job.retry_bad_items()
        job.result(timeout=30)
    assert met == [0, 1, 2, 3, 2, 3, 4, 5]
    assert [one.item for one in job.bad_items()] == [0]


def test_bad_items_of_earlier_attempts_count_in_the_budget(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0)
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(9), size=1, tolerate=2):
            with batch.tolerate(batch[0], ValueError):
                if batch[0] in (1, 3, 6):
                    raise ValueError
            if batch[0] == 4 and ctx.attempt == 1:
                raise RuntimeError

    with app.worker():
        job = long.enqueue()
        status = until_state(job, "failed", "completed")
    assert status.state == "failed"
    assert status.error is not None
    assert "3 bad items of 7" in status.error.message
    assert status.progress.done == 6


def test_the_number_of_a_bad_item_that_was_mended_is_not_given_again(app: ph.Posthorse) -> None:
    """It would replace another item that is still bad."""
    bad = {1, 5}

    @app.job(max_attempts=1)
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(12), size=4, tolerate=4):
            for item in batch:
                with batch.tolerate(item, ValueError):
                    if item in bad:
                        raise ValueError(item)
            if 9 in batch and 9 not in bad:
                raise RuntimeError

    with app.worker():
        job = long.enqueue()
        until_state(job, "failed")
        assert [(one.number, one.item) for one in job.bad_items()] == [(1, 1), (2, 5)]
        bad.remove(1)
        bad.add(9)
        job.retry_bad_items()
        job.result(timeout=30)
    assert [(one.number, one.item) for one in job.bad_items()] == [(2, 5), (3, 9)]


def test_a_bad_item_that_is_retried_in_vain_tells_its_latest_error(app: ph.Posthorse) -> None:
    errors = iter([ValueError("first"), KeyError("second")])

    @app.job
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3), tolerate=1):
            for item in batch:
                with batch.tolerate(item):
                    if item == 1:
                        raise next(errors)

    with app.worker():
        job = long.enqueue()
        job.result(timeout=30)
        [first] = job.bad_items()
        job.retry_bad_items()
        job.result(timeout=30)
    [second] = job.bad_items()
    assert (str(first.error), str(second.error)) == ("ValueError: first", "KeyError: 'second'")
    assert (first.number, first.item) == (second.number, second.item)
    assert first.at < second.at
    assert second.error.traceback is not None
    assert "next(errors)" in second.error.traceback


def test_bad_items_come_page_by_page_through_all_loops(app: ph.Posthorse) -> None:
    @app.job
    def long(ctx: ph.Context) -> None:
        for name, count in (("a", 3), ("b", 2), ("c", 4)):
            for batch in ctx.slices(range(count), name=name, tolerate=9):
                for item in batch:
                    with batch.tolerate(item):
                        raise ValueError

    with app.worker():
        job = long.enqueue()
        job.result(timeout=30)
    expected = [(loop, number + 1) for loop, count in (("a", 3), ("b", 2), ("c", 4)) for number in range(count)]
    for limit in (1, 2, 3, 20):
        found: list[tuple[str, int]] = []
        last = ("", 0)
        while page := app.store.read(bad_items(job.id, loop=last[0], number=last[1], limit=limit)):
            assert len(page) <= limit
            found += [(one.loop, one.number) for one in page]
            last = found[-1]
        assert found == expected
