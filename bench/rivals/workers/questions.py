"""How a rival's client answers the harness: a word and a number a line come in, a number goes out.

The client times its own enqueueing, so that no pipe is part of a figure.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod

URL = "RIVAL_URL"
ANSWER = "answer "
"""What answers begin with; a library may print whatever it likes beside them."""

BATCH = 1_000
"""Jobs that are enqueued in one call, by whoever can."""


class Client(ABC):
    """Whoever enqueues at a rival."""

    @abstractmethod
    def prepare(self) -> None:
        """Makes the schema, and opens what enqueueing needs."""

    @abstractmethod
    def enqueue_in_bulk(self, count: int) -> None:
        """So many jobs that do nothing, in the best way there is."""

    @abstractmethod
    def enqueue_singly(self, count: int) -> None:
        """The same, each awaited before the next."""

    @abstractmethod
    def enqueue_pickup(self, sent: int) -> None:
        """One job that notes how long ago `sent` was when its code began."""

    @abstractmethod
    def left(self) -> int:
        """How many jobs wait, run, or ran without the store knowing."""


def store_url() -> str:
    """Where the jobs lie."""
    return os.environ.get(URL, "")


def answer(client: Client) -> None:
    """Serves the harness until it hangs up."""
    for line in sys.stdin:
        word, number = line.split()
        print(f"{ANSWER}{_answer(client, word, int(number))}", flush=True)


def _answer(client: Client, word: str, number: int) -> float:
    began = time.perf_counter()
    match word:
        case "prepare":
            client.prepare()
        case "bulk":
            client.enqueue_in_bulk(number)
        case "singly":
            client.enqueue_singly(number)
        case "pickup":
            client.enqueue_pickup(time.monotonic_ns())
        case "left":
            return client.left()
        case _:
            raise ValueError(f"nobody taught this client {word!r}")
    return time.perf_counter() - began
