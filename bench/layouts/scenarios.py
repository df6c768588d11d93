"""The scenarios: each creates its own tables, runs, and returns plain figures."""

import json
import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import psutil
import psycopg

from bench.layouts.candidates import Layout
from bench.layouts.store import (
    GUARDED,
    PLANNER_DECIDES,
    Connection,
    Worker,
    connected,
    create,
    enqueue_many,
    enqueue_one,
    fill,
)
from bench.processes import processor_time

WHOLE_INDEX = "Whole Index"
SHAPES_THAT_DO_NOT_SCALE = ("Seq Scan", "Bitmap Heap Scan", "Hash Join", "Merge Join", "Sort", WHOLE_INDEX)
PATIENCE_MS = 5_000


@dataclass(frozen=True)
class Pace:
    """Jobs per second, and the processor time of one job on either side, in microseconds."""

    per_second: float
    client_us: float
    server_us: float


def drain(
    dsn: str,
    layout: Layout,
    batch: int,
    *,
    limit: int | None = None,
    one_commit: bool = False,
    settings: str = GUARDED,
    as_lists: bool = False,
) -> Pace:
    """Claim and complete until the lane is empty, or `limit` jobs are done, over one connection."""
    with connected(dsn, settings) as connection:
        return _drain(Worker(connection, layout, batch, as_lists), limit, one_commit)


def drain_with_two_processes(dsn: str, layout: Layout, batch: int, jobs: int) -> float:
    """Return the jobs per second of two workers together, from the first start to the last end."""
    spawning = multiprocessing.get_context("spawn")
    ready = spawning.Barrier(3)
    workers = [spawning.Process(target=_drain_when_all_are_ready, args=(ready, dsn, layout, batch)) for _ in "12"]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return jobs / (time.perf_counter() - start)


def written_per_job(dsn: str, layout: Layout, jobs: int = 20_000, batch: int = 500) -> dict[str, float]:
    """Return WAL bytes of insert, claim and completion, and dead rows and index-free (HOT) updates, for one job."""
    create(dsn, layout)
    with connected(dsn) as connection:
        connection.execute("checkpoint")
        before = _wal_position(connection)
        for _ in range(jobs // 1000):
            enqueue_many(connection, layout, 1000)
        completed = inserted = _wal_position(connection)
        worker, claim_bytes, completion_bytes = Worker(connection, layout, batch), 0.0, 0.0
        while (batch_of_jobs := worker.claim()).ids:
            claimed = _wal_position(connection)
            claim_bytes += claimed - completed
            worker.complete(batch_of_jobs)
            completed = _wal_position(connection)
            completion_bytes += completed - claimed
        connection.execute("select pg_stat_force_next_flush()")
        updates, hot, deletes = (
            float(str(value))
            for value in connection.execute(
                "select sum(n_tup_upd), sum(n_tup_hot_upd), sum(n_tup_del) from pg_stat_user_tables"
            ).fetchall()[0]
        )
        size = float(str(connection.execute("select pg_total_relation_size('jobs')").fetchall()[0][0]))
    return {
        "insert_wal": (inserted - before) / jobs,
        "claim_wal": claim_bytes / jobs,
        "complete_wal": completion_bytes / jobs,
        "dead_rows": (updates + deletes) / jobs,
        "hot_share": hot / updates,
        "jobs_bytes": size / jobs,
    }


def pinned(dsn: str, layout: Layout, jobs: int) -> Pace:
    """Return the pace while an idle transaction prevents the removal of all dead rows."""
    create(dsn, layout)
    fill(dsn, layout, pending=jobs)
    with psycopg.connect(dsn) as pin:
        pin.execute("set transaction isolation level repeatable read")
        pin.execute("select count(*) from jobs where lane = 0")
        return drain(dsn, layout, 500)


def plans(dsn: str, layout: Layout, statistics: str, batch: int, settings: str) -> tuple[float, list[str]]:
    """Return the jobs per second with such statistics, and every plan shape that does not scale.

    `fresh`: analyzed. `missing`: never analyzed. `stale`: analyzed while empty. `cached`: the same, and the worker had
    prepared its statements while the tables were empty.
    """
    create(dsn, layout, autovacuum=False)
    if statistics in ("stale", "cached"):
        with connected(dsn) as connection:
            connection.execute("vacuum analyze")
    with connected(dsn, f"{settings} -c statement_timeout={PATIENCE_MS}") as connection:
        worker = Worker(connection, layout, batch)
        if statistics == "cached":
            for _ in range(8):
                worker.complete(worker.claim())
        fill(dsn, layout, pending=100_000, analyze=statistics == "fresh")
        try:
            with _shapes_of_plans(connection) as shapes:
                worker.complete(worker.claim())
            pace = _drain(worker, limit=max(200, 2 * batch), one_commit=False)
        except psycopg.errors.QueryCanceled:
            return 0.0, [f"one statement took over {PATIENCE_MS // 1000} s"]
    return pace.per_second, sorted(shapes & set(SHAPES_THAT_DO_NOT_SCALE))


def completions_lost_to_a_neighbour(dsn: str, layout: Layout) -> int:
    """Complete 500 jobs while another session changes ten of their rows; return how many were skipped."""
    create(dsn, layout)
    fill(dsn, layout, pending=500)
    with connected(dsn) as connection, psycopg.connect(dsn) as neighbour:
        worker = Worker(connection, layout, 500)
        claimed = worker.claim()
        neighbour.execute("update jobs set version = version + 1 where seq <= 10")
        completing = threading.Thread(target=worker.send_completion, args=(claimed,))
        completing.start()
        with connected(dsn) as watcher:
            while not watcher.execute("select 1 from pg_locks where not granted").fetchall():
                pass
        neighbour.commit()
        completing.join()
        left = connection.execute("select count(*) from jobs where state <> 3").fetchall()
    return int(str(left[0][0]))


def inserted_per_second(dsn: str, layout: Layout, *, jobs: int, batch: int) -> float:
    create(dsn, layout)
    with connected(dsn) as connection:
        start = time.perf_counter()
        for _ in range(jobs // batch):
            if batch == 1:
                enqueue_one(connection, layout)
            else:
                enqueue_many(connection, layout, batch)
        return jobs / (time.perf_counter() - start)


STATISTICS = ("fresh", "missing", "stale", "cached")
PLANNERS = {"planner decides": PLANNER_DECIDES, "guarded": GUARDED}


def _drain(worker: Worker, limit: int | None, one_commit: bool) -> Pace:
    backend = [psutil.Process(worker.connection.info.backend_pid)]
    done, server, client, start = 0, processor_time(backend), time.process_time(), time.perf_counter()
    claimed = worker.claim()
    while claimed.ids:
        done += len(claimed.ids)
        if limit is not None and done >= limit:
            worker.complete(claimed)
            break
        if one_commit:
            claimed = worker.exchange(claimed)
        else:
            worker.complete(claimed)
            claimed = worker.claim()
    elapsed = time.perf_counter() - start
    million = 1_000_000 / done
    return Pace(
        done / elapsed,
        (time.process_time() - client) * million,
        (processor_time(backend) - server) * million,
    )


def _drain_when_all_are_ready(ready: "threading.Barrier", dsn: str, layout: Layout, batch: int) -> None:
    with connected(dsn) as connection:
        ready.wait()
        _drain(Worker(connection, layout, batch), None, False)


def _wal_position(connection: Connection) -> float:
    return float(str(connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchall()[0][0]))


@contextmanager
def _shapes_of_plans(connection: Connection) -> Iterator[set[str]]:
    """Yield the node types of the plans that actually run meanwhile."""
    shapes: set[str] = set()

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        _, _, plan = (diagnostic.message_primary or "").partition("plan:\n")
        if plan:
            _collect(json.loads(plan)["Plan"], shapes)

    connection.execute(
        "load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_format = json;"
        " set client_min_messages = log",
        prepare=False,
    )
    connection.add_notice_handler(note)
    yield shapes
    connection.remove_notice_handler(note)
    connection.execute("set auto_explain.log_min_duration = -1", prepare=False)


def _collect(node: dict[str, object], shapes: set[str]) -> None:
    walks_a_whole_index = node["Node Type"] == "Index Scan" and "Index Cond" not in node
    shapes.add(WHOLE_INDEX if walks_a_whole_index else str(node["Node Type"]))
    children = node.get("Plans")
    if isinstance(children, list):
        for child in children:
            _collect(child, shapes)


def as_figures(pace: Pace) -> dict[str, float]:
    return asdict(pace)
