"""Lists: how long pages and counts take among many finished jobs, with one filter for each way and some rare ones.

The jobs are written as rows, bypassing the library: 8 queues, one of them rare, 25 kinds, 500 tenants; 2 % dead
letters, 0.1 % cancelled, the rest completed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import posthorse as ph
from bench.measure import Sample, Setup
from bench.stores import MeasuredStore, PostgresStore

QUEUES, KINDS, TENANTS = 8, 25, 500
SPACING = 10
"""Milliseconds from one job to the next."""
REPEATS = 5
PAGE = 50
FILTERS = (
    "",
    "state:completed",
    "state:failed",
    "state:failed kind:kind-3",
    "state:failed kind:unknown",
    "state:cancelled",
    "state:pending",
    "queue:queue-3",
    "queue:rare",
    "kind:kind-3",
    "kind:kind-*",
    "kind:unknown",
    "queue:queue-3 state:cancelled",
    "tenant:tenant-7",
    "tenant:tenant-7 state:failed",
    "tenant:unknown",
    "since:1h",
    "until:1h",
    "tag:unknown",
    "args.user.id:77",
    "args.user.id:unknown",
    "error:ValueError",
    "took:>9s",
)
COUNTS = ("", "state:failed", "kind:kind-3", "tenant:tenant-7", "tag:unknown")


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield milliseconds for a page of 50, or for a count, beside the plain statement for the newest 50 jobs."""
    store, jobs = setup.store, setup.sizes.jobs
    with store.fresh() as url:
        app = ph.Posthorse(url)
        app.store.migrate()
        store.fill(url, rows(store, jobs))
        with store.asking(url) as ask:
            newest = f"select count(*) from (select * from {store.prefix}jobs order by id desc limit {PAGE}) as newest"
            plain = _milliseconds(lambda: ask(newest))
        for wanted in FILTERS:
            found = app.jobs(wanted)
            page = found.page(PAGE)
            state = "complete" if page.searched.complete else f"{len(page)} found"
            yield Sample(f"page of {wanted or 'all'}: {state}", "ms", _milliseconds(partial(found.page, PAGE)), plain)
        for wanted in COUNTS:
            found = app.jobs(wanted)
            took = _milliseconds(found.counted)
            yield Sample(f"count of {wanted or 'all'}: {found.counted()}", "ms", took, plain)
        app.close()


def _milliseconds(call: Callable[[], object]) -> float:
    """Return the median; the first call does not count."""
    call()
    took: list[float] = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took)


def rows(store: MeasuredStore, jobs: int) -> Sequence[str]:
    """Return the statements that write the jobs, as the library would write them."""
    is_postgres = isinstance(store, PostgresStore)
    now = time.time_ns() // 1_000_000
    made = f"({now - jobs * SPACING} + n * {SPACING})"
    head = f"lpad(to_hex({made}), 12, '0')" if is_postgres else f"printf('%012x', {made})"
    tail = "lpad(to_hex(n), 12, '0')" if is_postgres else "printf('%012x', n)"
    job = f"substr({head}, 1, 8) || '-' || substr({head}, 9) || '-7000-8000-' || {tail}"
    lane = f"case when n % 1000 = 0 then {(QUEUES - 1) * KINDS} + 1 + n / 1000 % {KINDS} "
    lane += f"else 1 + (n % 1000 + n / 1000 * 7) % {(QUEUES - 1) * KINDS} end"
    state = "case when n % 50 = 7 then 'failed' when n % 1000 = 1 then 'cancelled' else 'completed' end"
    error = """case when n % 50 = 7 then '{"type":"ValueError","message":"it cannot be done"}' end"""
    arguments = """'{"user":{"id":' || (n * 31 % 100000) || ',"name":"Ada"},"text":"some words that fill a line"}'"""
    prefix = store.prefix
    return (
        f"insert into {prefix}lanes (queue, kind, priority, solo, tenant, keyed) "
        f"select case when n > {(QUEUES - 1) * KINDS} then 'rare' else 'queue-' || ((n - 1) / {KINDS}) end, "
        f"'kind-' || (n % {KINDS}), 0, {store.false}, '', {store.false} from {store.numbers(QUEUES * KINDS)}",
        f"insert into {prefix}jobs (id, lane, seq, epoch, version, created_at, started_at, finished_at, state, "
        "arguments, result, error, reason, tenant, tags) "
        f"select {f'({job})::uuid' if is_postgres else job}, {lane}, n, 1, 3, {made} * 1000, {made} * 1000 + 20000, "
        f"{made} * 1000 + 20000 + n % 1000 * 1000, {state}, {arguments}, 'null', {error}, 'host:1', "
        f"""'tenant-' || (n * 7 % {TENANTS}), case when n % 4 = 0 then '["big"]' end from {store.numbers(jobs)}""",
        f"insert into {prefix}parked (job, state, since, lane) "
        f"select id, state, finished_at, lane from {prefix}jobs where state = 'failed'",
    )
