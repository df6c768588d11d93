"""Loops left inside a slice, nested loops, and transactions whose error is caught.

Whatever is saved later, kept values belong to the cursors beside them, so nothing counts twice when the job runs again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress

import pytest

import posthorse as ph

LEAVINGS = ("break", "error", "close", "return")


def _find(ctx: ph.Context, seen: list[int], how: str) -> None:
    batches = ctx.slices(range(100), size=10, name="find")
    if how == "close":
        walk: Iterator[Sequence[int]] = iter(batches)
        while 25 not in seen and (items := next(walk, None)) is not None:
            seen.extend(items)
        return
    for batch in batches:
        seen.extend(batch)
        if 25 in batch:
            if how == "error":
                raise LookupError
            if how == "return":
                return
            break


async def _afind(ctx: ph.Context, seen: list[int], how: str) -> None:
    batches = ctx.slices(range(100), size=10, name="find")
    if how == "close":
        walk: AsyncIterator[Sequence[int]] = aiter(batches)
        while 25 not in seen and (items := await anext(walk, None)) is not None:
            seen.extend(items)
        return
    async for batch in batches:
        seen.extend(batch)
        if 25 in batch:
            if how == "error":
                raise LookupError
            if how == "return":
                return
            break


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("how", LEAVINGS)
def test_a_slice_that_was_left_is_run_again_and_counted_once(app: ph.Posthorse, how: str, is_async: bool) -> None:
    runs: list[int] = []

    @app.job(max_attempts=2, backoff=0)
    def report(ctx: ph.Context, how: str) -> tuple[list[int], int]:
        seen, written = ctx.keep("seen", list[int]()), ctx.keep("written", [0])
        with suppress(LookupError):
            _find(ctx, seen, how)
        runs.append(len(seen))
        for batch in ctx.slices(range(9), size=3, name="write"):
            written[0] += len(batch)
            if ctx.attempt == 1 and 4 in batch:
                raise ValueError
        return seen, written[0]

    @app.job(max_attempts=2, backoff=0)
    async def areport(ctx: ph.Context, how: str) -> tuple[list[int], int]:
        seen, written = ctx.keep("seen", list[int]()), ctx.keep("written", [0])
        with suppress(LookupError):
            await _afind(ctx, seen, how)
        runs.append(len(seen))
        async for batch in ctx.slices(range(9), size=3, name="write"):
            written[0] += len(batch)
            if ctx.attempt == 1 and 4 in batch:
                raise ValueError
        return seen, written[0]

    with app.worker():
        job = areport.enqueue(how) if is_async else report.enqueue(how)
        assert job.result(timeout=30) == (list(range(30)), 9)
    assert runs == [30, 30]


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("how", LEAVINGS)
def test_a_value_that_goes_on_after_its_slice_was_left_is_counted_once(
    app: ph.Posthorse, how: str, is_async: bool
) -> None:
    """It can neither be held back nor be saved without that slice, so the loop counts as over."""

    @app.job(max_attempts=3, backoff=0)
    def report(ctx: ph.Context, how: str) -> list[int]:
        seen = ctx.keep("seen", list[int]())
        with suppress(LookupError):
            _find(ctx, seen, how)
        for batch in ctx.slices(range(100, 109), size=3, name="write"):
            seen.extend(batch)
            if ctx.attempt == 1 + batch.number:
                raise ValueError
        return seen

    @app.job(max_attempts=3, backoff=0)
    async def areport(ctx: ph.Context, how: str) -> list[int]:
        seen = ctx.keep("seen", list[int]())
        with suppress(LookupError):
            await _afind(ctx, seen, how)
        async for batch in ctx.slices(range(100, 109), size=3, name="write"):
            seen.extend(batch)
            if ctx.attempt == 1 + batch.number:
                raise ValueError
        return seen

    with app.worker():
        job = areport.enqueue(how) if is_async else report.enqueue(how)
        assert job.result(timeout=30) == [*range(30), *range(100, 109)]


def test_checkpoints_after_a_loop_that_was_left_save_what_its_slice_did_not_change(app: ph.Posthorse) -> None:
    @app.job(max_attempts=9, backoff=0)
    def report(ctx: ph.Context) -> tuple[list[int], int]:
        seen, steps = ctx.keep("seen", list[int]()), ctx.keep("steps", [0])
        _find(ctx, seen, "break")
        while steps[0] < 3:
            steps[0] += 1
            ctx.checkpoint()
            raise ValueError("one step an attempt")
        return seen, steps[0]

    with app.worker():
        job = report.enqueue()
        assert job.result(timeout=30) == (list(range(30)), 3)
    assert job.status().attempt == 4


def test_a_loop_that_is_entered_again_meets_its_slice_with_the_values_of_then(app: ph.Posthorse) -> None:
    @app.job
    def report(ctx: ph.Context) -> tuple[list[int], dict[str, int]]:
        seen, counts = ctx.keep("seen", list[int]()), ctx.keep("counts", {"slices": 0})
        batches = ctx.slices(range(50), size=10)
        failures = iter([25, 35])
        bad = next(failures)
        while True:
            try:
                for batch in batches:
                    counts["slices"] += 1
                    seen.extend(batch)
                    if bad in batch:
                        bad = next(failures, -1)
                        raise ConnectionError
                return seen, counts
            except ConnectionError:
                continue

    with app.worker():
        assert report.enqueue().result(timeout=30) == (list(range(50)), {"slices": 5})


def test_values_of_nested_loops_each_follow_their_own_cursor(app: ph.Posthorse) -> None:
    @app.job(max_attempts=9, backoff=0)
    def nested(ctx: ph.Context) -> tuple[list[int], list[str]]:
        outers, inners = ctx.keep("outers", list[int]()), ctx.keep("inners", list[str]())
        for outer in ctx.slices(range(3), size=1, name="outer"):
            outers.extend(outer)
            for inner in ctx.slices(range(3), size=1, name=f"inner-{outer[0]}"):
                place = f"{outer[0]}.{inner[0]}"
                inners.append(place)
                if place in ("0.1", "1.2", "2.0") and place not in told:
                    told.add(place)
                    raise ValueError
        return outers, inners

    told: set[str] = set()
    with app.worker():
        outers, inners = nested.enqueue().result(timeout=30)
    assert outers == [0, 1, 2]
    assert inners == [f"{outer}.{inner}" for outer in range(3) for inner in range(3)]


def test_one_value_cannot_follow_two_cursors(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def nested(ctx: ph.Context) -> None:
        count = ctx.keep("count", [0])
        for _ in ctx.slices(range(2), size=1, name="outer"):
            count[0] += 1
            for _ in ctx.slices(range(2), size=1, name="inner"):
                count[0] += 1

    words = r"kept value 'count' .* loop 'outer' .* loop 'inner' .* of its own"
    with app.worker(), pytest.raises(ph.JobFailed, match=words):
        nested.enqueue().result(timeout=30)


def test_what_an_inner_loop_changed_before_it_was_left_is_saved_with_the_slice_around_it(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0)
    def nested(ctx: ph.Context) -> list[int]:
        found = ctx.keep("found", list[int]())
        for outer in ctx.slices(range(4), size=1, name="outer"):
            for inner in ctx.slices(range(9), size=3, name=f"inner-{outer[0]}"):
                if 4 in inner:
                    found.append(outer[0])
                    break
            if ctx.attempt == 1 and 2 in outer:
                raise ValueError
        return found

    with app.worker():
        assert nested.enqueue().result(timeout=30) == [0, 1, 2, 3]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_transaction_that_is_rolled_back_takes_kept_values_and_bad_items_back(
    app: ph.Posthorse, is_async: bool
) -> None:
    """All rows at once, and one by one if that fails: a loop that users may well write."""

    @app.job
    def load(ctx: ph.Context) -> tuple[list[int], int]:
        loaded, seen = ctx.keep("loaded", list[int]()), ctx.keep("seen", [0])
        for batch in ctx.slices(range(9), size=3, tolerate=5):
            seen[0] += len(batch)
            try:
                with batch.transaction():
                    _load(batch, loaded, strict=True)
            except LookupError:
                with batch.transaction():
                    _load(batch, loaded, strict=False)
        return loaded, seen[0]

    @app.job
    async def aload(ctx: ph.Context) -> tuple[list[int], int]:
        loaded, seen = ctx.keep("loaded", list[int]()), ctx.keep("seen", [0])
        async for batch in ctx.slices(range(9), size=3, tolerate=5):
            seen[0] += len(batch)
            try:
                async with batch.transaction():
                    await _aload(batch, loaded, strict=True)
            except LookupError:
                async with batch.transaction():
                    await _aload(batch, loaded, strict=False)
        return loaded, seen[0]

    def _load(batch: ph.Batch[int], loaded: list[int], *, strict: bool) -> None:
        for item in batch:
            with batch.tolerate(item, ValueError):
                if item == 3:
                    raise ValueError
                loaded.append(item)
            if strict and item == 5:
                raise LookupError

    async def _aload(batch: ph.Batch[int], loaded: list[int], *, strict: bool) -> None:
        for item in batch:
            async with batch.tolerate(item, ValueError):
                if item == 3:
                    raise ValueError
                loaded.append(item)
            if strict and item == 5:
                raise LookupError

    with app.worker():
        job = aload.enqueue() if is_async else load.enqueue()
        assert job.result(timeout=30) == ([0, 1, 2, 4, 5, 6, 7, 8], 9)
    assert [(bad.number, bad.item) for bad in job.bad_items()] == [(1, 3)]
