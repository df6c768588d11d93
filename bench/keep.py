"""Keeping jobs, or not: how fast retention removes old jobs in its share of the time, and what that costs new jobs.

Old jobs are written as rows, bypassing the library, in the form in which it would write them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from bench.application import TARGET, app, noop, opened
from bench.draining import complete, enqueue, pace
from bench.measure import Sample, Setup
from bench.stores import Ask, MeasuredStore, Tally
from posthorse.cli.bench_measures import running_worker
from posthorse.maintenance.chores.base import REST
from posthorse.maintenance.chores.retention import choose, removal
from posthorse.rules.retention import DEFAULT_KEEP, Declaration
from posthorse.store.operations.retention import FIRST, old_jobs

DAY = 86_400_000_000
AGE = 400 * DAY
LOOK = 0.1
"""Seconds between two checks whether the jobs are done."""

TARGET_PACE = 1_000_000 / 600
"""Old jobs per second: a million in ten minutes."""


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield how fast old jobs leave, and jobs per second meanwhile, beside jobs per second when they stay."""
    store, old = setup.store, setup.sizes.finished
    with store.fresh() as url, opened(url):
        _fill(store, url, old)
        yield Sample(f"{old:,} old jobs leave in a share of the time", "jobs/s", _leaving_pace(old), TARGET_PACE)
    with _keeping("forever"), _drained(setup) as staying:
        pass
    with _keeping(None), _drained(setup) as leaving:
        pass
    yield Sample("async jobs while old ones leave", "jobs/s", leaving, staying)


def _leaving_pace(old: int) -> float:
    """Return the old jobs that leave per second if each turn is followed by the pause that the chore takes."""
    after, left, worked = FIRST, 0, 0.0
    while left < old:
        began = time.perf_counter()
        page = app.store.read(old_jobs(after=after, limit=app.store.tuning.retention_page))
        chosen = choose(page)
        left += sum(app.store.run(commit) or 0 for commit in removal(page, chosen))
        worked += time.perf_counter() - began
        after = page.jobs[-1].id
    return old / (worked * (1 + REST))


@contextmanager
def _keeping(span: str | None) -> Iterator[None]:
    """Let workers that start inside the block keep jobs for this span; None for the default."""
    if span is not None:
        os.environ["POSTHORSE_KEEP"] = f"completed={span},failed={span},cancelled={span}"
    try:
        yield
    finally:
        os.environ.pop("POSTHORSE_KEEP", None)


@contextmanager
def _drained(setup: Setup) -> Iterator[float]:
    """Yield the jobs per second of a worker that does ten times as many as usual, in a store with old jobs."""
    store, jobs = setup.store, setup.sizes.deep * setup.sizes.jobs
    with store.fresh() as url, opened(url), store.asking(url) as ask:
        _fill(store, url, setup.sizes.finished)
        enqueue(noop.bind(1, 2) for _ in range(jobs))
        store.settle(url)
        with running_worker(TARGET, url, processes=1, concurrency=setup.concurrency) as worker:
            worker.wait_until(lambda: _are_done(store, ask))
        times = ask(
            f"select count(*), min(started_at), max(finished_at) from {store.prefix}jobs "
            f"where state = 'completed' and lane = (select id from {store.prefix}lanes where kind = 'noop')"
        )
        yield pace(complete(Tally(*times), jobs))


def _are_done(store: MeasuredStore, ask: Ask) -> bool:
    time.sleep(LOOK)
    return (
        not ask(f"select exists (select 1 from {store.prefix}ready)")[0]
        and not ask(f"select exists (select 1 from {store.prefix}leases)")[0]
    )


def _fill(store: MeasuredStore, url: str, count: int) -> None:
    """Write old jobs, of which each tenth has an event and a checkpoint, to a store that declared its retention long
    ago."""
    long_ago = time.time_ns() // 1_000 - AGE
    declaration = msgspec.json.encode(Declaration(DEFAULT_KEEP.as_words())).decode()
    prefix, tenth = store.prefix, f"select id from {store.prefix}jobs where seq % 10 = 0"
    store.fill(
        url,
        (
            f"insert into {prefix}keeps (scope, name, words, said_at) "
            f"values ('application', '', '{declaration}', {long_ago})",
            f"insert into {prefix}lanes (queue, kind, priority, solo, tenant, keyed) "
            f"values ('default', 'strange', 0, {store.false}, '', {store.false})",
            f"insert into {prefix}jobs (id, lane, seq, arguments, epoch, version, created_at, started_at, finished_at, "
            f"state, result) select {store.numbered_id}, (select id from {prefix}lanes where kind = 'strange'), n, "
            f"""'[[1,2],{{}}]', 1, 3, {long_ago}, {long_ago}, {long_ago} + n, 'completed', '"done"' """
            f"from {store.numbers(count)}",
            f"insert into {prefix}events (job, version, at, name, detail) "
            f"select id, 2, {long_ago}, 'attempt_failed', '{{}}' from ({tenth}) as tenth",
            f"insert into {prefix}checkpoints (job, epoch, slices, done, updated_at, pace, cursors, kept) "
            f"select id, 1, 1, 1, {long_ago}, '', '{{}}', '{{}}' from ({tenth}) as tenth",
        ),
    )
