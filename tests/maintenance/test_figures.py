"""The process that leads samples depths and folds figures; an idle store gets nothing to keep."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

import posthorse as ph
from posthorse.clock import Clock
from posthorse.maintenance.chores import all_chores
from posthorse.maintenance.sweep import Sweeper
from posthorse.rules.lifecycle import Policy
from posthorse.rules.tuning import Tuning
from posthorse.store.operations.runners import Runner, register
from posthorse.store.operations.tallies import Counted, TallyBatch, beside_tallies, tallies, write_tallies
from tests.waiting import auntil

LEASE = 3.0
EVER = 2 * 10**15
QUICK = Tuning(depths_interval=0.02, fold_interval=0.02)


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, clock=Clock(), lease="6s", tuning=QUICK)
    app.migrate()
    yield app
    app.close()


@asynccontextmanager
async def sweeping(app: ph.Posthorse) -> AsyncIterator[None]:
    sweeper = Sweeper(app.store, "one", all_chores(app.store, lease=LEASE, policy=Policy()), lease=LEASE)
    task = asyncio.create_task(sweeper.run_forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def depths(app: ph.Posthorse) -> list[tuple[str, int]]:
    return [(row.queue, row.waiting) for row in (await app.store.aread(beside_tallies(0, EVER))).depths]


async def spans(app: ph.Posthorse) -> list[tuple[int, int]]:
    return sorted((row.span, row.times) for row in await app.store.aread(tallies(0, EVER, beyond=0)))


def write(app: ph.Posthorse, *times: int) -> None:
    runner = str(uuid.uuid4())
    app.store.run(register(Runner(runner, "w", "h", 1, "0", 1, (), ()), lease=6_000_000))
    for number, each in enumerate(times, 1):
        counted = Counted("default", "work", "", "completed", each, 0, "{}")
        app.store.run(write_tallies(runner, TallyBatch(number, (counted,), (), None)))


def test_depths_are_sampled_until_the_queue_is_empty_and_once_more(app: ph.Posthorse) -> None:
    @app.job
    def work() -> None: ...

    async def main() -> None:
        jobs = [await work.aenqueue() for _ in range(3)]
        async with sweeping(app):
            await auntil(has(lambda found: ("default", 3) in found))
            for job in jobs:
                await job.acancel()
            await auntil(has(lambda found: ("default", 0) in found))
        assert [waiting for _, waiting in await depths(app)].count(0) == 1

    def has(wanted: Callable[[list[tuple[str, int]]], bool]) -> Callable[[], Awaitable[bool]]:
        async def look() -> bool:
            return wanted(await depths(app))

        return look

    asyncio.run(main())


def test_figures_are_folded_as_they_age(app: ph.Posthorse) -> None:
    write(app, 3, 4)

    async def main() -> None:
        for age, folded in (
            (timedelta(minutes=4), [(60, 7)]),
            (timedelta(days=3), [(3600, 7)]),
            (timedelta(days=100), [(86_400, 7)]),
            (timedelta(days=400), []),
        ):
            app.store.clock.advance(age)
            async with sweeping(app):
                await auntil(becomes(folded))

    def becomes(folded: list[tuple[int, int]]) -> Callable[[], Awaitable[bool]]:
        async def look() -> bool:
            return await spans(app) == folded

        return look

    asyncio.run(main())


def test_two_processes_that_both_fold_count_nothing_twice(app: ph.Posthorse) -> None:
    write(app, *range(1, 20))
    app.store.clock.advance(timedelta(minutes=4))

    async def main() -> None:
        async with sweeping(app), sweeping(app):

            async def look() -> bool:
                return {span for span, _ in await spans(app)} == {60}

            await auntil(look)
        assert sum(times for _, times in await spans(app)) == sum(range(1, 20))

    asyncio.run(main())
