"""Bad items of a job that was cut: one list, one count, one budget over all parts, and one retry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import posthorse as ph
from posthorse.errors import InvalidTransition, JobFailed, JobNotFound, ToleranceExceeded
from posthorse.store.operations.bad_items_of_parts import count_bad_items
from tests.effects import effects_of, insert, make_effects

IsBad = Callable[[int], bool]


def cut(app: ph.Posthorse, is_bad: IsBad, tolerate: int | str, *, items: int = 40) -> ph.Kind[[], int]:
    """Declare a job of four parts, whose items are numbers, of which some are bad."""

    @app.job(shards=4, max_attempts=1)
    def work(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(items), size=5, tolerate=tolerate):
            for number in batch:
                with batch.tolerate(number):
                    if is_bad(number):
                        raise ValueError(f"{number} is bad")
        return ctx.progress.done

    work.combine(sum)
    return work


def numbers(bad: list[ph.BadItem]) -> list[object]:
    return [one.item for one in bad]


def test_they_are_one_list_over_all_parts(app: ph.Posthorse) -> None:
    work = cut(app, lambda number: number % 5 == 0, 8)
    with app.worker(concurrency=4):
        job = work.enqueue()
        assert job.result(timeout=30) == 40
    found = job.bad_items()
    assert numbers(found) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert [(bad.shard, bad.number) for bad in found] == [(part, number) for part in range(4) for number in (1, 2)]
    assert str(found[3].error) == "ValueError: 15 is bad"
    assert app.store.read(count_bad_items(job.id)) == 8
    pages: list[ph.BadItem] = []
    while page := job.bad_items(limit=3, after=pages[-1] if pages else None):
        pages += page
    assert pages == found
    assert asyncio.run(_alist(job)) == found
    [first, *_] = app.jobs(f"parent:{job.id}")
    assert len(first.bad_items()) == 2
    assert [bad.shard for bad in first.bad_items()] == [None, None]


async def _alist(job: ph.Job[int]) -> list[ph.BadItem]:
    return await job.abad_items()


def test_a_job_that_was_not_cut_and_one_that_is_unknown_have_none(app: ph.Posthorse) -> None:
    @app.job
    def plain() -> None: ...

    assert plain.enqueue().bad_items() == []
    with pytest.raises(JobNotFound):
        app.get_job("01936f5e-7c1a-7d2b-8e3f-0123456789ab").bad_items()


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("in_transaction", [False, True])
def test_the_budget_is_that_of_all_parts_together(app: ph.Posthorse, is_async: bool, in_transaction: bool) -> None:
    """Each part has one bad item, which alone is within the budget. What the slice of the fourth wrote is undone."""
    make_effects(app, are_unique=True)

    @app.job(shards=4, max_attempts=1)
    def plain(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(8), size=2, tolerate=3):
            if not in_transaction:
                _try_each(batch)
                continue
            with batch.transaction() as connection:
                _try_each(batch)
                connection.execute(insert(batch[0]))

    @app.job(shards=4, max_attempts=1)
    async def awaited(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(8), size=2, tolerate=3):
            if not in_transaction:
                await _atry_each(batch)
                continue
            async with batch.transaction() as connection:
                await _atry_each(batch)
                await connection.execute(insert(batch[0]))

    job: ph.Job[None] = (awaited if is_async else plain).enqueue()
    with app.worker(concurrency=4), pytest.raises(JobFailed, match="1 of 4 parts failed"):
        job.result(timeout=30)
    states = [part.status() for part in app.jobs(f"parent:{job.id}")]
    [failed] = [status for status in states if status.state == "failed"]
    assert "4 bad items of 8 in all parts are more than the 3 that it tolerates" in str(failed.error)
    assert sorted(bad.item for bad in job.bad_items()) == [1, 3, 5, 7]  # type: ignore[type-var]  # numbers
    assert job.status().progress.done == 6
    assert len(effects_of(app)) == (3 if in_transaction else 0)


def _try_each(batch: ph.Batch[int]) -> None:
    for number in batch:
        with batch.tolerate(number):
            if number % 2:
                raise ValueError(number)


async def _atry_each(batch: ph.Batch[int]) -> None:
    for number in batch:
        async with batch.tolerate(number):
            if number % 2:
                raise ValueError(number)


@pytest.mark.parametrize(("tolerate", "is_enough"), [("10%", True), ("9%", False)])
@pytest.mark.parametrize("items", [40, 400])
def test_a_share_is_one_of_all_parts(app: ph.Posthorse, tolerate: str, is_enough: bool, items: int) -> None:
    """All bad items are the last ones of the last part: too many for it alone. Fewer than 100 are judged at the end."""

    def fetch(after: int, limit: int) -> list[int]:  # whose end is found by an empty slice
        return list(range(after + 1, min(after + limit, items) + 1))

    @app.job(shards=4, max_attempts=1)
    def work(ctx: ph.Context) -> int:
        for batch in ctx.slices(ph.keyset(fetch, key=int, start=0, stop=items), size=5, tolerate=tolerate):
            for number in batch:
                with batch.tolerate(number):
                    if number > items - items // 10:
                        raise ValueError(number)
        return ctx.progress.done

    work.combine(sum)
    job = work.enqueue()
    with app.worker(concurrency=1):  # the last part knows of all others
        if is_enough:
            assert job.result(timeout=30) == items
        else:
            with pytest.raises(JobFailed, match="1 of 4 parts failed"):
                job.result(timeout=30)
            errors = [str(part.status().error) for part in app.jobs(f"parent:{job.id} state:failed")]
            assert f"in all parts are more than the {tolerate}" in errors[0]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_part_goes_on_after_its_last_empty_slice_was_refused(app: ph.Posthorse, is_async: bool) -> None:
    def fetch(after: int, limit: int) -> list[int]:
        return list(range(after + 1, min(after + limit, 40) + 1))

    @app.job(shards=4, max_attempts=1)
    def plain(ctx: ph.Context) -> str:
        try:
            for batch in ctx.slices(ph.keyset(fetch, key=int, start=0, stop=41), size=1, tolerate="9%"):
                _try_each(batch)
        except ToleranceExceeded:
            return "too many"
        return "enough"

    @app.job(shards=4, max_attempts=1)
    async def awaited(ctx: ph.Context) -> str:
        try:
            async for batch in ctx.slices(ph.keyset(fetch, key=int, start=0, stop=41), size=1, tolerate="9%"):
                await _atry_each(batch)
        except ToleranceExceeded:
            return "too many"
        return "enough"

    job: ph.Job[Any] = (awaited if is_async else plain).enqueue()
    with app.worker(concurrency=1):  # the last part knows of all others
        assert job.result(timeout=30) == [*["enough"] * 3, "too many"]


def test_the_parts_that_have_some_are_retried_and_joined_again(app: ph.Posthorse) -> None:
    broken = {3, 17}
    work = cut(app, lambda number: number in broken, 5)
    met: list[Any] = []
    with app.worker(concurrency=4):
        job = work.enqueue()
        assert job.result(timeout=30) == 40
        with pytest.raises(InvalidTransition, match="is completed"):
            job.retry()
        broken.clear()
        assert job.retry_bad_items() == "blocked"
        assert job.result(timeout=30) == 40
        met += job.bad_items()
        with pytest.raises(InvalidTransition, match="no bad items that could be retried in any of its 4 parts"):
            job.retry_bad_items()
    assert met == []
    attempts = {len(part.attempts()) for part in app.jobs(f"parent:{job.id}")}
    assert attempts == {1, 2}


def test_a_failed_job_goes_on_in_all_its_parts(app: ph.Posthorse) -> None:
    broken, raises = {3}, {25}

    def is_bad(number: int) -> bool:
        if number in raises:
            raise SystemError("not a bad item")
        return number in broken

    @app.job(shards=4, max_attempts=1)
    def work(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(40), size=5, tolerate=5):
            for number in batch:
                with batch.tolerate(number, ValueError):
                    if is_bad(number):
                        raise ValueError(number)
        return ctx.progress.done

    work.combine(sum)
    with app.worker(concurrency=4):
        job = work.enqueue()
        with pytest.raises(JobFailed):
            job.result(timeout=30)
        broken.clear()
        raises.clear()
        job.retry_bad_items()
        assert job.result(timeout=30) == 40
    assert job.bad_items() == []
