"""The yardstick: the cheapest batched SQL that a queue could issue, through asyncpg, with no fence at all."""

import asyncio
import time

import asyncpg

TABLE = """
    drop table if exists raw_jobs;
    create table raw_jobs (
        id bigint generated always as identity primary key,
        queue text not null default 'default', task text not null, payload jsonb not null,
        status smallint not null default 0, priority smallint not null default 0,
        run_at timestamptz not null default now(), attempts smallint not null default 0,
        worker text, started_at timestamptz, finished_at timestamptz);
    create index on raw_jobs (queue, priority, id) where status = 0"""
INSERT = "insert into raw_jobs (task, payload) select * from unnest($1::text[], $2::jsonb[]) returning id"
CLAIM = """
    with picked as (
        select id from raw_jobs where status = 0 and queue = 'default'
        order by priority, id limit $1 for update skip locked)
    update raw_jobs set status = 1, worker = 'w', attempts = attempts + 1, started_at = now()
    from picked where raw_jobs.id = picked.id
    returning raw_jobs.id, task, payload, attempts"""
COMPLETE = "update raw_jobs set status = 2, finished_at = now() where id = any($1::bigint[])"
PAYLOAD = '{"args":[1,2],"kwargs":{}}'


def consumed_per_second(dsn: str, *, jobs: int = 20_000, batch: int = 500) -> float:
    """Claims and completes `jobs` rows over one connection."""
    return asyncio.run(_consume(dsn, jobs, batch))


def inserted_per_second(dsn: str, *, jobs: int, batch: int) -> float:
    """Inserts `jobs` rows, `batch` to a commit; a batch of one is one awaited commit each."""
    return asyncio.run(_insert(dsn, jobs, batch))


async def _consume(dsn: str, jobs: int, batch: int) -> float:
    connection = await asyncpg.connect(dsn)
    await connection.execute(TABLE)
    for _ in range(jobs // 1000):
        await connection.fetch(INSERT, ["noop"] * 1000, [PAYLOAD] * 1000)
    await connection.execute("vacuum analyze raw_jobs")
    start = time.perf_counter()
    while rows := await connection.fetch(CLAIM, batch):
        await connection.execute(COMPLETE, [row[0] for row in rows])
    elapsed = time.perf_counter() - start
    await connection.execute("drop table raw_jobs")
    await connection.close()
    return jobs / elapsed


async def _insert(dsn: str, jobs: int, batch: int) -> float:
    connection = await asyncpg.connect(dsn)
    await connection.execute(TABLE)
    start = time.perf_counter()
    for _ in range(jobs // batch):
        await connection.fetch(INSERT, ["noop"] * batch, [PAYLOAD] * batch)
    elapsed = time.perf_counter() - start
    await connection.execute("drop table raw_jobs")
    await connection.close()
    return jobs / elapsed
