"""Readers of the stream that are killed and resumed, beside writers and a long transaction: no event is missing, none
comes twice, and every reader has the same order.

A reader is the command `posthorse events --follow --json`. It is killed by SIGKILL after some lines, or while it
starts, and the next one begins behind the last whole line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg
import pytest

import posthorse as ph
from posthorse.app.event_reader import Events
from tests.waiting import until

Event = tuple[str, str]
"""A name and a job."""

Order = list[str]
"""Jobs in the order in which one writer enqueued them."""

Connection = sqlite3.Connection | psycopg.Connection

LIFE = ("submitted", "started", "completed")
MAX_LINES = 150
"""Lines of one life: a little more than what the writers cause meanwhile, so that readers also wait for news."""
PAUSE = 0.25
"""Seconds between two commits of a writer."""
TOLD_EVERYWHERE = 1.5
"""Seconds after which every process knows that something watches."""


class KilledReader:
    """A reader that is killed again and again; it goes on behind what it printed."""

    def __init__(self, url: str, cursor: str, dice: random.Random) -> None:
        self.seen: list[Event] = []
        self._url = url
        self._cursor = cursor
        self._dice = dice

    def live(self) -> None:
        """Read until killed: after some lines, or at some moment of the start."""
        process = self._start()
        assert process.stdout is not None
        with process:
            if self._dice.random() < 0.2:
                time.sleep(self._dice.uniform(0, 0.8))
            for _ in range(self._dice.randint(0, MAX_LINES)):
                self._take(process.stdout.readline())
            process.kill()
            for line in process.stdout:
                self._take(line)
        assert process.returncode == -signal.SIGKILL

    def read_until(self, is_enough: Callable[[], bool]) -> None:
        """Read without being killed until this is so."""
        process = self._start()
        assert process.stdout is not None
        with process:
            while not is_enough() and process.poll() is None:
                self._take(process.stdout.readline())
            process.kill()
        assert process.returncode == -signal.SIGKILL

    def _start(self) -> subprocess.Popen[str]:
        command = ["events", "--follow", "--json", "--after", self._cursor, "--url", self._url]
        return subprocess.Popen([sys.executable, "-m", "posthorse", *command], stdout=subprocess.PIPE, text=True)

    def _take(self, line: str) -> None:
        if line.endswith("\n"):  # else it was killed within the line, and the next one prints it
            event = json.loads(line)
            assert "job" in event, event  # one without was missed
            self.seen.append((event["name"], event["job"]))
            self._cursor = event["cursor"]


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(0)])])
def test_readers_that_are_killed_and_resumed_miss_nothing_and_read_nothing_twice(store_url: str, kills: int) -> None:
    seed = int(os.environ.get("CRASH_SEED", random.randrange(10**6)))
    sys.stdout.write(f"seed {seed}; again: CRASH_SEED={seed}\n")
    app = ph.Posthorse(store_url)
    app.migrate()
    work = app.job(kind="work")(_work)
    steady: list[Event] = []

    def follow(events: Events) -> None:
        for event in events:
            assert isinstance(event, ph.events.JobEvent), event
            steady.append((event.name, event.job))

    with closing(app), app.events(follow=True) as events, app.worker(concurrency=4), ThreadPoolExecutor(4) as pool:
        assert events.cursor is not None
        killed = KilledReader(store_url, events.cursor, random.Random(seed))
        time.sleep(TOLD_EVERYWHERE)
        following = pool.submit(follow, events)
        try:
            with _long_transaction(pool, store_url, work) as late:
                with _writing(pool, app, work, seed) as orders:
                    for _ in range(kills):
                        killed.live()
                if store_url.startswith("postgresql"):
                    assert not {job for _, job in steady} & set(late), "seen before it was committed"
            orders.append(late)
            jobs = [job for order in orders for job in order]
            until(lambda: len(steady) >= len(LIFE) * len(jobs), what="the steady reader has all")
            killed.read_until(lambda: len(killed.seen) >= len(steady))
        finally:
            events.close()
        following.result()
        assert [*app.events(after=events.cursor)] == []
    assert killed.seen == steady
    assert sorted(steady) == sorted((name, job) for job in jobs for name in LIFE)
    for order in orders:
        assert [job for name, job in steady if name == "submitted" and job in set(order)] == order


async def _work() -> None: ...


@contextmanager
def _writing(pool: ThreadPoolExecutor, app: ph.Posthorse, work: ph.Kind[[], None], seed: int) -> Iterator[list[Order]]:
    """Let two writers enqueue; the list that is yielded has the jobs of each when the block has ended."""
    orders: list[Order] = []
    is_over = threading.Event()

    def write(seed: int) -> Order:
        dice, order = random.Random(seed), Order()
        with closing(_connected(app.settings.url)) as connection:
            while not is_over.wait(PAUSE):
                order += [job.id for job in app.enqueue_many([work.bind()] * dice.randint(1, 4))]
                if dice.random() < 0.2:
                    _begin(connection)
                    work.using(connection=connection).enqueue()
                    connection.rollback()
        return order

    writers = [pool.submit(write, seed + number) for number in (1, 2)]
    try:
        yield orders
    finally:
        is_over.set()
    orders += [writer.result() for writer in writers]


@contextmanager
def _long_transaction(pool: ThreadPoolExecutor, url: str, work: ph.Kind[[], None]) -> Iterator[Order]:
    """Hold a transaction open that enqueued jobs; on SQLite, where writers wait for it, for a second."""
    jobs, may_end = Order(), threading.Event()

    def hold() -> None:
        with closing(_connected(url)) as connection:
            _begin(connection)
            jobs.extend(work.using(connection=connection).enqueue().id for _ in range(3))
            may_end.wait(1.0 if url.startswith("sqlite") else None)
            connection.commit()

    holding = pool.submit(hold)
    try:
        until(lambda: len(jobs) == 3)
        yield jobs
    finally:
        may_end.set()
        holding.result()


def _connected(url: str) -> Connection:
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)
    return psycopg.connect(url)


def _begin(connection: Connection) -> None:
    connection.execute("BEGIN IMMEDIATE" if isinstance(connection, sqlite3.Connection) else "SELECT 1")
