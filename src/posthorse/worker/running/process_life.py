"""The life of a process that runs jobs: the application's functions at its start and its end, and what jobs share.

Functions of `on_start` run in the order of their declaration, before the process takes a job. At the end, shared
resources are closed first, then the functions of `on_stop` run in reverse order. None of them can stop or delay the
end: each has a limit, all together have one, and errors are logged.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Coroutine

from posthorse.rules.process_hooks import Hook, ProcessHooks, hook_name
from posthorse.rules.tuning import Tuning
from posthorse.worker.base.unanswered_calls import comes_within, in_a_thread
from posthorse.worker.running.process_resources import ProcessResources

log = logging.getLogger("posthorse.worker")

STOP_WITHIN = 5.0
"""Seconds for all that is closed and called at the end of a process."""


class ProcessLife:
    """The life of one runner, embedded worker or child process; made inside its running loop."""

    def __init__(self, process_hooks: ProcessHooks, tuning: Tuning) -> None:
        self.resources = ProcessResources()
        self._process_hooks = process_hooks
        self._tuning = tuning
        self._is_started = False
        self.failed_in: str | None = None
        """The function of `on_start` that raised."""

    async def start(self) -> None:
        """Call what must run before the first job. Raises what it raises; then nothing is called at the end."""
        for function in self._process_hooks.on_start:
            try:
                await _called(function)
            except BaseException as error:
                self.failed_in = hook_name(function)
                error.add_note(f"raised by {self.failed_in}, a function of on_start")
                raise
        self._is_started = True

    async def stop(self) -> None:
        """Close what jobs shared, and call what must run at the end, once; log what fails or takes too long."""
        if not self._is_started:
            return
        self._is_started = False
        loop = asyncio.get_running_loop()
        until = loop.time() + STOP_WITHIN
        each = self._tuning.stop_time
        await self.resources.close(each=each, within=STOP_WITHIN)
        for function in reversed(self._process_hooks.on_stop):
            await _ends(
                f"{hook_name(function)}, a function of on_stop,", _stopped(function), min(each, until - loop.time())
            )


async def _ends(what: str, work: Coroutine[None, None, object], within: float) -> None:
    """Await the work in time; log what becomes of it."""
    try:
        if not await comes_within(max(0.0, within), work):
            log.error("%s did not end in time; the worker ends without it", what)
    except asyncio.CancelledError:
        raise
    except BaseException:
        log.exception("%s failed", what)


async def _called(function: Hook) -> None:
    came = function()
    if inspect.isawaitable(came):
        await came


async def _stopped(function: Hook) -> None:
    """Call an async function on the loop, another one in a thread, because it may never return."""
    if inspect.iscoroutinefunction(function):
        await function()
        return
    came = await in_a_thread(function, name="posthorse-stop")
    if inspect.isawaitable(came):
        await came
