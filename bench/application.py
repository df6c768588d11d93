"""The jobs that are measured: they do nothing, walk a range in slices, or tell when they began."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import posthorse as ph

TARGET = f"{__name__}:app"

app = ph.Posthorse()  # what is measured runs on the store that `opened` names, and workers on that of the environment
app.queue("shared", fair=True)


@app.job
async def noop(first: int, second: int) -> None:
    """On the worker's loop."""


@app.job
def threaded_noop(first: int, second: int) -> None:
    """On the worker's threads."""


@app.job(max_attempts=1)
async def fail(first: int, second: int) -> None:
    """On the worker's loop, as a dead letter."""
    raise ValueError("it cannot be done")


@app.job
async def swallow(text: str) -> None:
    """On the worker's loop, with an argument of any size."""


@app.job
async def tell_beginning() -> int:
    """When its code began, in nanoseconds on the clock that all processes of the machine share."""
    return time.monotonic_ns()


@app.job
def walk(ctx: ph.Context, items: int, size: int) -> float:
    """Seconds that a loop over slices takes when its body is empty."""
    began = time.perf_counter()
    for _ in ctx.slices(range(items), size=size):
        pass
    return time.perf_counter() - began


@app.job
async def awalk(ctx: ph.Context, items: int, size: int) -> float:
    """The same on the worker's loop."""
    began = time.perf_counter()
    async for _ in ctx.slices(range(items), size=size):
        pass
    return time.perf_counter() - began


@contextmanager
def opened(url: str) -> Iterator[ph.Posthorse]:
    """The application on a store, whose schema is made first."""
    app.use_url(url)
    app.migrate()
    try:
        yield app
    finally:
        app.close()
