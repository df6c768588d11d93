"""The works of Posthorse whose instructions are counted, each alone in a process; the store already has its schema.

It knows nothing about the counting, except that it makes everything slow.
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
from posthorse.worker.running.process_resources import ProcessResources

SLOWER = 50
"""How many times slower a program runs under valgrind."""

PACES = (
    *("prefetch", "start_time", "news_interval", "request_interval"),
    *("admission_interval", "log_check_interval", "lock_check_interval", "tallies_interval", "end_lines_interval"),
)
"""Intervals on the clock, which valgrind does not slow down: they would pass that much more often for each job."""

LEASE = 3_600_000_000
"""In microseconds; no heartbeat renews it."""

CALL = 1_000

is_over = asyncio.Event()


@app.job
async def leave() -> None:
    """End the work: this is the last job in the store."""
    is_over.set()


def enqueue_singly(url: str, jobs: int) -> None:
    """Enqueue jobs one after the other."""
    with opened(url):
        for number in range(jobs):
            noop.enqueue(number, 2)


def aenqueue_singly(url: str, jobs: int) -> None:
    """Enqueue jobs one after the other, from a coroutine."""

    async def enqueue() -> None:
        for number in range(jobs):
            await noop.aenqueue(number, 2)

    with opened(url):
        uvloop.run(enqueue())


def enqueue_in_bulk(url: str, jobs: int) -> None:
    """Enqueue CALL jobs in each call."""
    with opened(url):
        for first in range(0, jobs, CALL):
            app.enqueue_many([noop.bind(number, 2) for number in range(first, first + CALL)])


def work(url: str, concurrency: int) -> None:
    """Run the jobs in the store, up to `leave`, as a runner does; only the supervisor is missing."""
    with opened(url), open(os.devnull, "w", encoding="utf-8") as log:
        logging.basicConfig(level=logging.INFO, stream=log)
        uvloop.run(_work(concurrency))


async def _work(concurrency: int) -> None:
    runner = make_runner(app.registry, queues=(), labels=(), concurrency=concurrency, worker="instructed")
    await app.store.arun(register(runner, lease=LEASE))
    working = make_job_loop(app.store, app.registry, app.settings, runner, ProcessResources(), suspects="never")
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
    """Stretch these intervals so that they pass as often as without valgrind."""
    usual = app.store.tuning
    app.store.tuning = structs.replace(usual, **{pace: getattr(usual, pace) * SLOWER for pace in PACES})
    sys.setswitchinterval(sys.getswitchinterval() * SLOWER)


if __name__ == "__main__":
    slow_down()
    do_as_told(WORKS)
