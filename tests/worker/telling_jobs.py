"""Isolated jobs that log; children import this module. The tests point it at a store."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import signal
import sys
import threading
from typing import TextIO, cast

import posthorse as ph
from posthorse.rules.tuning import Tuning

app = ph.Posthorse(lease="6s", poll="0.2s", tuning=Tuning(logs_interval=0.05))
log = logging.getLogger("shop.apart")


@app.job(isolation="process", max_attempts=1)
def apart(ctx: ph.Context) -> None:
    log.warning("in a child", extra={"user": 7})
    ctx.log.error("by its context")
    thread = threading.Thread(target=log.warning, args=("in a thread without the context",))
    thread.start()
    thread.join()


@app.job(isolation="process", max_attempts=1)
async def aapart() -> None:
    await asyncio.to_thread(log.warning, "in a thread of asyncio's")


@app.job(isolation="process", max_attempts=1, max_crashes=1)
def crashes(count: int) -> None:
    for number in range(count):
        log.warning("line %d", number)
    os.kill(os.getpid(), signal.SIGKILL)


@app.job(isolation="process", max_attempts=1)
def many(count: int) -> None:
    for number in range(count):
        log.warning("line %d", number)


@app.job(isolation="process", max_attempts=1)
def forks() -> None:
    log.warning("the parent")
    child = os.fork()
    if child == 0:
        log.warning("the child")
        os._exit(0)
    os.waitpid(child, 0)


@app.job(isolation="process", max_attempts=1, capture_print=True)
def prints() -> None:
    print("printed")  # noqa: T201


class Wrapped(io.TextIOBase):
    """A stream around another, as libraries put it in the place of `sys.stdout`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str, /) -> int:
        return self.stream.write(text)


@app.job(isolation="process", max_attempts=1, capture_print=True)
def prints_without_end() -> None:
    print("no end", end="")  # noqa: T201
    sys.stdout = cast("TextIO", Wrapped(sys.stdout))


@app.job(isolation="process", max_attempts=1, logs=False)
def quiet() -> None:
    log.error("not kept")
