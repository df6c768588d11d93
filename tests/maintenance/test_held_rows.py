"""A process that was stopped in the middle of a transaction holds rows; the chores of others must not wait for them.

A chore that waits would hold up the sweep behind it, and with it the rescue of the jobs of that very process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

import posthorse as ph
from posthorse.clock import Clock
from posthorse.maintenance.chores.base import Chore
from posthorse.maintenance.chores.events import ForgetEvents
from posthorse.maintenance.chores.expired_keys import ForgetExpiredKeys
from posthorse.maintenance.chores.figures import FoldFigures, SampleDepths
from posthorse.maintenance.chores.lanes import EnterLanes
from posthorse.maintenance.chores.retention import ForgetOldJobs, retention_of
from posthorse.rules.tuning import Tuning
from posthorse.rules.watched import Interest
from posthorse.store.operations import telling
from posthorse.store.operations.observing import enter_reader
from posthorse.store.operations.runners import next_due
from tests.waiting import until_state

TABLES = ("jobs", "keys", "keeps", "tallies", "meta", "depths", "errors", "parked", "events", "logs")
OF_EVENTS = ("stream", "ticks", "watchers", "readers")
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(postgres_url: str, clock: Clock) -> Iterator[ph.Posthorse]:
    tuning = Tuning(tallies_interval=0.05, depths_interval=0.0, fold_interval=0.0, keys_interval=0.0)
    app = ph.Posthorse(
        postgres_url, clock=clock, tuning=tuning, keep=ph.Keep(completed="2h", cancelled="2h", logs="1h")
    )
    app.migrate()
    app.store.run(telling.watch("watcher", Interest(), "life", seconds=60.0))
    app.store.run(enter_reader("reader", "life-1-0-0"))

    @app.job(max_attempts=1, unique=True)
    def work(number: int) -> int:
        logging.getLogger("shop").warning("number %d", number)
        return 1 // number

    jobs = app.enqueue_many([work.using(key=ph.Key(f"key {number}", ttl="1h")).bind(number) for number in range(3)])
    with app.worker():
        for job in jobs:
            until_state(job, "completed", "failed")
    yield app
    app.close()


def test_no_chore_waits_for_rows_that_a_stopped_process_holds(
    app: ph.Posthorse, clock: Clock, postgres_url: str
) -> None:
    clock.advance(5 * HOUR)
    chores: list[Chore] = [
        ForgetExpiredKeys(app.store),
        EnterLanes(app.store),
        SampleDepths(app.store),
        FoldFigures(app.store),
        ForgetOldJobs(app.store, retention_of(app.registry, app.settings)),
        ForgetEvents(app.store, 3_600.0),
    ]

    async def run_all() -> None:
        for chore in chores:
            for _ in range(3):
                look = await app.store.aread(next_due())
                try:
                    await asyncio.wait_for(chore.run(look), 5.0)
                except TimeoutError:
                    pytest.fail(f"the chore that should {chore.name} waits")

    with psycopg.connect(postgres_url) as stopped:
        for table in (*TABLES, *OF_EVENTS):
            stopped.execute(f"SELECT 1 FROM posthorse.{table} FOR UPDATE")  # names of our tables
        asyncio.run(run_all())
