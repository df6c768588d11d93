"""A cell: one child and its warden, as the runner holds them. Runs one job at a time, and ends when it is to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from posthorse.clock import monotonic
from posthorse.worker.isolation import warden
from posthorse.worker.isolation.fate import UNKNOWN, Fate, parse
from posthorse.worker.isolation.messages import (
    Ask,
    Begin,
    Ended,
    Plan,
    Ready,
    ToChild,
    Withdraw,
    next_to_runner,
    packed,
)

CHILD = "posthorse.worker.isolation.child"
END_WITHIN = 2.0
"""Seconds in which a child that is not needed any more may end by itself."""

log = logging.getLogger("posthorse.worker")

_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Cell:
    """Made by `open_cell`."""

    def __init__(self, process: subprocess.Popen[bytes], leash: _Stream, channel: _Stream) -> None:
        self.born = monotonic()
        self.jobs = 0
        self.memory_at_first = 0
        """Bytes that the child held after its first job."""
        self.fate: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        self._warden = process
        self._from_warden, self._to_warden = leash
        self._from_child, self._to_child = channel
        self._child = 0
        self._answer: asyncio.Future[bool] | None = None
        self._listening = asyncio.create_task(self._listen())

    @property
    def is_over(self) -> bool:
        """True when nothing of it lives."""
        return self.fate.done()

    async def is_ready(self) -> bool:
        """Waits until the child has done what it can before its first job; false when it died of that."""
        if not self._child:
            message = await next_to_runner(self._from_child)
            if not isinstance(message, Ready):
                return False
            self._child = message.pid
        return True

    async def run(self, begin: Begin, *, kill_after: float | None, max_memory: int | None) -> Ended | None:
        """Runs a job; None when the child ended before it told how the job did."""
        self.jobs += 1
        if kill_after or max_memory:
            self._tell_warden(b"limit %.3f %d\n" % (kill_after or 0, max_memory or 0))
        self._send(begin)
        message = await next_to_runner(self._from_child)
        return message if isinstance(message, Ended) else None

    def ask(self, request: str, *, is_urgent: bool) -> None:
        """Asks the job to stop."""
        self._send(Ask(request, is_urgent))

    def withdraw(self) -> None:
        """Takes a pause back."""
        self._send(Withdraw())

    async def is_clean(self) -> bool:
        """True when no process is below the child; otherwise they are killed, and the child with them."""
        if not self.is_over:
            self._answer = asyncio.get_running_loop().create_future()
            self._tell_warden(b"check\n")
            if await self._answer:
                return True
        return False

    async def becomes_over(self) -> Fate:
        """Waits for the end of a child that is not heard of any more, and hastens it."""
        if not self.is_over:
            await asyncio.wait({self.fate}, timeout=END_WITHIN)
            self.kill()
        return await self.fate

    def kill(self) -> None:
        """Ends the child and everything below it, now."""
        self._tell_warden(b"kill\n")

    async def end(self) -> None:
        """Lets the child end by itself, and kills it when it does not."""
        self._to_child.close()
        await self.becomes_over()

    async def _listen(self) -> None:
        """Hears the warden until it ends, and buries it."""
        fate = UNKNOWN
        with suppress(OSError, ValueError):
            while line := await self._from_warden.readline():
                if line.startswith(b"ended"):
                    fate = parse(line)
                else:
                    self._be_answered(True)
        self._bury(fate)

    def _bury(self, fate: Fate) -> None:
        self._warden.wait()  # its leash has ended, so it has
        if fate is UNKNOWN and self._child:
            # The child dies with its warden, by the kernel; what it started may live on in its group.
            with suppress(OSError):
                os.killpg(self._child, signal.SIGKILL)
        if fate.left:
            log.error("%d processes below a job's could not be killed; they live on", fate.left)
        self._to_warden.close()
        self._to_child.close()
        self.fate.set_result(fate)
        self._be_answered(False)

    def _be_answered(self, is_clean: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(is_clean)

    def _send(self, message: ToChild) -> None:
        if not self._to_child.is_closing():
            self._to_child.write(packed(message))

    def _tell_warden(self, words: bytes) -> None:
        if not self._to_warden.is_closing():
            self._to_warden.write(words)


async def open_cell(plan: Plan) -> Cell:
    """Starts a warden, which starts the child. Raises OSError."""
    leash, warden_end = socket.socketpair()
    channel, child_end = socket.socketpair()
    with warden_end, child_end:
        try:
            process = _start(plan, warden_end.fileno(), child_end.fileno())
        except OSError:
            leash.close()
            channel.close()
            raise
    return Cell(
        process,
        await asyncio.open_unix_connection(sock=leash),
        await asyncio.open_unix_connection(sock=channel),
    )


def _start(plan: Plan, leash: int, channel: int) -> subprocess.Popen[bytes]:
    told = msgspec.json.encode(msgspec.structs.replace(plan, channel=channel)).decode()
    keeper = [sys.executable, "-I", "-S", str(Path(warden.__file__)), str(os.getpid()), str(leash), str(channel)]
    return subprocess.Popen(
        [*keeper, sys.executable, "-m", CHILD, told],
        pass_fds=(leash, channel),
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # out of the group that a supervisor kills: the warden has its own work to do then
    )
