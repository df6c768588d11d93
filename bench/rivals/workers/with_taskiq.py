"""TaskIQ on Redis streams, with its broker that acknowledges; it has no call for many, so they are sent
concurrently."""

from __future__ import annotations

import asyncio

import uvloop
from redis import Redis
from taskiq_redis import RedisStreamBroker

from bench.rivals.workers.questions import Client, store_url
from bench.rivals.workers.tally import from_environment

SIDE_BY_SIDE = 100
tally = from_environment()
broker = RedisStreamBroker(url=store_url(), max_connection_pool_size=SIDE_BY_SIDE + 10, consumer_id="0")


@broker.task
async def noop(first: int, second: int) -> None:
    tally.note()


@broker.task
async def pickup(sent: int) -> None:
    tally.note_pickup(sent)


def client() -> Client:
    """Return the client."""
    return TaskIQClient()


class TaskIQClient(Client):
    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._redis = Redis.from_url(store_url())

    def prepare(self) -> None:
        self._runner.run(broker.startup())

    def enqueue_in_bulk(self, count: int) -> None:
        self._runner.run(self._enqueue_in_bulk(count))

    def enqueue_singly(self, count: int) -> None:
        self._runner.run(self._enqueue_singly(count))

    def enqueue_pickup(self, sent: int) -> None:
        self._runner.run(self._enqueue_pickup(sent))

    def left(self) -> int:
        (group,) = self._redis.xinfo_groups("taskiq")
        return int(group["pending"]) + int(group["lag"] or 0)

    async def _enqueue_in_bulk(self, count: int) -> None:
        for first in range(0, count, SIDE_BY_SIDE):
            await asyncio.gather(*(noop.kiq(1, 2) for _ in range(min(SIDE_BY_SIDE, count - first))))

    async def _enqueue_singly(self, count: int) -> None:
        for _ in range(count):
            await noop.kiq(1, 2)

    async def _enqueue_pickup(self, sent: int) -> None:
        await pickup.kiq(sent)
