"""Procrastinate on PostgreSQL: coroutines, a pool of connections, `batch_defer_async` for many jobs."""

from __future__ import annotations

import asyncio

from procrastinate import App, PsycopgConnector

from bench.rivals.workers.questions import BATCH, Client, store_url
from bench.rivals.workers.tally import from_environment

CONNECTIONS = 20
tally = from_environment()
app = App(connector=PsycopgConnector(conninfo=store_url(), min_size=4, max_size=CONNECTIONS))


@app.task(name="noop")
async def noop(first: int, second: int) -> None:
    tally.note()


@app.task(name="pickup")
async def pickup(sent: int) -> None:
    tally.note_pickup(sent)


def client() -> Client:
    """Return the client."""
    return ProcrastinateClient()


class ProcrastinateClient(Client):
    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def prepare(self) -> None:
        self._runner.run(self._prepare())

    def enqueue_in_bulk(self, count: int) -> None:
        self._runner.run(self._enqueue_in_bulk(count))

    def enqueue_singly(self, count: int) -> None:
        self._runner.run(self._enqueue_singly(count))

    def enqueue_pickup(self, sent: int) -> None:
        self._runner.run(pickup.defer_async(sent=sent))

    def left(self) -> int:
        return self._runner.run(self._left())

    async def _prepare(self) -> None:
        await app.open_async()
        await app.schema_manager.apply_schema_async()

    async def _enqueue_in_bulk(self, count: int) -> None:
        for first in range(0, count, BATCH):
            await noop.batch_defer_async(*[{"first": 1, "second": 2}] * min(BATCH, count - first))

    async def _enqueue_singly(self, count: int) -> None:
        for _ in range(count):
            await noop.defer_async(first=1, second=2)

    async def _left(self) -> int:
        row = await app.connector.execute_query_one_async(
            "select count(*) as open from procrastinate_jobs where status in ('todo', 'doing')"
        )
        return int(row["open"])
