"""`posthorse bench`: measure the user's own store and machine, with jobs that do nothing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import click

from posthorse.app.client import Posthorse
from posthorse.app.job import Job
from posthorse.app.reading import end_of
from posthorse.app.verbs import drive
from posthorse.cli.bench_measures import Worker, percentile, pickup_times, running_worker
from posthorse.cli.exits import Exit
from posthorse.cli.options import size_options
from posthorse.cli.screen import clean, out_json, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import FIRST_PATIENCE, be_patient, json_option
from posthorse.errors import InvalidTransition
from posthorse.ids import new_id
from posthorse.store.operations import read

TARGET = "posthorse.cli.bench_jobs:app"
MIN_JOBS, BULK = 100, 1_000
MAX_SINGLES, MAX_PICKUPS = 500, 100
PAGE = 1_000


class Rates(NamedTuple):
    """Jobs per second, and milliseconds until an idle worker picks one up."""

    enqueued_singly: float
    enqueued_in_bulk: float
    worked: float
    pickup_p50_ms: float
    pickup_p99_ms: float


@click.command()
@click.option(
    "--jobs", metavar="N", type=click.IntRange(MIN_JOBS, 1_000_000), default=5_000, help="How many jobs; else 5,000."
)
@size_options
@click.option("--url", metavar="URL", help="The store to measure; otherwise a temporary SQLite file in this folder.")
@json_option
def bench(jobs: int, processes: int, concurrency: int, url: str | None, as_json: bool) -> int:
    """Measure how fast jobs are enqueued, worked and picked up.

    Starts a worker of its own, for jobs that do nothing on the queue posthorse-bench. Without --url it uses a
    temporary SQLite file in the current folder and leaves nothing; in a store that you name, the finished jobs
    stay. Other work on the machine or the store makes the figures worse.

    \b
      posthorse bench --processes 2
      posthorse bench --url postgresql://jobs@db.internal/shop --jobs 20000
    """
    from posthorse.cli.bench_jobs import QUEUE, app

    with ExitStack() as stack:
        app.use_url(_temporary_store(stack) if url is None else url)
        stack.callback(app.close)
        be_patient(app, FIRST_PATIENCE)
        beginning = new_id()
        try:
            rates = _measure(app, jobs, processes, concurrency)
        except BaseException:
            if url is not None:
                _cancel_since(app, beginning, QUEUE)
            raise
        where = app.store.where
    if as_json:
        shape = {"store": where, "jobs": jobs, "processes": processes, "concurrency": concurrency}
        out_json({**shape, **rates._asdict()})
    else:
        _print_table(rates, processes, concurrency)
    if url is not None:
        say(f"{jobs + _pickups(jobs):,} finished jobs stay on the queue {QUEUE} in {clean(where)}.")
    return Exit.OK


def _temporary_store(stack: ExitStack) -> str:
    """Make a store in this folder, not in the system's temporary one, which may be in memory, where commits cost
    nothing.
    """
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="posthorse-bench-", dir=Path.cwd()))
    return f"sqlite:///{folder}/bench.db"


def _measure(app: Posthorse, count: int, processes: int, concurrency: int) -> Rates:
    from posthorse.cli.bench_jobs import QUEUE, do_nothing, tell_beginning

    jobs = [do_nothing.enqueue(0)]  # opens the store before the measurement
    singles = min(count // 2, MAX_SINGLES)
    began = time.perf_counter()
    jobs.extend(do_nothing.enqueue(number) for number in range(1, singles))
    between = time.perf_counter()
    for first in range(singles, count, BULK):
        numbers = range(first, min(count, first + BULK))
        jobs.extend(app.enqueue_many([do_nothing.bind(number) for number in numbers]))
    ended = time.perf_counter()
    url, queues = app.store.url, (QUEUE,)
    with running_worker(TARGET, url, processes=processes, concurrency=concurrency, queues=queues) as worker:
        seconds = _seconds_of_work(app, jobs, worker, QUEUE)
        pickups = pickup_times(tell_beginning, _pickups(count))
    return Rates(
        enqueued_singly=(singles - 1) / (between - began),
        enqueued_in_bulk=(count - singles) / (ended - between),
        worked=count / seconds,
        pickup_p50_ms=percentile(pickups, 0.5),
        pickup_p99_ms=percentile(pickups, 0.99),
    )


def _seconds_of_work(app: Posthorse, jobs: Sequence[Job[None]], worker: Worker, queue: str) -> float:
    """Return the seconds from the start of the first job to the end of the last, on the store's clock."""
    worker.wait_until(lambda: drive(end_of(app, jobs[-1].id)) is not None)  # costs the store less than the next line
    worker.wait_until(lambda: len(_spans(app, jobs)) == len(jobs))
    spans = _spans(app, jobs)
    return (max(end for _, end in spans) - min(start for start, _ in spans)) / 1_000_000


def _spans(app: Posthorse, jobs: Sequence[Job[None]]) -> list[tuple[int, int]]:
    """Return the start and end, in microseconds, of jobs that are over."""
    spans: list[tuple[int, int]] = []
    for first in range(0, len(jobs), PAGE):
        rows = app.store.read(read.jobs_by_id([job.id for job in jobs[first : first + PAGE]]))
        spans.extend(
            (row.started_at, row.finished_at)
            for row in rows
            if row.started_at is not None and row.finished_at is not None
        )
    return spans


def _cancel_since(app: Posthorse, beginning: str, queue: str) -> None:
    """Cancel the jobs of an interrupted bench, so that other workers do not run them."""
    app.close()  # first ends what was being enqueued
    for job in app.jobs("-state:completed,failed,cancelled", queue=queue, since=beginning):
        with suppress(InvalidTransition):  # it ended in between
            job.cancel(force=True)


def _pickups(jobs: int) -> int:
    return min(MAX_PICKUPS, jobs // 10)


def _print_table(rates: Rates, processes: int, concurrency: int) -> None:
    out_table(
        (Column("WHAT", least=12), Column("RATE", is_number=True)),
        [
            ("enqueue, one after the other", f"{rates.enqueued_singly:,.0f} jobs/s"),
            (f"enqueue, {BULK:,} a call", f"{rates.enqueued_in_bulk:,.0f} jobs/s"),
            (f"work, {processes} × {concurrency} at once", f"{rates.worked:,.0f} jobs/s"),
            ("picked up by an idle worker, p50", f"{rates.pickup_p50_ms:,.1f} ms"),
            ("picked up by an idle worker, p99", f"{rates.pickup_p99_ms:,.1f} ms"),
        ],
    )
