"""Huey on SQLite (every commit synced) or on Redis; it has no call for many jobs."""

from __future__ import annotations

from huey import Huey, RedisHuey, SqliteHuey

from bench.rivals.workers.questions import Client, store_url
from bench.rivals.workers.tally import from_environment

FILE = "sqlite:///"
tally = from_environment()


def opened(url: str) -> Huey:
    """Open Huey on the store of this URL."""
    if url.startswith(FILE):
        return SqliteHuey("rivals", filename=url.removeprefix(FILE), fsync=True, results=False)
    return RedisHuey("rivals", url=url, results=False)


huey = opened(store_url())


@huey.task()
def noop(first: int, second: int) -> None:
    tally.note()


@huey.task()
def pickup(sent: int) -> None:
    tally.note_pickup(sent)


def client() -> Client:
    """Return the client."""
    return HueyClient()


class HueyClient(Client):
    def prepare(self) -> None:
        huey.pending_count()

    def enqueue_in_bulk(self, count: int) -> None:
        self.enqueue_singly(count)

    def enqueue_singly(self, count: int) -> None:
        for _ in range(count):
            noop(1, 2)

    def enqueue_pickup(self, sent: int) -> None:
        pickup(sent)

    def left(self) -> int:
        return int(huey.pending_count())  # a job leaves the queue when it is taken; nothing is kept after that
