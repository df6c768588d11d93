"""The application that is killed: jobs that keep a ledger of their effects, and jobs that misbehave.

Every job also writes marks, one line per event, to the file in $CRASH_MARKS. The tests read there what ran when, in
which process, and whether it was killed inside a slice.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

import posthorse as ph
from posthorse.rules.tuning import DEFAULTS
from tests.crash.ledger import INSERT, Ledger

app = ph.Posthorse(tuning=replace(DEFAULTS, share_interval=0.0, shared_seconds=0.0, shared_slices=0.0))

MARKS = "CRASH_MARKS"
GATE = "CRASH_GATE"


def mark(job: str, event: str, detail: int = 0) -> None:
    """Add a line: process, job, event, detail."""
    path = os.environ.get(MARKS)
    if path is not None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{os.getpid()} {job} {event} {detail}\n".encode())
        finally:
            os.close(descriptor)


def epoch_of(ctx: ph.Context) -> int:
    """Return the fence of this attempt, which jobs need not know, but the ledger records."""
    return ctx._journal.fence.epoch


def write_effects(connection: ph.Connection, ctx: ph.Context, items: Sequence[int]) -> None:
    for item in items:
        connection.execute(INSERT[app.store.backend.dialect.name], (ctx.job_id, item, epoch_of(ctx), os.getpid()))


# ── jobs in slices ───────────────────────────────────────────────────────────────────────────────────


@app.job(backoff=0)
def exact(ctx: ph.Context, count: int, size: int, seconds: float) -> int:
    """Commit effects and cursor together."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    seen = ctx.keep("seen", [0])
    for batch in ctx.slices(range(count), size=size):
        with batch.transaction() as connection:
            write_effects(connection, ctx, batch)
            mark(ctx.job_id, "in", batch[0])
            time.sleep(seconds)
            seen[0] += sum(batch)
        mark(ctx.job_id, "out", batch[0])
    return seen[0]


@app.job(backoff=0)
async def exact_async(ctx: ph.Context, count: int, size: int, seconds: float) -> int:
    """Do the same in a coroutine."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    seen = ctx.keep("seen", [0])
    async for batch in ctx.slices(range(count), size=size):
        async with batch.transaction() as connection:
            for item in batch:
                await connection.execute(
                    INSERT[app.store.backend.dialect.name], (ctx.job_id, item, epoch_of(ctx), os.getpid())
                )
            mark(ctx.job_id, "in", batch[0])
            await asyncio.sleep(seconds)
            seen[0] += sum(batch)
        mark(ctx.job_id, "out", batch[0])
    return seen[0]


@app.job(backoff=0)
def repeated(ctx: ph.Context, count: int, size: int, seconds: float) -> int:
    """Commit effects before the cursor: an interruption repeats at most one slice."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    seen = ctx.keep("seen", [0])
    ledger = Ledger(app.store.url)
    for batch in ctx.slices(range(count), size=size):
        mark(ctx.job_id, "in", batch[0])
        with ledger.connection() as connection:
            write_effects(connection, ctx, batch)
        time.sleep(seconds)
        seen[0] += sum(batch)
        mark(ctx.job_id, "out", batch[0])
    return seen[0]


@app.job(backoff=0, shards=2)
def cut(ctx: ph.Context, count: int, size: int) -> int:
    """Commit effects and cursor together, in parts; all but the first lag, so they give half of their rest away."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    seen = ctx.keep("seen", [0])
    for batch in ctx.slices(range(count), size=size):
        with batch.transaction() as connection:
            write_effects(connection, ctx, batch)
            seen[0] += sum(batch)
        if ctx.shard:
            time.sleep(0.02)
    return seen[0]


cut.combine(sum)


# ── jobs in steps ────────────────────────────────────────────────────────────────────────────────────


@app.job(backoff=0)
def stepping(ctx: ph.Context, count: int) -> list[int]:
    """Write an effect in each step; return in which attempt each step ran."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    ledger = Ledger(app.store.url)

    def act(number: int) -> int:
        with ledger.connection() as connection:
            write_effects(connection, ctx, [number])
        mark(ctx.job_id, "step", number)
        return epoch_of(ctx)

    return [ctx.step(f"step {number}", act, number) for number in range(count)]


@app.job(backoff=0)
async def stepping_async(ctx: ph.Context, count: int) -> list[int]:
    """Do the same in a coroutine."""
    mark(ctx.job_id, "begin", epoch_of(ctx))

    async def act(number: int) -> int:
        await asyncio.to_thread(write, number)
        mark(ctx.job_id, "step", number)
        return epoch_of(ctx)

    def write(number: int) -> None:
        with Ledger(app.store.url).connection() as connection:
            write_effects(connection, ctx, [number])

    return [await ctx.astep(f"step {number}", act, number) for number in range(count)]


# ── jobs with children ───────────────────────────────────────────────────────────────────────────────


@app.job(backoff=0)
def adding(ctx: ph.Context, count: int) -> list[int]:
    """Add children one by one and join them, then in slices, and join these."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    for number in range(count):
        ctx.add(add.bind(number, 0))
    first = list(ctx.join())
    for batch in ctx.slices(range(count), size=1):
        with batch.transaction():
            ctx.add_many([add_in_thread.bind(number, 0) for number in batch])
    return [*first, *ctx.join()]


@app.job(backoff=0)
async def adding_async(ctx: ph.Context, count: int) -> list[int]:
    """Do the same in a coroutine."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    for number in range(count):
        await ctx.aadd(add.bind(number, 0))
    first = [output async for output in await ctx.ajoin()]
    async for batch in ctx.slices(range(count), size=1):
        async with batch.transaction():
            await ctx.aadd_many([add_in_thread.bind(number, 0) for number in batch])
    return [*first, *[output async for output in await ctx.ajoin()]]


# ── jobs without slices ──────────────────────────────────────────────────────────────────────────────


@app.job
async def add(a: int, b: int) -> int:
    return a + b


@app.job
def add_in_thread(a: int, b: int) -> int:
    return a + b


@app.job(backoff=0)
async def fail_once(ctx: ph.Context) -> int:
    """Fail in the first attempt."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    if ctx.attempt == 1:
        raise ValueError("the first attempt fails")
    return ctx.attempt


@app.job
def sleep_in_thread(ctx: ph.Context, seconds: float) -> str:
    """Ignore every request to stop."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    time.sleep(seconds)
    mark(ctx.job_id, "end")
    return "slept"


@app.job
async def swallow(ctx: ph.Context, seconds: float) -> str:
    """Swallow every cancellation."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            await asyncio.sleep(0.05)
        except BaseException:
            mark(ctx.job_id, "swallowed")
    return "ended"


@app.job
async def swallow_cancellations(ctx: ph.Context, seconds: float) -> str:
    """Swallow every cancellation, and nothing else."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
    return "ended"


@app.job
def swallow_in_thread(ctx: ph.Context, seconds: float) -> str:
    """Go on after every Interrupted."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            ctx.checkpoint()
        except BaseException:
            mark(ctx.job_id, "swallowed")
        time.sleep(0.05)
    return "ended"


@app.job(max_crashes=1)
async def block_the_loop(ctx: ph.Context, seconds: float) -> str:
    """Block the loop of the runner."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    time.sleep(seconds)  # noqa: ASYNC251
    return "blocked"


@app.job
def hold_the_interpreter(ctx: ph.Context, seconds: float) -> str:
    """Make one call in C that never releases the interpreter lock."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))  # PyDLL keeps the lock, unlike CDLL
    mark(ctx.job_id, "end")
    return "held"


@app.job(max_crashes=1)
def exit_quietly(ctx: ph.Context) -> None:
    mark(ctx.job_id, "begin", epoch_of(ctx))
    os._exit(0)


@app.job(max_crashes=1)
def segfault(ctx: ph.Context) -> None:
    mark(ctx.job_id, "begin", epoch_of(ctx))
    ctypes.string_at(0)


@app.job(max_crashes=2)
async def poison(ctx: ph.Context) -> None:
    """Kill the runner."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    os.kill(os.getpid(), signal.SIGKILL)


@app.job
def spawn(ctx: ph.Context, seconds: float) -> None:
    """Leave a child process behind, and wait."""
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
    mark(ctx.job_id, "begin", child.pid)
    time.sleep(seconds)


@app.job
def stop_in_transaction(ctx: ph.Context) -> int:
    """Stop this process once, inside a write transaction."""
    for batch in ctx.slices(range(1)):
        with batch.transaction() as connection:
            write_effects(connection, ctx, batch)
            mark(ctx.job_id, "begin", epoch_of(ctx))
            if ctx.progress.done == 0 and epoch_of(ctx) == 1:
                os.kill(os.getpid(), signal.SIGSTOP)
    return epoch_of(ctx)


# ── jobs in processes of their own ───────────────────────────────────────────────────────────────────


@app.job(isolation="process", backoff=0)
def exact_apart(ctx: ph.Context, count: int, size: int, seconds: float) -> int:
    """Commit effects and cursor together, in a child."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    seen = ctx.keep("seen", [0])
    for batch in ctx.slices(range(count), size=size):
        with batch.transaction() as connection:
            write_effects(connection, ctx, batch)
            mark(ctx.job_id, "in", batch[0])
            time.sleep(seconds)
            seen[0] += sum(batch)
        mark(ctx.job_id, "out", batch[0])
    return seen[0]


@app.job(isolation="process")
def spawn_apart(ctx: ph.Context, seconds: float) -> int:
    """Start processes that escape in different ways; the second attempt only counts."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    if epoch_of(ctx) > 1:
        return epoch_of(ctx)
    subprocess.Popen(["sleep", f"{seconds}"])
    subprocess.run(["setsid", "--fork", "sleep", f"{seconds}"], check=True)
    mark(ctx.job_id, "spawned")
    time.sleep(seconds)
    return 0


# ── jobs whose process is stopped until their lease is over; each then writes in a way of its own ────


@app.job
def write_late(ctx: ph.Context, how: str) -> str:
    """Wait for a gate in each attempt. The first attempt, which has lost its lease by then, writes as `how` says."""
    mark(ctx.job_id, "begin", epoch_of(ctx))
    for batch in ctx.slices(range(10), size=1):
        mark(ctx.job_id, "waits", epoch_of(ctx))
        while not os.path.exists(f"{os.environ[GATE]}{epoch_of(ctx)}"):
            time.sleep(0.01)
        if epoch_of(ctx) > 1:
            return "second"
        try:
            _write_late(ctx, batch, how)
        except BaseException as error:
            mark(ctx.job_id, f"refused:{type(error).__name__}")
            raise
        mark(ctx.job_id, "written")
        return "first"
    return "never"


def _write_late(ctx: ph.Context, batch: ph.Batch[int], how: str) -> None:
    match how:
        case "raise":
            raise ValueError("from the first attempt")
        case "checkpoint":
            ctx.keep.set("who", "first")
            ctx.checkpoint()
        case "progress":
            ctx._saved_at -= 10
            ctx.set_progress(999)
        case "slice":
            batch.commit()
        case "transaction":
            with batch.transaction() as connection:
                write_effects(connection, ctx, [666])
        case _:
            pass  # its result comes too late


def total_of(count: int) -> int:
    """Return the result of the jobs in slices."""
    return sum(itertools.islice(itertools.count(), count))
