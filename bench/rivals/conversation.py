"""The conversation with a rival's processes: the client that answers questions, the workers, and the tally they fill.

Every process leads a group and is ended with it, but belongs to this session, as our own workers do, because a
scheduler may divide the processors by session. An error quotes the last output of the process that died.
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from bench.rivals.workers.questions import ANSWER
from bench.rivals.workers.tally import NUMBERS, PICKUPS, WIDTH

PATIENCE = 300.0
"""Seconds after which a rival is given up."""

LOOK_INTERVAL = 0.01
LAST_WISH = 5.0
"""Seconds in which a worker may end by itself."""

LAST_LINES = 4


class RivalFailed(Exception):
    """A rival did not do what was asked; the message quotes its output."""


class Noted(NamedTuple):
    """What jobs recorded about themselves, in nanoseconds on the clock that all processes of a machine share."""

    jobs: int
    first_start: int
    last_end: int


class Conversation:
    """The conversation with a rival's client."""

    def __init__(self, process: subprocess.Popen[str], words: IO[bytes]) -> None:
        self._process = process
        self._words = words

    def ask(self, question: str, number: int = 0) -> float:
        """Return its answer. Raises RivalFailed."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        too_long = threading.Timer(PATIENCE, self._process.kill)
        too_long.start()
        try:
            stdin.write(f"{question} {number}\n")
            stdin.flush()
            for line in stdout:
                if line.startswith(ANSWER):
                    return float(line.removeprefix(ANSWER))
        except BrokenPipeError:
            pass  # it died before it was asked
        finally:
            too_long.cancel()
        raise RivalFailed(
            f"the client died, or did not answer {question!r} within {PATIENCE:g} s: {_last(self._words)}"
        )


class Workers:
    """The worker processes of a rival."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]], words: IO[bytes]) -> None:
        self._processes = processes
        self._words = words

    def wait_until(self, is_so: Callable[[], bool], *, what: str) -> None:
        """Wait until it is so. Raises RivalFailed if a worker ends before, or if it takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            for process in self._processes:
                if process.poll() is not None:
                    raise RivalFailed(f"a worker ended with exit code {process.returncode}: {_last(self._words)}")
            if time.monotonic() > deadline:
                raise RivalFailed(f"{what} did not happen within {PATIENCE:g} s: {_last(self._words)}")
            time.sleep(LOOK_INTERVAL)


@contextmanager
def conversation(command: Sequence[str], variables: Mapping[str, str], folder: Path) -> Iterator[Conversation]:
    """Run the client until the end of the block."""
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command,
            env={**os.environ, **variables},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            process_group=0,
        )
        try:
            yield Conversation(process, words)
        finally:
            _end(process)
            for pipe in (process.stdin, process.stdout):
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()


@contextmanager
def working(commands: Sequence[Sequence[str]], variables: Mapping[str, str], folder: Path) -> Iterator[Workers]:
    """Run the workers until the end of the block."""
    with tempfile.TemporaryFile() as words, ExitStack() as stack:
        yield Workers([stack.enter_context(_worker(command, variables, folder, words)) for command in commands], words)


def noted(folder: Path) -> Noted:
    """Return what all workers have recorded so far."""
    numbers = [
        struct.unpack(f"{NUMBERS}q", content)
        for file in folder.glob("*.count")
        if len(content := file.read_bytes()) == NUMBERS * WIDTH
    ]
    begun = [(count, first, last) for count, first, last in numbers if count]
    if not begun:
        return Noted(0, 0, 0)
    return Noted(sum(n[0] for n in begun), min(n[1] for n in begun), max(n[2] for n in begun))


def pickups(folder: Path) -> Sequence[float]:
    """Return the milliseconds from enqueueing each job to its start, in the order of the starts."""
    file = folder / PICKUPS
    lines = file.read_text(encoding="ascii").splitlines() if file.exists() else []
    return [int(line) / 1_000_000 for line in lines]


@contextmanager
def _worker(
    command: Sequence[str], variables: Mapping[str, str], folder: Path, words: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=words,
        stderr=words,
        process_group=0,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Ask it to end; then kill the whole group, because a worker may have children that outlive it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WISH)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last(words: IO[bytes]) -> str:
    words.seek(0)
    lines = [line.strip() for line in words.read().decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-LAST_LINES:]) or "it said nothing"
