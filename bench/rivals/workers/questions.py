"""Questions of the harness to a rival's client: each line has a word and a number; the answer is a number.

The client times its own enqueueing, so that no pipe is part of a figure.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod

URL = "RIVAL_URL"
ANSWER = "answer "
"""The beginning of an answer line; a library may print anything on other lines."""

BATCH = 1_000
"""Jobs that one call enqueues, if the system can."""


class Client(ABC):
    """A client that enqueues jobs of a rival."""

    @abstractmethod
    def prepare(self) -> None:
        """Create the schema, and open what enqueueing needs."""

    @abstractmethod
    def enqueue_in_bulk(self, count: int) -> None:
        """Enqueue this many jobs that do nothing, in the best way there is."""

    @abstractmethod
    def enqueue_singly(self, count: int) -> None:
        """Enqueue this many jobs, each awaited before the next."""

    @abstractmethod
    def enqueue_pickup(self, sent: int) -> None:
        """Enqueue a job that records how long after `sent` its code started."""

    @abstractmethod
    def left(self) -> int:
        """Return how many jobs wait, run, or ran without the store knowing."""


def store_url() -> str:
    """Return the URL of the place of the jobs."""
    return os.environ.get(URL, "")


def answer(client: Client) -> None:
    """Answer the harness until it hangs up."""
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
