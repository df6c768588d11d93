"""The raw limits of the databases: the cheapest batched SQL that any queue could issue, in a naive loop.

There are no queue semantics beyond insert, claim, complete and one cursor row: no fence, no lease, no result. Every
measure returns one sample in rows (or commits) per second, on a table that it created, so that a bench can alternate
these samples with its own. Only ratios within one run mean anything.

    python -m bench.raw_limits postgres postgresql://…
    python -m bench.raw_limits sqlite scratch-directory
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import asyncpg

ROWS = 20_000
BULK = 1_000
SINGLES = 3_000
SAMPLES = 3
BACKLOG = 500_000
PAYLOAD = '{"args":[1,2],"kwargs":{}}'


@dataclass(frozen=True)
class ClaimRates:
    """Rows per second of one run: of the claims alone, of the completions alone, and of both, one after the other."""

    claim: float
    complete: float
    both: float


class RawLimits(ABC):
    """The measures, the same for both databases; a context manager that owns its connection."""

    def insert_singly(self, rows: int = SINGLES) -> float:
        """Insert one row per commit, each awaited before the next."""
        self.create_table()
        return rows / self.insert(rows, batch=1)

    def insert_in_bulk(self, rows: int = ROWS, *, batch: int = BULK) -> float:
        """Insert `batch` rows per commit."""
        self.create_table()
        return rows / self.insert(rows, batch=batch)

    def claim_and_complete(self, rows: int = ROWS, *, batch: int = 500, backlog: int = 0) -> ClaimRates:
        """Claim and complete `rows` rows over one connection, while `backlog` more rows wait."""
        self.create_table()
        self.insert(rows + backlog, batch=BULK)
        self.settle()
        claiming, completing = self.consume(rows, batch=batch)
        return ClaimRates(rows / claiming, rows / completing, rows / (claiming + completing))

    def end_to_end(self, rows: int = ROWS) -> float:
        """Insert in bulk, then claim and complete 500 per batch; the rate includes all three."""
        self.create_table()
        return rows / (self.insert(rows, batch=BULK) + sum(self.consume(rows, batch=500)))

    @abstractmethod
    def commit_cursor(self, commits: int = SINGLES) -> float:
        """Update one small row repeatedly, with a commit each time: the least that a checkpoint can cost."""

    @abstractmethod
    def create_table(self) -> None:
        """Create the table of jobs again."""

    @abstractmethod
    def insert(self, rows: int, *, batch: int) -> float:
        """Insert rows, `batch` per commit; return the seconds."""

    @abstractmethod
    def settle(self) -> None:
        """Give the planner the statistics of a table that has existed for a while."""

    @abstractmethod
    def consume(self, rows: int, *, batch: int) -> tuple[float, float]:
        """Claim and complete rows, `batch` per commit; return the seconds of each."""

    @abstractmethod
    def close(self) -> None:
        """Remove what the measures left, and disconnect."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# --------------------------------------------------------------------------------------- PostgreSQL

POSTGRES_TABLES = """
drop table if exists lim_jobs, lim_cursor;
create table lim_jobs (
  id bigint generated always as identity primary key,
  queue text not null default 'default', task text not null, payload jsonb not null,
  status smallint not null default 0, priority smallint not null default 0,
  run_at timestamptz not null default now(), attempts smallint not null default 0,
  worker text, started_at timestamptz, finished_at timestamptz
);
create index lim_ready on lim_jobs (queue, priority, id) where status = 0;
create table lim_cursor (id bigint primary key, cursor text not null, done bigint not null);
insert into lim_cursor values (1, '', 0);
"""
POSTGRES_INSERT = "insert into lim_jobs(task, payload) select * from unnest($1::text[], $2::jsonb[]) returning id"
POSTGRES_CLAIM = """
with c as (select id from lim_jobs where status = 0 and queue = 'default'
           order by priority, id limit $1 for update skip locked)
update lim_jobs j set status = 1, worker = $2, attempts = attempts + 1, started_at = now()
from c where j.id = c.id returning j.id, j.task, j.payload, j.attempts
"""
POSTGRES_COMPLETE = "update lim_jobs set status = 2, finished_at = now() where id = any($1::bigint[])"
POSTGRES_COMMIT_CURSOR = "update lim_cursor set cursor = $1, done = $2 where id = 1"


class _Connection(Protocol):
    """The methods of an asyncpg connection that are used."""

    async def execute(self, query: str, *arguments: object) -> str: ...

    async def fetch(self, query: str, *arguments: object) -> Sequence[Sequence[object]]: ...

    async def copy_records_to_table(
        self, table_name: str, *, columns: Sequence[str], records: Iterable[Sequence[object]]
    ) -> str: ...

    async def close(self) -> None: ...


class RawPostgres(RawLimits):
    """The limits of PostgreSQL through asyncpg."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.Runner()
        self._connection = self._loop.run(_connect(url))

    def create_table(self) -> None:
        self._loop.run(self._connection.execute(POSTGRES_TABLES))

    def settle(self) -> None:
        self._loop.run(self._connection.execute("vacuum analyze lim_jobs"))

    def insert(self, rows: int, *, batch: int) -> float:
        async def insert() -> float:
            tasks, payloads = ["noop"] * batch, [PAYLOAD] * batch
            started = time.perf_counter()
            for _ in range(rows // batch):
                await self._connection.fetch(POSTGRES_INSERT, tasks, payloads)
            return time.perf_counter() - started

        return self._loop.run(insert())

    def consume(self, rows: int, *, batch: int) -> tuple[float, float]:
        return self._loop.run(_consume(self._connection, rows, batch=batch))

    def commit_cursor(self, commits: int = SINGLES) -> float:
        async def commit() -> float:
            started = time.perf_counter()
            for done in range(commits):
                await self._connection.execute(POSTGRES_COMMIT_CURSOR, str(done), done)
            return commits / (time.perf_counter() - started)

        self.create_table()
        return self._loop.run(commit())

    def copy_in_bulk(self, rows: int = ROWS, *, batch: int = BULK) -> float:
        """Insert by COPY, `batch` rows per commit; this returns no ids."""

        async def copy() -> float:
            records = [("noop", PAYLOAD)] * batch
            started = time.perf_counter()
            for _ in range(rows // batch):
                await self._connection.copy_records_to_table("lim_jobs", columns=["task", "payload"], records=records)
            return rows / (time.perf_counter() - started)

        self.create_table()
        return self._loop.run(copy())

    def claim_and_complete_together(self, connections: int, rows: int = ROWS, *, batch: int = 500) -> float:
        """Claim and complete over several connections at once, from one process."""

        async def consume_together() -> float:
            pool = [await _connect(self._url) for _ in range(connections)]
            started = time.perf_counter()
            await asyncio.gather(*(_consume(one, rows, batch=batch) for one in pool))
            seconds = time.perf_counter() - started
            for connection in pool:
                await connection.close()
            return rows / seconds

        self.create_table()
        self.insert(rows, batch=BULK)
        self.settle()
        return self._loop.run(consume_together())

    def close(self) -> None:
        with self._loop:
            self._loop.run(self._connection.execute("drop table if exists lim_jobs, lim_cursor"))
            self._loop.run(self._connection.close())


async def _connect(url: str) -> _Connection:
    connection: _Connection = await asyncpg.connect(url)
    return connection


async def _consume(connection: _Connection, rows: int, *, batch: int) -> tuple[float, float]:
    claiming = completing = 0.0
    consumed = 0
    while consumed < rows:
        started = time.perf_counter()
        claimed = await connection.fetch(POSTGRES_CLAIM, batch, "worker")
        between = time.perf_counter()
        claiming += between - started
        if not claimed:
            break
        await connection.execute(POSTGRES_COMPLETE, [row[0] for row in claimed])
        completing += time.perf_counter() - between
        consumed += len(claimed)
    return claiming, completing


# ------------------------------------------------------------------------------------------- SQLite

SQLITE_TABLES = """
drop table if exists lim_jobs;
create table lim_jobs (id integer primary key, queue text not null default 'default', task text not null,
  payload text not null, status int not null default 0, priority int not null default 0,
  run_at real not null default 0, attempts int not null default 0,
  worker text, started_at real, finished_at real);
create index lim_ready on lim_jobs (queue, priority, id) where status = 0;
drop table if exists lim_cursor;
create table lim_cursor (id integer primary key, cursor text not null, done integer not null);
insert into lim_cursor values (1, '', 0);
"""
SQLITE_INSERT = "insert into lim_jobs(task, payload) values (?, ?)"
SQLITE_CLAIM = """
update lim_jobs set status = 1, worker = 'worker', attempts = attempts + 1, started_at = ?
where id in (select id from lim_jobs where status = 0 and queue = 'default' order by priority, id limit ?)
returning id, task, payload, attempts
"""
SQLITE_COMPLETE = "update lim_jobs set status = 2, finished_at = ? where id = ?"
SQLITE_COMMIT_CURSOR = "update lim_cursor set cursor = ?, done = ? where id = 1"


Synchronous = Literal["NORMAL", "FULL"]
SYNCHRONOUS: Sequence[Synchronous] = ("NORMAL", "FULL")


class RawSqlite(RawLimits):
    """The limits of SQLite in WAL mode through the standard module, one connection, one thread."""

    def __init__(self, directory: Path, *, synchronous: Synchronous = "FULL") -> None:
        self._path = directory / f"raw-limits-{synchronous.lower()}.db"
        self._remove_files()
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute(f"pragma synchronous = {synchronous}")

    def create_table(self) -> None:
        self._connection.executescript(SQLITE_TABLES)

    def settle(self) -> None:
        """Do nothing: SQLite's plan for these statements needs no statistics."""

    def insert(self, rows: int, *, batch: int) -> float:
        values = [("noop", PAYLOAD)] * batch
        started = time.perf_counter()
        for _ in range(rows // batch):
            self._connection.execute("begin immediate")
            self._connection.executemany(SQLITE_INSERT, values)
            self._connection.execute("commit")
        return time.perf_counter() - started

    def consume(self, rows: int, *, batch: int) -> tuple[float, float]:
        claiming = completing = 0.0
        consumed = 0
        while consumed < rows:
            started = time.perf_counter()
            self._connection.execute("begin immediate")
            claimed = self._connection.execute(SQLITE_CLAIM, (started, batch)).fetchall()
            self._connection.execute("commit")
            between = time.perf_counter()
            claiming += between - started
            if not claimed:
                break
            self._connection.execute("begin immediate")
            self._connection.executemany(SQLITE_COMPLETE, [(between, row[0]) for row in claimed])
            self._connection.execute("commit")
            completing += time.perf_counter() - between
            consumed += len(claimed)
        return claiming, completing

    def commit_cursor(self, commits: int = SINGLES) -> float:
        self.create_table()
        started = time.perf_counter()
        for done in range(commits):
            self._connection.execute("begin immediate")
            self._connection.execute(SQLITE_COMMIT_CURSOR, (str(done), done))
            self._connection.execute("commit")
        return commits / (time.perf_counter() - started)

    def close(self) -> None:
        self._connection.close()
        self._remove_files()

    def _remove_files(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


# ------------------------------------------------------------------------------------- command line


def report(name: str, raw: RawLimits) -> None:
    """Measure every case several times; print one JSON line for each."""
    _report(f"{name} insert, one commit each", raw.insert_singly)
    _report(f"{name} insert, {BULK} a commit", raw.insert_in_bulk)
    _report(f"{name} one cursor row, one commit each", raw.commit_cursor)
    for batch in (1, 10, 100, 500, 1000):
        rows = SINGLES if batch == 1 else ROWS
        _report_claims(f"{name}, {batch} a batch", partial(raw.claim_and_complete, rows, batch=batch))
    _report_claims(f"{name}, 500 a batch, {BACKLOG} waiting", partial(raw.claim_and_complete, backlog=BACKLOG))
    _report(f"{name} insert + claim + complete", raw.end_to_end)
    if isinstance(raw, RawPostgres):
        _report(f"{name} COPY, {BULK} a commit", raw.copy_in_bulk)
        for connections in (2, 4):
            case = f"{name} claim + complete, 500 a batch, {connections} connections"
            _report(case, partial(raw.claim_and_complete_together, connections))


def _report(case: str, measure: Callable[[], float]) -> None:
    _print(case, [measure() for _ in range(SAMPLES)])


def _report_claims(case: str, measure: Callable[[], ClaimRates]) -> None:
    samples = [measure() for _ in range(SAMPLES)]
    _print(f"{case}: claim", [sample.claim for sample in samples])
    _print(f"{case}: complete", [sample.complete for sample in samples])
    _print(f"{case}: claim + complete", [sample.both for sample in samples])


def _print(case: str, samples: Sequence[float]) -> None:
    rounded = [round(sample) for sample in samples]
    print(json.dumps({"case": case, "per_s_median": statistics.median(rounded), "samples": rounded}), flush=True)


def main(arguments: Sequence[str]) -> None:
    match arguments:
        case ["postgres", url]:
            with RawPostgres(url) as raw:
                report("postgres", raw)
        case ["sqlite", directory]:
            for synchronous in SYNCHRONOUS:
                with RawSqlite(Path(directory), synchronous=synchronous) as raw:
                    report(f"sqlite {synchronous}", raw)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
