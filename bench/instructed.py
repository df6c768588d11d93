"""What `instructions` counts: works of Posthorse, each in a process that does nothing else; the store has its schema.

Knows nothing of the counting but that it makes everything slow.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable

import uvloop
from msgspec import structs

from bench.application import app, noop, opened
from bench.forked import do_as_told
from posthorse.store.operations.runners import register
from posthorse.worker.assembly import make_job_loop, make_runner
from posthorse.worker.heartbeat import retire_quietly

SLOWER = 50
"""How many times valgrind slows a program down."""

PACES = (
    *("prefetch", "start_time", "news_interval", "request_interval"),
    *("admission_interval", "log_check_interval", "lock_check_interval"),
)
"""What is done by the clock, which does not slow down: these would come so much more often for a job."""

LEASE = 3_600_000_000
"""Microseconds; nobody beats."""

CALL = 1_000

is_over = asyncio.Event()


@app.job
async def leave() -> None:
    """Ends the work: the last job in the store."""
    is_over.set()


def enqueue_singly(url: str, jobs: int) -> None:
    """One after the other."""
    with opened(url):
        for number in range(jobs):
            noop.enqueue(number, 2)


def aenqueue_singly(url: str, jobs: int) -> None:
    """One after the other, from a coroutine."""

    async def enqueue() -> None:
        for number in range(jobs):
            await noop.aenqueue(number, 2)

    with opened(url):
        uvloop.run(enqueue())


def enqueue_in_bulk(url: str, jobs: int) -> None:
    """CALL of them in a call."""
    with opened(url):
        for first in range(0, jobs, CALL):
            app.enqueue_many([noop.bind(number, 2) for number in range(first, first + CALL)])


def work(url: str, concurrency: int) -> None:
    """Runs what lies in the store, up to `leave`, as a runner does; only its supervisor is missing."""
    with opened(url), open(os.devnull, "w", encoding="utf-8") as log:
        logging.basicConfig(level=logging.INFO, stream=log)
        uvloop.run(_work(concurrency))


async def _work(concurrency: int) -> None:
    runner = make_runner(app.registry, queues=(), labels=(), concurrency=concurrency, worker="instructed")
    await app.store.arun(register(runner, lease=LEASE))
    working = make_job_loop(app.store, app.registry, app.settings, runner, suspects="never")
    async with asyncio.TaskGroup() as group:
        group.create_task(working.run())
        await is_over.wait()
        working.stop()
    await retire_quietly(app.store, runner.id)


WORKS: dict[str, Callable[[str, int], None]] = {
    "enqueue_singly": enqueue_singly,
    "aenqueue_singly": aenqueue_singly,
    "enqueue_in_bulk": enqueue_in_bulk,
    "work": work,
}


def slow_down() -> None:
    """Let the clock mean as little here as where nothing counts."""
    usual = app.store.tuning
    app.store.tuning = structs.replace(usual, **{pace: getattr(usual, pace) * SLOWER for pace in PACES})
    sys.setswitchinterval(sys.getswitchinterval() * SLOWER)


if __name__ == "__main__":
    slow_down()
    do_as_told(WORKS)
