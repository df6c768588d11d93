"""The runner's handle of one child process and its reaper. It runs one job at a time."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from posthorse.clock import monotonic
from posthorse.rules.throttle import Throttle, ThrottleFunction
from posthorse.worker.base.launch import command, socket_pair
from posthorse.worker.base.process import AT_EXIT
from posthorse.worker.isolation import reaper
from posthorse.worker.isolation.exit_status import UNKNOWN, ExitStatus, parse
from posthorse.worker.isolation.messages import (
    Begin,
    ChildEnded,
    ChildPlan,
    Garbled,
    Logged,
    Ready,
    StopRequest,
    ThrottleNow,
    ToChild,
    Withdraw,
    next_to_runner,
    packed,
    throttle_for_child,
)
from posthorse.worker.running.process_life import STOP_WITHIN

CHILD = "posthorse.processes.child_main"
END_WITHIN = 2.0 + STOP_WITHIN + AT_EXIT
"""Seconds in which a child that is no longer needed may end by itself."""

log = logging.getLogger("posthorse.worker")

_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ChildProcess:
    """A child that is alive or has an exit status; made by `start_child`."""

    def __init__(self, process: subprocess.Popen[bytes], control: _Stream, channel: _Stream) -> None:
        self.born = monotonic()
        self.jobs = 0
        self.memory_at_first = 0
        """Bytes that the child used after its first job."""
        self.throttled_by: Throttle | ThrottleFunction | None = None
        """The throttle that its job obeys."""
        self.exit_status: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._reaper = process
        self._from_reaper, self._to_reaper = control
        self._from_child, self._to_child = channel
        self._child = 0
        self._answer: asyncio.Future[bool] | None = None
        self._listening = asyncio.create_task(self._listen())

    @property
    def is_over(self) -> bool:
        """True when neither the child nor any process below it is alive."""
        return self.exit_status.done()

    def tell(self, plan: ChildPlan) -> None:
        """Send the child its plan, the first message."""
        self._send(plan)

    async def is_ready(self) -> bool:
        """Wait until the child can take its first job; False if it died while starting."""
        if not self._child:
            message = await next_to_runner(self._from_child)
            if not isinstance(message, Ready):
                return False
            self._child = message.pid
        return True

    async def run(
        self, begin: Begin, *, kill_after: float | None, max_memory: int | None, logged: Callable[[Logged], None]
    ) -> ChildEnded | Garbled | None:
        """Run a job; return None if the child ended before it reported the outcome. `logged` gets what it logs."""
        self.jobs += 1
        if kill_after or max_memory:
            self._tell_reaper(b"limit %.3f %d\n" % (kill_after or 0, max_memory or 0))
        self._send(begin)
        while isinstance(message := await next_to_runner(self._from_child), Logged):
            logged(message)
        return None if isinstance(message, Ready) else message

    def ask(self, request: str, reason: str | None, *, is_urgent: bool) -> None:
        """Request that the job stops."""
        self._send(StopRequest(request, is_urgent, reason))

    def withdraw(self) -> None:
        """Withdraw a pause, or a window that closed."""
        self._send(Withdraw())

    def throttle(self, throttle: Throttle | ThrottleFunction | None) -> None:
        """Let its job obey another throttle."""
        if throttle is not self.throttled_by:
            self.throttled_by = throttle
            self._send(ThrottleNow(throttle_for_child(throttle)))

    async def is_clean(self) -> bool:
        """Return True if no process is below the child; otherwise the reaper kills them and the child."""
        if not self.is_over:
            self._answer = asyncio.get_running_loop().create_future()
            self._tell_reaper(b"check\n")
            if await self._answer:
                return True
        return False

    async def becomes_over(self) -> ExitStatus:
        """Wait a moment for the end of a child that went silent, then kill it."""
        if not self.is_over:
            await asyncio.wait({self.exit_status}, timeout=END_WITHIN)
            self.kill()
        return await self.exit_status

    def kill(self) -> None:
        """Kill the child and all processes below it."""
        self._tell_reaper(b"kill\n")

    async def end(self) -> None:
        """Let the child end by itself, and kill it if it does not."""
        self._to_child.close()
        await self.becomes_over()

    async def _listen(self) -> None:
        """Read what the reaper reports until it ends; then settle the exit status."""
        exit_status = UNKNOWN
        with suppress(OSError, ValueError):
            while line := await self._from_reaper.readline():
                if line.startswith(b"ended"):
                    exit_status = parse(line)
                else:
                    self._be_answered(True)
        self._settle(exit_status)

    def _settle(self, exit_status: ExitStatus) -> None:
        self._reaper.wait()  # its control pipe has ended, so it has
        if exit_status is UNKNOWN and self._child:
            # The kernel kills the child with its reaper; processes that the child started may live on in its group.
            with suppress(OSError):
                os.killpg(self._child, signal.SIGKILL)
        if exit_status.left:
            log.error("%d processes that a job started could not be killed; they are still alive", exit_status.left)
        self._to_reaper.close()
        self._to_child.close()
        self.exit_status.set_result(exit_status)
        self._be_answered(False)

    def _be_answered(self, is_clean: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(is_clean)

    def _send(self, message: ToChild) -> None:
        if not self._to_child.is_closing():
            self._to_child.write(packed(message))

    def _tell_reaper(self, words: bytes) -> None:
        if not self._to_reaper.is_closing():
            self._to_reaper.write(words)


async def start_child(plan: ChildPlan, folder: str | None) -> ChildProcess:
    """Start a reaper, which starts the child in `folder` or the current folder. Raises OSError."""
    control, reaper_end = socket_pair()
    channel, child_end = socket_pair()
    with reaper_end, child_end:
        try:
            process = _start(reaper_end.fileno(), child_end.fileno(), folder)
        except OSError:
            control.close()
            channel.close()
            raise
    child = ChildProcess(
        process,
        await asyncio.open_unix_connection(sock=control),
        await asyncio.open_unix_connection(sock=channel),
    )
    child.tell(plan)
    return child


def _start(control: int, channel: int, folder: str | None) -> subprocess.Popen[bytes]:
    keeper = [sys.executable, "-I", "-S", str(Path(reaper.__file__)), str(os.getpid()), str(control), str(channel)]
    return subprocess.Popen(
        [*keeper, *command(CHILD, channel)],
        pass_fds=(control, channel),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # not in the group that a supervisor kills: the reaper still has to clean up
        cwd=folder,
    )
