"""The weight of a burden in the store: the pace of jobs that do nothing, beside the pace in a store without it.

The burden is written as rows, bypassing the library, in the form in which it would write them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psycopg

import posthorse as ph
from bench.application import TARGET, app, noop, opened
from bench.draining import complete, enqueue, pace
from bench.measure import Sample, Setup
from bench.stores import Ask, MeasuredStore, PostgresStore, Tally
from posthorse.cli.bench_measures import running_worker

PRIORITIES = range(-100, 100)
DEEP_QUEUES = 200
DAY = 86_400_000_000
LOOK = 0.1
"""Seconds between two checks whether the jobs are done, which cost something behind a pinned snapshot."""


@dataclass(frozen=True)
class Burden:
    """What is in the store before the jobs come, and where they go."""

    name: str
    rows: Sequence[str] = ()
    """Statements that write the rows."""
    kinds: Sequence[ph.Kind[[int, int], None]] = (noop,)
    """Kinds of the jobs, in turn."""


NOTHING = Burden("nothing")


@dataclass(frozen=True)
class Drained:
    """A store whose jobs are done, and the pace, in jobs per second."""

    store: MeasuredStore
    ask: Ask
    jobs: int

    def pace(self) -> float:
        """The pace of all jobs."""
        return pace(self._tally())

    def quarters(self) -> tuple[float, float]:
        """The paces of the quarter that ended first, and of the quarter that ended last."""
        tally, quarter = self._tally(), self.jobs // 4
        first_ended = self._only(f"finished_at {self._done} order by finished_at limit 1 offset {quarter - 1}")
        last_began = self._only(f"finished_at {self._done} order by finished_at desc limit 1 offset {quarter}")
        first, last = first_ended - tally.first_start, tally.last_end - last_began
        return quarter * 1_000_000 / first, quarter * 1_000_000 / last

    def _tally(self) -> Tally:
        times = self.ask(f"select count(*), min(started_at), max(finished_at) {self._done}")
        return complete(Tally(*times), self.jobs)

    def _only(self, query: str) -> int:
        return self.ask(f"select {query}")[0]

    @property
    def _done(self) -> str:
        return f"from {self.store.prefix}jobs where state = 'completed' and lane in ({_ours(self.store)})"


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield jobs per second beside each burden, and just before without any, because the machine's pace keeps
    changing."""
    for burden in _burdens(setup):
        free = _free_pace(setup)
        with _drained(setup, burden) as done:
            yield Sample(f"async jobs, {burden.name}", "jobs/s", done.pace(), free)
    yield from _in_deep_queues(setup)
    yield from _of_fair_tenants(setup)
    if isinstance(setup.store, PostgresStore):
        yield from _behind_a_snapshot(setup)


def _in_deep_queues(setup: Setup) -> Iterator[Sample]:
    """Measure many lanes, each with far more jobs than a claim takes from it."""
    times = setup.sizes.deep
    name = f"{times * setup.sizes.jobs:,} async jobs in {DEEP_QUEUES} queues"
    burden = Burden(name, kinds=[noop.using(queue=f"deep {number}") for number in range(DEEP_QUEUES)])
    free = _free_pace(setup, times=times)
    with _drained(setup, burden, times=times) as done:
        yield Sample(name, "jobs/s", done.pace(), free)
    free = _free_pace(setup, times=times)
    with _drained(setup, burden, times=times, beside=_weights) as done:
        yield Sample(f"{name}, which share by weight", "jobs/s", done.pace(), free)


def _of_fair_tenants(setup: Setup) -> Iterator[Sample]:
    """Measure thousands of tenants that take turns, each with a lane of its own."""
    tenants, times = setup.sizes.queues // 2, max(1, setup.sizes.deep // 2)
    name = f"{times * setup.sizes.jobs:,} async jobs of {tenants:,} fair tenants"
    shared = noop.using(queue="shared")
    burden = Burden(name, kinds=[shared.using(tenant=f"tenant {number}") for number in range(tenants)])
    free = _free_pace(setup, times=times)
    with _drained(setup, burden, times=times) as done:
        yield Sample(name, "jobs/s", done.pace(), free)


def _behind_a_snapshot(setup: Setup) -> Iterator[Sample]:
    times = setup.sizes.pinned
    name = f"{times * setup.sizes.jobs:,} async jobs behind an old snapshot"
    free = _free_pace(setup, times=times)
    with _drained(setup, NOTHING, times=times, beside=_pinned_snapshot) as done:
        yield Sample(name, "jobs/s", done.pace(), free)
        first, last = done.quarters()
        yield Sample(f"{name}, the last quarter of them beside the first", "jobs/s", last, first)


def _free_pace(setup: Setup, *, times: int = 1) -> float:
    with _drained(setup, NOTHING, times=times) as done:
        return done.pace()


def _burdens(setup: Setup) -> Sequence[Burden]:
    store, sizes = setup.store, setup.sizes
    now = time.time_ns() // 1_000
    strange = _lanes(store, "'default'", "'strange'")
    pending = _jobs(store, sizes.burden, "created_at, state", f"{now}, 'pending'")
    lined_up = _copies(store, "ready (lane, seq, job)", "lane, seq, id")
    scheduled = _jobs(store, sizes.burden, "created_at, run_at, state", f"{now}, {now + DAY} + n, 'scheduled'")
    parked = _copies(store, "parked (job, state, due_at, since)", "id, state, run_at, created_at")
    finished = _jobs(
        store,
        sizes.finished,
        "epoch, version, created_at, started_at, finished_at, state, result",
        f"1, 3, {now - DAY}, {now - DAY}, {now - DAY} + n, 'completed', 'null'",
    )
    lanes = _lanes(store, "'queue ' || n", "'noop'", count=sizes.queues)
    return (
        Burden(f"{sizes.burden:,} others pending", (strange, pending, lined_up)),
        Burden(f"{sizes.burden:,} others delayed", (strange, scheduled, parked)),
        Burden(f"{sizes.finished:,} others finished", (strange, finished)),
        Burden(f"in {len(PRIORITIES)} priorities", kinds=[noop.using(priority=priority) for priority in PRIORITIES]),
        Burden(f"{sizes.queues:,} other queues, empty", (lanes,)),
        Burden(
            f"in {sizes.queues:,} queues",
            kinds=[noop.using(queue=f"queue {number}") for number in range(1, sizes.queues + 1)],
        ),
    )


def _lanes(store: MeasuredStore, queue: str, kind: str, *, count: int = 1) -> str:
    return (
        f"insert into {store.prefix}lanes (queue, kind, priority, solo, tenant, keyed) "
        f"select {queue}, {kind}, 0, {store.false}, '', {store.false} from {store.numbers(count)}"
    )


def _jobs(store: MeasuredStore, count: int, columns: str, values: str) -> str:
    lane = f"(select id from {store.prefix}lanes where kind = 'strange')"
    return (
        f"insert into {store.prefix}jobs (id, lane, seq, arguments, {columns}) "
        f"select {store.numbered_id}, {lane}, n, '[[1,2],{{}}]', {values} from {store.numbers(count)}"
    )


def _copies(store: MeasuredStore, target: str, columns: str) -> str:
    return f"insert into {store.prefix}{target} select {columns} from {store.prefix}jobs"


@contextmanager
def _pinned_snapshot(url: str) -> Iterator[None]:
    """Hold a transaction that does nothing more, but sees the store as it is now."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select count(*) from posthorse.lanes")
        yield


@contextmanager
def _weights(_: str) -> Iterator[None]:
    """Give one of the queues twice the weight of the others."""
    app.queue("deep 0").set(weight=2)
    yield


@contextmanager
def _alone(_: str) -> Iterator[None]:
    yield


@contextmanager
def _drained(
    setup: Setup, burden: Burden, *, times: int = 1, beside: Callable[[str], AbstractContextManager[None]] = _alone
) -> Iterator[Drained]:
    """Yield a store in which one worker did `times` as many jobs as usual, while `beside` was open on it."""
    store, jobs = setup.store, times * setup.sizes.jobs
    with store.fresh() as url, opened(url), store.asking(url) as ask:
        store.fill(url, burden.rows)
        bound = [kind.bind(1, 2) for kind in burden.kinds]
        enqueue(bound[number % len(bound)] for number in range(jobs))
        store.settle(url)
        with beside(url), running_worker(TARGET, url, processes=1, concurrency=setup.concurrency) as worker:
            worker.wait_until(lambda: _are_done(store, ask))
        yield Drained(store, ask, jobs)


def _are_done(store: MeasuredStore, ask: Ask) -> bool:
    """Check the job that came last first, and only then tables whose consumed rows cannot be removed yet."""
    time.sleep(LOOK)
    return (
        bool(ask(f"select state = 'completed' from {store.prefix}jobs order by id desc limit 1")[0])
        and not ask(f"select exists (select 1 from {store.prefix}leases)")[0]
        and not ask(f"select exists (select 1 from {store.prefix}ready where lane in ({_ours(store)}))")[0]
    )


def _ours(store: MeasuredStore) -> str:
    return f"select id from {store.prefix}lanes where kind = 'noop'"
