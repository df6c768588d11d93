"""A submitter: a process that enqueues on command and reports the result. What it reports as accepted is acknowledged.

Each line of its input is a number of jobs, and a key or `-`; each line of its output is `ok` with their ids, or the
name of an error with its message.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]


class Reply(NamedTuple):
    """The result of one call. Without an error, the ids are those of acknowledged jobs."""

    error: str | None
    words: str

    @property
    def ids(self) -> list[str]:
        assert self.error is None, self
        return self.words.split()


class Submitter:
    """The process, as a test sees it."""

    def __init__(self, store: Path, environment: Mapping[str, str], *pragmas: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.disk.submitter", str(store), *pragmas],
            cwd=ROOT,
            env={**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, count: int = 1, key: str = "-") -> None:
        """Say what to enqueue; `answer` returns the reply."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count} {key}\n")
        self._process.stdin.flush()

    def answer(self, *, within: float = 20.0) -> Reply | None:
        """Return the next reply; None if the process died before it."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], within)
        assert readable, f"no answer within {within:g} s"
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            return None
        word, _, words = line.rstrip("\n").partition(" ")
        return Reply(None if word == "ok" else word, words)

    def enqueue(self, count: int = 1, key: str = "-") -> Reply:
        """Make one call to a living process; return the reply."""
        self.ask(count, key)
        reply = self.answer()
        assert reply is not None, "the submitter died"
        return reply

    def kill(self) -> None:
        """Send SIGKILL; what it reported before can still be read."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """Return its exit code."""
        return self._process.wait(20)

    def __enter__(self) -> Submitter:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def main(store: str, *pragmas: str) -> None:
    """Run the process; the pragmas apply to the connection that writes."""
    import posthorse as ph
    from posthorse.store.sqlite.backend import SqliteBackend
    from tests.store.yard import HOME, Yard

    yard = Yard(f"sqlite:///{store}")
    backend = yard.store.backend
    assert isinstance(backend, SqliteBackend)
    yard.store.lanes({HOME})
    assert backend._writer is not None
    for pragma in pragmas:
        backend._writer.connection.execute(f"PRAGMA {pragma}")
    for line in sys.stdin:
        count, key = line.split()
        try:
            jobs = yard.new(int(count), key=None if key == "-" else key)
            said = " ".join(["ok", *(submitted.id for submitted in yard.submit(jobs))])
        except ph.PosthorseError as error:
            said = f"{type(error).__name__} {error}"
        sys.stdout.write(said + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
