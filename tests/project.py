"""A project in a folder of its own, with a module `shop` and the processes of a worker that serves it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

import posthorse as ph
from tests.waiting import until

HEAD = """
import os

import posthorse as ph

app = ph.Posthorse(grace="5s")
"""


class Worker:
    """A worker in a process of its own, which logs to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """Return what it has logged so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def family(self) -> list[psutil.Process]:
        """Return its processes and all below them, the supervisor first."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def stop(self) -> int:
        """Ask it to stop, wait for its end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class Project:
    """Its folder, its store, and the application as a client sees it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.client = ph.Posthorse(url)
        self._kinds: dict[str, ph.Kind[[], object]] = {}
        self.environment: dict[str, str] = {"POSTHORSE_URL": url, "POSTHORSE_APP": "shop:app"}

    def write(self, source: str, *, name: str = "shop.py", head: str = HEAD) -> None:
        """Write a module, below the declaration of the application."""
        (self.folder / name).write_text(head + textwrap.dedent(source), encoding="utf-8")

    def job(self, kind: str) -> ph.Job[object]:
        """Enqueue a job of that kind, which takes no arguments."""

        def stand_in() -> object: ...

        if kind not in self._kinds:
            self._kinds[kind] = self.client.job(kind=kind)(stand_in)
        return self._kinds[kind].enqueue()

    def result(self, kind: str) -> object:
        """Run a job of that kind in the current worker."""
        return self.job(kind).result(timeout=60)

    @contextmanager
    def working(
        self, *words: str, prelude: str = "", is_ready: bool = True, environment: Mapping[str, str | None] | None = None
    ) -> Iterator[Worker]:
        """Run a worker until the end of the block; `prelude` runs in its process first."""
        log = self.folder / "worker.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(
                self.command("worker", *words, prelude=prelude),
                cwd=self.folder,
                env=self.environment_of_processes(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
            )
        worker = Worker(process, log)
        try:
            if is_ready:
                until(lambda: "started (pid" in worker.log or process.poll() is not None, what="the first runner")
            yield worker
        finally:
            if process.poll() is None:
                for member in worker.family():
                    if member.is_running():
                        member.kill()
            process.wait()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment_of_processes(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def command(self, *words: str, prelude: str = "") -> Sequence[str]:
        """Return the command line, with the interpreter of the tests."""
        return [sys.executable, "-P", "-c", f"{prelude}\nfrom posthorse.cli import main; main()", *words]

    def environment_of_processes(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the variables that its processes start with."""
        merged = {**os.environ, **self.environment, **(changes or {})}
        return {name: value for name, value in merged.items() if value is not None}
