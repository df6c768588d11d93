"""A rival's processes: the client that answers questions, the workers that work, the tally that they fill.

Every process is a group of its own and is ended with it, but of this session, as our own workers are: a scheduler may
share the processors out by sessions. What goes wrong is told with the last words of whoever died.
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
    """A rival did not do what was asked; the message says what it said."""


class Noted(NamedTuple):
    """What jobs noted of themselves, in nanoseconds of the clock that the machine's processes share."""

    jobs: int
    first_start: int
    last_end: int


class Conversation:
    """With a rival's client."""

    def __init__(self, process: subprocess.Popen[str], words: IO[bytes]) -> None:
        self._process = process
        self._words = words

    def ask(self, question: str, number: int = 0) -> float:
        """Its answer. Raises RivalFailed."""
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
    """A rival's workers."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]], words: IO[bytes]) -> None:
        self._processes = processes
        self._words = words

    def wait_until(self, is_so: Callable[[], bool], *, what: str) -> None:
        """Returns once it is so. Raises RivalFailed when a worker ended before, or in the end."""
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
    """The client, until the end of the block."""
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
    """The workers, until the end of the block."""
    with tempfile.TemporaryFile() as words, ExitStack() as stack:
        yield Workers([stack.enter_context(_worker(command, variables, folder, words)) for command in commands], words)


def noted(folder: Path) -> Noted:
    """What all the workers noted so far."""
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
    """Milliseconds from the enqueueing of a job to its beginning, in the order of their beginnings."""
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
    """Kindly at first; then the whole group, for a worker may have children that outlive it."""
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
