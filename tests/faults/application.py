"""The application under fault: jobs that record in the history what they do, in ways that can be checked.

Each job takes a label, by which the checker knows the submit that created it, and returns the token of the run that
finished it. FAULTS_DEFECT plants a defect in every process that loads this (see `defects`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import posthorse as ph
from tests.crash.ledger import INSERT
from tests.faults import defects
from tests.faults.history import HISTORY, Phase, Recorder, Value, new_token

defects.plant(os.environ.get(defects.DEFECT))

app = ph.Posthorse()

MAX_CRASHES = {"poison": 2}
EVERY_SECOND = "every-second"


class Story:
    """The events of one run of a job."""

    def __init__(self, ctx: ph.Context, value: Value = Value()) -> None:  # noqa: B008  # frozen
        self.token = new_token()
        self._recorder = Recorder(os.environ.get(HISTORY, os.devnull), str(os.getpid()))
        self._job, self._attempt = ctx.job_id, ctx.attempt
        self.epoch = ctx._journal.fence.epoch  # the fence, which jobs need not know
        self.tell("start", value=value)

    def tell(self, op: str, phase: Phase = "ok", *, value: Value = Value()) -> None:  # noqa: B008  # frozen
        self._recorder.write(
            op, phase, job=self._job, epoch=self.epoch, attempt=self._attempt, token=self.token, value=value
        )

    def close(self) -> None:
        self._recorder.close()


@contextmanager
def told(ctx: ph.Context, value: Value = Value()) -> Iterator[Story]:  # noqa: B008  # frozen
    """Record the start of a run, and its end unless it is killed."""
    story = Story(ctx, value)
    try:
        yield story
        story.tell("end", value=Value(result="returned"))
    except BaseException as error:
        story.tell("end", value=Value(result=type(error).__name__))
        raise
    finally:
        story.close()


# ── jobs without slices ──────────────────────────────────────────────────────────────────────────────


@app.job(backoff=0)
async def plain(ctx: ph.Context, label: str, seconds: float) -> str:
    with told(ctx) as story:
        await asyncio.sleep(seconds)
        story.tell("effect")
        return story.token


@app.job(backoff=0)
def plain_in_thread(ctx: ph.Context, label: str, seconds: float) -> str:
    with told(ctx) as story:
        time.sleep(seconds)
        story.tell("effect")
        return story.token


@app.job(backoff="100ms", max_attempts=3)
async def failing(ctx: ph.Context, label: str, failures: int) -> str:
    """Fail this many times; become a dead letter if that is more than its attempts."""
    with told(ctx) as story:
        if ctx.attempt <= failures:
            raise ValueError(f"attempt {ctx.attempt} fails, as planned")
        story.tell("effect")
        return story.token


@app.job(max_crashes=MAX_CRASHES["poison"])
async def poison(ctx: ph.Context, label: str) -> str:
    """Kill its own process, each time."""
    with told(ctx) as story:
        story.tell("suicide", value=Value(pids=[os.getpid()]))
        os.kill(os.getpid(), signal.SIGKILL)
        return story.token


@app.job(isolation="process", backoff=0)
def apart(ctx: ph.Context, label: str, seconds: float) -> str:
    """Run in a process of its own, with a child that would outlive it."""
    with told(ctx) as story:
        child = subprocess.Popen(["sleep", "3600"])
        story.tell("child", value=Value(pids=[child.pid]))
        time.sleep(seconds)
        story.tell("effect")
        return story.token


@app.job(backoff=0)
async def ticking(ctx: ph.Context) -> str:
    """Run as a job of the schedule."""
    with told(ctx) as story:
        story.tell("effect")
        return story.token


schedule = app.schedule(ticking.bind(), name=EVERY_SECOND, every=1, misfire="all", overlap="allow")


# ── jobs with limits, of which each start says what it counts against ────────────────────────────────


@app.job(backoff=0, concurrency=2)
async def capped(ctx: ph.Context, label: str, seconds: float) -> str:
    with told(ctx, Value(limit="capped", cap=2)) as story:
        await asyncio.sleep(seconds)
        story.tell("effect")
        return story.token


@app.job(backoff=0, rate=ph.Rate("10/s", burst=5))
async def rated(ctx: ph.Context, label: str) -> str:
    with told(ctx, Value(limit="rated", rate=10.0, burst=5)) as story:
        story.tell("effect")
        return story.token


@app.job(backoff=0)
async def in_turn(ctx: ph.Context, label: str, seconds: float) -> str:
    """Run one after the other, in the sequence that the submit names."""
    with told(ctx) as story:
        await asyncio.sleep(seconds)
        story.tell("effect")
        return story.token


# ── jobs in slices ───────────────────────────────────────────────────────────────────────────────────


@app.job(backoff=0)
def exact(ctx: ph.Context, label: str, count: int, size: int, seconds: float) -> str:
    """Commit effects and cursor together."""
    with told(ctx) as story:
        for batch in ctx.slices(range(count), size=size):
            at = Value(item=batch[0], size=len(batch))
            with batch.transaction() as connection:
                for item in batch:
                    connection.execute(
                        INSERT[app.store.backend.dialect.name], (ctx.job_id, item, story.epoch, os.getpid())
                    )
                time.sleep(seconds)
                story.tell("slice", "invoke", value=at)
            story.tell("slice", value=at)
        return story.token


@app.job(backoff=0)
async def exact_async(ctx: ph.Context, label: str, count: int, size: int, seconds: float) -> str:
    """Do the same in a coroutine."""
    with told(ctx) as story:
        async for batch in ctx.slices(range(count), size=size):
            at = Value(item=batch[0], size=len(batch))
            async with batch.transaction() as connection:
                for item in batch:
                    await connection.execute(
                        INSERT[app.store.backend.dialect.name], (ctx.job_id, item, story.epoch, os.getpid())
                    )
                await asyncio.sleep(seconds)
                story.tell("slice", "invoke", value=at)
            story.tell("slice", value=at)
        return story.token


@app.job(backoff=0)
def repeated(ctx: ph.Context, label: str, count: int, size: int, seconds: float) -> str:
    """Commit effects before the cursor: an interruption repeats at most one slice."""
    with told(ctx) as story:
        for batch in ctx.slices(range(count), size=size):
            time.sleep(seconds)
            at = Value(item=batch[0], size=len(batch))
            story.tell("effect", value=at)
            story.tell("slice", "invoke", value=at)
            batch.commit()
            story.tell("slice", value=at)
        return story.token
