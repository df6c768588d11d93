"""Isolated jobs in an application of their own; children import this module. The tests point it at a store."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import posthorse as ph

app = ph.Posthorse(lease="6s", poll="0.5s", grace="1s")


@app.job(isolation="process")
def pid() -> int:
    return os.getpid()


@app.job(isolation="process")
async def async_pid(number: int) -> int:
    await asyncio.sleep(0)
    return os.getpid() if number else 0


@app.job(isolation="process")
def length(text: str) -> int:
    return len(text)


@app.job(isolation="process")
def fail() -> None:
    raise ValueError("of the job's own")


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return inner


@app.job(isolation="process")
@wrapped
async def wrapped_double(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


@app.job(isolation="process")
@wrapped
async def wrapped_endless() -> None:
    await asyncio.get_running_loop().create_future()


@app.job
def add_in_thread(a: int, b: int) -> int:
    return a + b


@app.job(isolation="process")
def sliced(ctx: ph.Context, count: int) -> list[int]:
    kept = ctx.keep("kept", list[int]())
    for batch in ctx.slices(range(count), size=10):
        with batch.transaction() as connection:
            connection.execute("SELECT 1")
            kept.extend(batch)
    return kept


@app.job(isolation="process")
async def async_sliced(ctx: ph.Context, count: int) -> list[int]:
    kept = ctx.keep("kept", list[int]())
    async for batch in ctx.slices(range(count), size=10):
        async with batch.transaction() as connection:
            await connection.execute("SELECT 1")
            kept.extend(batch)
    return kept


@app.job(isolation="process")
def slow_slices(ctx: ph.Context, count: int) -> int:
    seen = ctx.keep("seen", [0])
    for _ in ctx.slices(range(count), size=1):
        seen[0] += 1
        time.sleep(0.02)
    return seen[0]


@app.job(isolation="process", max_crashes=1)
def die(how: str) -> None:
    end_this_process(how)


@app.job(isolation="process", max_crashes=1)
def write_everywhere(text: str) -> None:
    """Write to each open descriptor of this process, including the channel to the runner."""
    for descriptor in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, text.encode())
        except OSError:
            pass


@app.job(isolation="process", max_crashes=2)
def die_twice() -> None:
    end_this_process("SIGKILL")


def end_this_process(how: str) -> None:
    match how:
        case "exit":
            os._exit(0)
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case _:
            os.kill(os.getpid(), signal.SIGKILL)


@app.job(isolation="process", kill_after="0.5s", backoff=0)
def stuck_at_first(ctx: ph.Context) -> int:
    if ctx.attempt == 1:
        ctypes.PyDLL(None).sleep(600)  # holds the interpreter lock all the while
    return ctx.attempt


@app.job(isolation="process", timeout="0.3s", max_attempts=1)
async def too_long(deaf: bool) -> None:
    while True:
        try:
            await asyncio.sleep(600)
        except BaseException:
            if not deaf:
                raise


@app.job(isolation="process", timeout="0.3s", max_attempts=1)
def too_long_with_checkpoints(ctx: ph.Context) -> None:
    while True:
        ctx.checkpoint()
        time.sleep(0.01)


@app.job(isolation="process", max_memory="160MB", max_attempts=1)
def fill_memory() -> None:
    kept: list[bytearray] = []
    while True:
        kept.append(bytearray(1_000_000))


@app.job(isolation="process", max_memory="160MB", max_crashes=1)
def fill_memory_below() -> None:
    program = """
import resource
resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))
kept = []
while True:
    kept.append(b"x" * 1_000_000)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@app.job(isolation="process")
def leave_behind(what: str, begun: str) -> None:
    """End while processes that it started go on."""
    start_processes(what)
    announce(begun)


@app.job(isolation="process", kill_after="1h", max_attempts=1)
def start_and_wait(what: str, begun: str) -> None:
    """Go on with processes that it started."""
    start_processes(what)
    announce(begun)
    time.sleep(600)


FORKS = """
import os, time
def fork(leave=False):
    if os.fork() == 0:
        if leave:
            os.setsid()
            if os.fork():
                os._exit(0)
        time.sleep(600)
        os._exit(0)
"""
PROGRAMS = {
    "daemon": FORKS + "fork(leave=True)",
    "thousand": FORKS + "for number in range(1000): fork(leave=number % 2 == 0)",
    # Each starts a new one in its place as soon as it can, and ends.
    "bomb": """
import os
for _ in range(50):
    if os.fork() == 0:
        while os.fork() == 0:
            pass
        os._exit(0)
""",
}


def start_processes(what: str) -> None:
    """Start processes that go on; all but the first two kinds get away from the job, which is not their parent."""
    match what:
        case "grandchild":
            subprocess.Popen(["sleep", "600"])
        case "zombie":
            os.posix_spawnp("true", ["true"], os.environ)  # no process reaps it
        case _:
            subprocess.run([sys.executable, "-I", "-S", "-c", PROGRAMS[what]], check=True)


def announce(begun: str) -> None:
    """Tell the test that the job is running."""
    Path(begun).touch()


@app.job(isolation="process")
def deaf(begun: str) -> None:
    """Ignore all requests."""
    announce(begun)
    while True:
        try:
            time.sleep(600)
        except BaseException:
            continue


@app.job(isolation="process")
async def async_deaf(begun: str) -> None:
    announce(begun)
    while True:
        try:
            await asyncio.sleep(600)
        except BaseException:
            continue


@app.job(kind="deaf_on_the_loop")
async def deaf_on_the_loop(begun: str, until: str) -> None:
    announce(begun)
    while not os.path.exists(until):  # noqa: ASYNC240 - a glance
        try:
            await asyncio.sleep(0.02)
        except BaseException:
            continue


@app.job(isolation="process", give_up_on=ValueError)
def steers(how: str) -> None:
    match how:
        case "retry":
            raise ph.Retry(after="1h")
        case "snooze":
            raise ph.Snooze("1h", "not now")
        case "give up":
            raise ph.GiveUp("never")
        case _:
            raise ValueError("by the options of its kind")


@app.job(isolation="process", max_attempts=3, backoff=0)
def blips(ctx: ph.Context) -> int:
    for batch in ctx.slices(range(4), size=1):
        if ctx.attempt < 2 * batch[0] + 3:
            raise ConnectionError("each page fails twice")
    return ctx.progress.done


@app.job(isolation="process", max_attempts=2, backoff=0)
def stuck_page(ctx: ph.Context) -> None:
    for batch in ctx.slices(range(4), size=1):
        if ctx.attempt == 1 or batch[0] == 2:
            raise ConnectionError("the third page fails")


@app.job(isolation="process", max_attempts=3, backoff=0)
def steps(ctx: ph.Context) -> list[int]:
    """Take three steps, each in a process of its own; return which one made each, in the order in which they came."""
    numbers = [ctx.step("first", _number_of_process, ctx.job_id)]
    if numbers == [_number_of_process(ctx.job_id)]:
        os.kill(os.getpid(), signal.SIGKILL)
    numbers.append(ctx.step("second", _number_of_process, ctx.job_id))
    if numbers[-1] == _number_of_process(ctx.job_id):
        os.kill(os.getpid(), signal.SIGKILL)
    return [*numbers, _number_of_process(ctx.job_id)]


def _number_of_process(job: str) -> int:
    """Return how many processes asked for this job, up to this one."""
    path = Path(tempfile.gettempdir()) / f"posthorse-steps-{job}"
    pids = path.read_text().split() if path.exists() else []
    if str(os.getpid()) not in pids:
        pids.append(str(os.getpid()))
        path.write_text(" ".join(pids))
    return pids.index(str(os.getpid())) + 1


@app.job(isolation="process")
def naps(ctx: ph.Context) -> str:
    ctx.sleep("nap", 1.5)
    return "awake"


@app.job(isolation="process")
def waits(ctx: ph.Context) -> object:
    return ctx.wait_event("approved")


@app.job(isolation="process")
def noted_slices(ctx: ph.Context, path: str, count: int, size: int) -> int:
    for batch in ctx.slices(range(count), size=size):
        with open(path, "a") as file:
            file.writelines(f"{time.monotonic()}\n" for _ in batch)
    return ctx.progress.done


HELD_BY = "TESTS_HELD_BY"
"""The variable that names the file."""


class HeldBy:
    """The file that holds jobs of the queue `held`, in this process and those that it starts."""

    def is_there(self) -> str | None:
        return "a file holds it" if os.path.exists(os.environ.get(HELD_BY, "")) else None


HELD = HeldBy()
app.queue("held", throttle=HELD.is_there)
