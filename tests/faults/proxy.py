"""A TCP proxy in front of PostgreSQL, in a process of its own: it delays, drops, cuts replies, and loses those to
commits.

Lines of JSON on its standard input control it.

    python -m tests.faults.proxy SERVER-PORT       # prints the port that it listens on
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress

from tests.crash.harness import ROOT

PIECE = 65536


class Proxy:
    """The proxy as its user sees it."""

    def __init__(self, server: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.proxy", str(server)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def tell(self, **wanted: object) -> int:
        """Set `delay` in seconds, `drop`, `cut`, or how many `cut_replies` and `lose_commits`; return once that is
        done.

        Returns how many of the last two were still left before.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, with all connections."""
        self._process.kill()
        self._process.communicate()


class Faults:
    """What to do to connections now."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.cut_replies = 0
        self.lose_commits = 0

    def take(self, name: str) -> bool:
        """Return whether one more of a number of faults is due."""
        left: int = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0


class _Relay:
    """A relay that listens and forwards both ways."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._faults = Faults()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passes = asyncio.Event()
        self._passes.set()

    async def run(self) -> None:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        print(listener.sockets[0].getsockname()[1], flush=True)  # noqa: T201  # read by who started it
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            wanted: dict[str, object] = json.loads(line)
            if wanted.pop("cut", False):
                for writer in list(self._open):
                    writer.transport.abort()
            if "drop" in wanted:
                (self._passes.clear if wanted.pop("drop") else self._passes.set)()
            left = self._faults.cut_replies + self._faults.lose_commits
            vars(self._faults).update(wanted)
            print(left, flush=True)  # noqa: T201  # as above

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server)
        except OSError:
            writer.transport.abort()
            self._open.discard(writer)
            return
        self._open.add(server_writer)
        is_muted = asyncio.Event()
        ways = [self._forward(reader, server_writer, is_muted), self._answer(server_reader, writer, is_muted)]
        tasks = [asyncio.create_task(way) for way in ways]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if is_muted.is_set():  # let the server get to its commit
            await asyncio.wait(tasks, timeout=2)
        for task in tasks:
            task.cancel()
            self._tasks.discard(task)
        for one in (writer, server_writer):
            one.transport.abort()
            self._open.discard(one)

    async def _forward(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, is_muted: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                await self._while_dropping()
                if b"COMMIT\0" in piece and self._faults.take("lose_commits"):
                    is_muted.set()
                server.write(piece)
                await server.drain()

    async def _answer(
        self, server: asyncio.StreamReader, writer: asyncio.StreamWriter, is_muted: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while piece := await server.read(PIECE):
                await self._while_dropping()
                if is_muted.is_set():
                    return  # it was done; the client will not learn it
                if self._faults.delay:
                    await asyncio.sleep(self._faults.delay)
                if self._faults.take("cut_replies"):
                    writer.write(piece[: len(piece) // 2])
                    await writer.drain()
                    return
                writer.write(piece)
                await writer.drain()

    async def _while_dropping(self) -> None:
        await self._passes.wait()


if __name__ == "__main__":
    asyncio.run(_Relay(int(sys.argv[1])).run())
