"""The store of one layout on one connection: creates it, fills it, and runs its statements as a worker would."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import LiteralString
from uuid import UUID

import psycopg

from bench.layouts.candidates import Layout

ARGS = '{"args": [1, 2], "kwargs": {"week": "2026-W47", "user": 4711}}'
RESULT = '{"done": true}'
RUNNER = 4_711_000_001

PLANNER_DECIDES = "-c jit=off"
GUARDED = " ".join(
    f"-c {setting}"
    for setting in (
        *(f"enable_{way}=off" for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort")),
        "plan_cache_mode=force_generic_plan",
        "jit=off",
    )
)

# Rows of jobs are made inside the server, with time-ordered ids, because sending them takes much longer.
_GENERATE_JOBS: LiteralString = """
    insert into jobs (id, lane, seq, state, args, result, created_at, started_at, finished_at)
    select (lpad(to_hex(%(epoch_ms)s::bigint + i / 1000), 12, '0') || '7'
            || lpad(to_hex(i %% 1000 * 4), 3, '0') || '8' || substr(md5(i::text), 1, 15))::uuid,
        1, nextval('seq'), %(state)s, %(args)s, %(result)s, 1700000000000000 + i, %(moment)s, %(moment)s
    from generate_series(0, %(count)s - 1) as i"""

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Claimed:
    """The outcome of a claim: the rows, and the note that the completion closes."""

    ids: list[str]
    epochs: list[str]
    note: UUID


@dataclass
class Worker:
    """A worker that claims from one lane behind a low-water mark, and completes what it claimed."""

    connection: Connection
    layout: Layout
    room: int
    as_lists: bool = False
    after: int = field(default=0, init=False)

    def claim(self) -> Claimed:
        """Claim the next jobs of the lane; start over once if nothing follows the mark."""
        claimed = self._received(*self._send_claim())
        if not claimed.ids and self.after:
            self.after = 0
            claimed = self._received(*self._send_claim())
        return claimed

    def complete(self, claimed: Claimed) -> None:
        self._check_accepted(self.send_completion(claimed), claimed)

    def exchange(self, claimed: Claimed) -> Claimed:
        """Complete one batch and claim the next, in one transaction and one round trip."""
        with self.connection.pipeline(), self.connection.transaction():
            completion = self.send_completion(claimed)
            sent = self._send_claim()
        self._check_accepted(completion, claimed)
        return self._received(*sent)

    def _send_claim(self) -> tuple[psycopg.Cursor[tuple[object, ...]], UUID]:
        note = time_ordered_ids(1)[0]
        wanted: dict[str, object] = {"lanes": [1], "after": [self.after], "room": self.room}
        wanted |= {"runner": RUNNER, "now": now()}
        if self.layout.notes_claims:
            wanted["claim"] = note
        return self.connection.cursor(binary=True).execute(self.layout.claim, wanted), note

    def _received(self, cursor: psycopg.Cursor[tuple[object, ...]], note: UUID) -> Claimed:
        rows = cursor.fetchall()
        if rows:
            self.after = max(int(str(row[2])) for row in (rows[0], rows[-1]))
        return Claimed([str(row[0]) for row in rows], [str(row[3]) for row in rows], note)

    def send_completion(self, claimed: Claimed) -> psycopg.Cursor[tuple[object, ...]]:
        """Complete what the fence still allows; the cursor's `rowcount` says how many."""
        count, moment = len(claimed.ids), now()
        reported: dict[str, object] = {"now": moment, "results": f"[{','.join([RESULT] * count)}]"}
        if self.as_lists:
            reported |= {
                "jobs": [UUID(job) for job in claimed.ids],
                "epochs": [int(e) for e in claimed.epochs],
            }
            reported["started"] = [moment] * count
        else:
            reported |= {"jobs": array(claimed.ids), "epochs": array(claimed.epochs)}
            reported["started"] = array([str(moment)] * count)
        if self.layout.notes_claims:
            reported["closed"] = [claimed.note]
        return self.connection.cursor(binary=True).execute(self.layout.complete, reported)

    def _check_accepted(self, cursor: psycopg.Cursor[tuple[object, ...]], claimed: Claimed) -> None:
        if cursor.rowcount != len(claimed.ids):
            raise RuntimeError(f"{self.layout.name}: {cursor.rowcount} of {len(claimed.ids)} completions were accepted")


@contextmanager
def connected(dsn: str, settings: str = GUARDED) -> Iterator[Connection]:
    """Open a connection that prepares every statement at its first use."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0, options=settings) as connection:
        yield connection


def create(dsn: str, layout: Layout, *, autovacuum: bool = True) -> None:
    with connected(dsn, "-c client_min_messages=warning") as connection:
        connection.execute("drop schema public cascade; create schema public", prepare=False)
        connection.execute(layout.tables, prepare=False)
        if not autovacuum:
            for (table,) in connection.execute("select relname from pg_stat_user_tables").fetchall():
                connection.execute(f"alter table {table} set (autovacuum_enabled = off)".encode())


def fill(dsn: str, layout: Layout, *, pending: int, finished: int = 0, analyze: bool = True) -> None:
    """Put `finished` old and `pending` new jobs into new tables."""
    with connected(dsn, PLANNER_DECIDES) as connection:
        start = time.time_ns() // 1_000_000
        if finished:
            done = {"state": 3, "result": RESULT, "moment": now(), "epoch_ms": start - 86_400_000}
            connection.execute(_GENERATE_JOBS, {**done, "count": finished, "args": ARGS})
        waiting = {"state": 1, "result": None, "moment": None, "epoch_ms": start}
        connection.execute(_GENERATE_JOBS, {**waiting, "count": pending, "args": ARGS})
        if layout.fill_ready:
            connection.execute(layout.fill_ready)
        if analyze:
            connection.execute("vacuum analyze")


def enqueue_many(connection: Connection, layout: Layout, count: int) -> None:
    jobs = [str(job) for job in time_ordered_ids(count)]
    given = {"jobs": array(jobs), "lanes": array(["1"] * count), "args": f"[{','.join([ARGS] * count)}]"}
    connection.execute(layout.enqueue_many, {**given, "now": now()})


def enqueue_one(connection: Connection, layout: Layout) -> None:
    given = {"job": time_ordered_ids(1)[0], "lane": 1, "args": ARGS, "now": now()}
    connection.execute(layout.enqueue_one, given)


def array(values: Sequence[str]) -> str:
    """Return an array as the server writes it; only for values without quotes, commas and braces."""
    return "{" + ",".join(values) + "}"


def now() -> int:
    return time.time_ns() // 1000


def time_ordered_ids(count: int) -> list[UUID]:
    """Return UUIDv7s: milliseconds, then a counter, then random bits."""
    start = time.time_ns() // 1_000_000
    chance = int.from_bytes(os.urandom(6))
    return [
        UUID(int=start + (n >> 12) << 80 | 7 << 76 | (n & 0xFFF) << 64 | 2 << 62 | chance + n) for n in range(count)
    ]
