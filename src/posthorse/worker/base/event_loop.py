"""The event loop of a process that runs jobs: uvloop's if it is installed. No job can stop it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger("posthorse.worker")

_make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with suppress(ImportError):
    import uvloop

    _make = uvloop.new_event_loop


def new_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop."""
    return _make()


def wait_on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop of a worker, from a job outside of it, and wait for it.

    In tests the loop may rest in this very thread meanwhile; then it goes on here.
    """
    if not loop.is_running():
        return loop.run_until_complete(work)
    return asyncio.run_coroutine_threadsafe(work, loop).result()


def run_to_end(loop: asyncio.AbstractEventLoop, main: Coroutine[None, None, T]) -> T:
    """Run until `main` is done.

    Without this, a job's task that raises SystemExit, or code that stops the loop, would end the loop for all jobs.
    """
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
            if task.done() or loop.is_closed():
                raise
            log.error("code of a job stopped the event loop of its worker, which goes on: %r", error)
