"""PgQueuer on PostgreSQL: batches are enqueued from lists, claimed in batches, and finished in batches."""

from __future__ import annotations

import asyncio

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.rivals.workers.questions import BATCH, Client, store_url
from bench.rivals.workers.tally import from_environment

PAYLOAD = b"[1, 2]"
CLAIMED = 500
"""Jobs that a worker claims, and completes, at once."""


def work() -> None:
    """Work as `pgq run --batch-size 500` does."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work_for_ever())


async def work_for_ever() -> None:
    tally = from_environment()
    queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(store_url())))

    @queuer.entrypoint("noop")
    async def noop(job: Job) -> None:
        tally.note()

    @queuer.entrypoint("pickup")
    async def pickup(job: Job) -> None:
        tally.note_pickup(int(job.payload or b"0"))

    await queuer.run(batch_size=CLAIMED)


def client() -> Client:
    """Return the client."""
    return PgQueuerClient()


class PgQueuerClient(Client):
    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._queries: Queries

    def prepare(self) -> None:
        self._runner.run(self._prepare())

    def enqueue_in_bulk(self, count: int) -> None:
        self._runner.run(self._enqueue_in_bulk(count))

    def enqueue_singly(self, count: int) -> None:
        self._runner.run(self._enqueue_singly(count))

    def enqueue_pickup(self, sent: int) -> None:
        self._runner.run(self._queries.enqueue("pickup", str(sent).encode()))

    def left(self) -> int:
        sizes = self._runner.run(self._queries.queue_size())
        return sum(size.count for size in sizes)

    async def _prepare(self) -> None:
        self._queries = Queries(AsyncpgDriver(await asyncpg.connect(store_url())))
        await self._queries.install()

    async def _enqueue_in_bulk(self, count: int) -> None:
        for first in range(0, count, BATCH):
            size = min(BATCH, count - first)
            await self._queries.enqueue(["noop"] * size, [PAYLOAD] * size, [0] * size)

    async def _enqueue_singly(self, count: int) -> None:
        for _ in range(count):
            await self._queries.enqueue("noop", PAYLOAD)
