"""Events, watched or not: what a watch costs the jobs, and how late its reader hears of them.

A worker in a process of its own drains a queue, with a reader that follows in this process and without one. Lateness is
measured at a pace that leaves the worker idle most of the time, from the commit of a completion to the reader; both
clocks are of this machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench.application import TARGET, app, noop, opened
from bench.draining import complete, enqueue, pace
from bench.measure import Sample, Setup
from bench.processes import family, processor_time
from posthorse.cli.bench_measures import percentile, running_worker
from posthorse.rules.job_events import JobEvent

TELLS_EVERYWHERE = 1.5
"""Seconds after which every process knows of a watch."""

PAUSE = 0.02
"""Seconds between two jobs whose lateness is measured."""


class Drained(NamedTuple):
    """How a queue was drained: jobs per second, the seconds of user and system time of the worker with its start, and
    the events of starts and completions that a reader got.
    """

    pace: float
    processor: float
    events: int


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield jobs per second while watched, beside those while nothing watches; and milliseconds of lateness, beside the
    time between two looks.
    """
    unwatched, watched = _drained(setup, watched=False), _drained(setup, watched=True)
    thousands = setup.sizes.jobs / 1_000
    yield Sample("async jobs while watched", "jobs/s", watched.pace, unwatched.pace)
    yield Sample(
        "async jobs while watched, processor time of the worker",
        "s/1,000 jobs",
        watched.processor / thousands,
        unwatched.processor / thousands,
    )
    yield Sample("events a reader got for each job", "events", watched.events / setup.sizes.jobs)
    times = _lateness(setup)
    look = 1_000 * app.store.tuning.events_interval
    yield Sample("events, late by, p50", "ms", percentile(times, 0.5), look)
    yield Sample("events, late by, p95", "ms", percentile(times, 0.95), look)


def _drained(setup: Setup, *, watched: bool) -> Drained:
    store, jobs = setup.store, setup.sizes.jobs
    with store.fresh() as url, opened(url), store.asking(url) as ask:
        enqueue([noop.bind(1, 2)] * jobs)
        store.settle(url)
        worker = running_worker(TARGET, url, processes=1, concurrency=setup.concurrency)
        with _following(watched) as seen, worker as running:
            running.wait_until(lambda: store.is_idle(ask))
            processor = processor_time(family(running.pid))
            tally = complete(store.tally(ask), jobs)
            while watched and len(seen) < 2 * jobs:
                time.sleep(PAUSE)
        return Drained(pace(tally), processor, len(seen))


def _lateness(setup: Setup) -> list[float]:
    """Return by how many milliseconds events of completions were late."""
    store, count = setup.store, setup.sizes.pickups
    with store.fresh() as url, opened(url), store.asking(url) as ask, _following(True) as seen:
        working = running_worker(TARGET, url, processes=1, concurrency=setup.concurrency)
        with working as worker:
            worker.wait_until(lambda: store.runner_count(ask) == 1)
            time.sleep(TELLS_EVERYWHERE)
            for _ in range(count):
                noop.enqueue(1, 2)
                time.sleep(PAUSE)
            worker.wait_until(lambda: sum(event.name == "completed" for _, event in list(seen)) == count)
    return [1_000 * (at - event.at.timestamp()) for at, event in seen if event.name == "completed"]


@contextmanager
def _following(watched: bool) -> Iterator[list[tuple[float, JobEvent]]]:
    """Follow starts and completions; yield the growing list of their events, with when they came."""
    seen: list[tuple[float, JobEvent]] = []
    if not watched:
        yield seen
        return
    with app.events(names=["started", "completed"], follow=True) as events:

        def follow() -> None:
            seen.extend((time.time(), event) for event in events if isinstance(event, JobEvent))

        following = threading.Thread(target=follow, daemon=True)
        following.start()
        yield seen
    following.join()
