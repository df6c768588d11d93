"""A writer of version 1: a client and worker reduced to its statements, in a process of its own."""

from __future__ import annotations

import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any, NamedTuple, cast
from uuid import uuid4

from posthorse import ids
from posthorse.store import migrate
from posthorse.store.base import BoundQuery, Execute, Rows, query
from posthorse.store.queries import Queries, Row, Value
from posthorse.store.sqlite import statements as sqlite_statements
from posthorse.store.store import Store
from tests.store.version1.stores import statements

LEASE = 600_000_000
DAY = 86_400_000_000


class Written(NamedTuple):
    """How many jobs a writer enqueued, and how many of all jobs it completed and let fail."""

    enqueued: int
    completed: int
    failed: int


def write(url: str, has_begun: Event, is_over: Event, written: Queue[Written]) -> None:
    """Enqueue, claim, complete and let fail until it is over. PostgreSQL refuses waits of a second for a lock."""
    migrate.SCHEMA_VERSION = 1
    store, is_sqlite = Store(url), url.startswith("sqlite")
    queries: Queries = sqlite_statements._queries if is_sqlite else cast("Any", store.backend).queries
    queries._sources = statements("sqlite" if is_sqlite else "postgres")
    runner = str(uuid4())
    enqueued = completed = failed = 0
    with store.backend.transaction(60) as (_, execute):
        lane = cast(
            "int",
            execute(query("make_lane", queue="q", kind="k", priority=0, solo=False, tenant="", keyed=False))[0][0],
        )
        about: dict[str, Value] = {"worker": "old", "host": "old", "pid": 1, "version": "0", "concurrency": 5}
        execute(query("register_runner", id=runner, lease=LEASE, queues='["q"]', kinds='["k"]', labels="[]", **about))
    while not is_over.is_set():
        with store.backend.transaction(60) as (connection, execute):
            if not is_sqlite:
                cast("Any", connection).execute("SET LOCAL lock_timeout = '1s'")
            for delay in (None, None, None, DAY):
                _enqueue(execute, lane, delay)
            claimed = execute(BoundQuery("claim", {"runner": runner, "room": 3}, [(lane, 0, 3, None)]))
            ends = [(str(row[0]), cast("int", row[1])) for row in claimed]
            _complete(execute, runner, ends[:2])
            for job, epoch in ends[2:]:
                _fail(execute, runner, job, epoch, lane)
            enqueued, completed, failed = enqueued + 4, completed + len(ends[:2]), failed + len(ends[2:])
        has_begun.set()
    store.close()
    written.put(Written(enqueued, completed, failed))


def _enqueue(execute: Execute, lane: int, delay: int | None) -> Rows:
    when: dict[str, Value] = {"made_at": time.time_ns() // 1_000_000, "tolerance": ids.CLOCK_TOLERANCE}
    if delay is None:
        return execute(
            query("enqueue_one", id=ids.new_id(), lane=lane, arguments="{}", options="", tenant="", tags="", **when)
        )
    row: Row = (ids.new_id(), lane, "{}", None, delay, None, None, None, None)
    return execute(BoundQuery("enqueue", {**when}, [row]))


def _complete(execute: Execute, runner: str, ends: list[tuple[str, int]]) -> None:
    for job, epoch in ends:
        [(ended, was_written)] = execute(BoundQuery("complete", {"epoch": epoch, "runner": runner}, [(job, "null")]))
        assert ended == was_written == 1


def _fail(execute: Execute, runner: str, job: str, epoch: int, lane: int) -> None:
    [(claimed_at,)] = execute(query("end_lease", job=job, epoch=epoch, runner=runner))
    spent: dict[str, Value] = {
        "errors": 1,
        "crashes": 0,
        "interruptions": 0,
        "reason": "failed in 1 attempt",
        "error": '{"type":"E"}',
    }
    ended: dict[str, Value] = {"result": None, "wait": None, "claimed_at": claimed_at, "is_final": True}
    execute(query("settle", job=job, epoch=epoch, state="failed", lane=lane, **spent, **ended))
    execute(query("park", job=job, state="failed", due_at=None, place=None))
