"""Celery on Redis, without results and with a long prefetch, as its page on optimizing says for short tasks."""

from __future__ import annotations

from celery import Celery
from redis import Redis

from bench.rivals.workers.questions import Client, store_url
from bench.rivals.workers.tally import from_environment

PREFETCH = 128
tally = from_environment()
app = Celery("rivals", broker=store_url())
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=PREFETCH, broker_connection_retry_on_startup=True)


@app.task(name="noop")
def noop(first: int, second: int) -> None:
    tally.note()


@app.task(name="pickup")
def pickup(sent: int) -> None:
    tally.note_pickup(sent)


def client() -> Client:
    """Return the client."""
    return CeleryClient()


class CeleryClient(Client):
    def __init__(self) -> None:
        self._redis = Redis.from_url(store_url())

    def prepare(self) -> None:
        self._redis.ping()

    def enqueue_in_bulk(self, count: int) -> None:
        # All of them share a connection, as in Celery's own group.
        with app.producer_or_acquire() as producer:
            for _ in range(count):
                noop.apply_async((1, 2), producer=producer)

    def enqueue_singly(self, count: int) -> None:
        for _ in range(count):
            noop.delay(1, 2)

    def enqueue_pickup(self, sent: int) -> None:
        pickup.delay(sent)

    def left(self) -> int:
        return int(self._redis.llen("celery")) + int(self._redis.hlen("unacked"))
