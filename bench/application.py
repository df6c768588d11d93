"""The application that is measured: jobs that do nothing, walk a range in slices, or return when they started."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import posthorse as ph

TARGET = f"{__name__}:app"

GROUND = 500_000
LIGHT, HEAVY = 0.01, 0.09
"""Seconds for which `doze` sleeps."""
DOZES = f"{HEAVY / LIGHT:g} times as long"

app = ph.Posthorse()  # benches use the store that `opened` names, workers the one in the environment
app.queue("shared", fair=True)


@app.job
async def noop(first: int, second: int) -> None:
    """Do nothing, on the worker's loop."""


@app.job
def threaded_noop(first: int, second: int) -> None:
    """Do nothing, in one of the worker's threads."""


@app.job(max_attempts=1)
async def fail(first: int, second: int) -> None:
    """Become a dead letter, on the worker's loop."""
    raise ValueError("it cannot be done")


@app.job(logs=True)
async def tell_in_the_log(lines: int) -> None:
    """Log some lines, which are kept."""
    for number in range(lines):
        logging.getLogger("bench").info("line %d of %d", number, lines, extra={"number": number})


@app.job(logs=False)
async def tell_no_log(lines: int) -> None:
    """Log the same lines, which are not kept."""
    for number in range(lines):
        logging.getLogger("bench").info("line %d of %d", number, lines, extra={"number": number})


@app.job
async def swallow(text: str) -> None:
    """Take an argument of any size, on the worker's loop."""


@app.job
async def tell_beginning() -> int:
    """Return when the job's code started, in nanoseconds on the clock that all processes of a machine share."""
    return time.monotonic_ns()


@app.job
def walk(ctx: ph.Context, items: int, size: int) -> float:
    """Return the seconds that a loop over slices takes if its body is empty."""
    began = time.perf_counter()
    for _ in ctx.slices(range(items), size=size):
        pass
    return time.perf_counter() - began


@app.job
async def awalk(ctx: ph.Context, items: int, size: int) -> float:
    """Do the same on the worker's loop."""
    began = time.perf_counter()
    async for _ in ctx.slices(range(items), size=size):
        pass
    return time.perf_counter() - began


@app.job
def grind(ctx: ph.Context, items: int) -> None:
    """Keep a processor busy for about ten milliseconds with each item."""
    for batch in ctx.slices(range(items), size=5):
        for _ in batch:
            sum(range(GROUND))


@app.job
def doze(ctx: ph.Context, items: int) -> None:
    """Sleep with each item: long with those of the last eighth, and for a moment with all others."""
    for batch in ctx.slices(range(items), size=5):
        for item in batch:
            time.sleep(HEAVY if item >= items * 7 // 8 else LIGHT)


@contextmanager
def opened(url: str) -> Iterator[ph.Posthorse]:
    """Open the application on a store, after creating the schema."""
    app.use_url(url)
    app.migrate()
    try:
        yield app
    finally:
        app.close()
