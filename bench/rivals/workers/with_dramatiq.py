"""Dramatiq on Redis: threads with a prefetch; it has no call for many jobs."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.rivals.workers.questions import Client, store_url
from bench.rivals.workers.tally import from_environment

tally = from_environment()
broker = RedisBroker(url=store_url())
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(first: int, second: int) -> None:
    tally.note()


@dramatiq.actor
def pickup(sent: int) -> None:
    tally.note_pickup(sent)


def client() -> Client:
    """Return the client."""
    return DramatiqClient()


class DramatiqClient(Client):
    def prepare(self) -> None:
        broker.client.ping()

    def enqueue_in_bulk(self, count: int) -> None:
        self.enqueue_singly(count)

    def enqueue_singly(self, count: int) -> None:
        for _ in range(count):
            noop.send(1, 2)

    def enqueue_pickup(self, sent: int) -> None:
        pickup.send(sent)

    def left(self) -> int:
        return int(broker.client.hlen("dramatiq:default.msgs"))  # a message stays there until it is acknowledged
