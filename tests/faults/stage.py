"""The stage of a trial: a store with real workers and clients as processes, which the nemesis may kill and replace.

It knows how to start and end them, and what they leave behind. It does no harm itself and judges nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.crash.harness import ROOT, Process, Worker
from tests.crash.ledger import Ledger
from tests.faults.application import app
from tests.faults.defects import DEFECT
from tests.faults.history import HISTORY, Recorder, Value, read_history

HISTORY_FILE = "history.jsonl"
LEASE = 3.0
GRACE = 4.0
TARGET = "tests.faults.application:app"
FIGURES = {"memory": 400e6, "descriptors": 200.0, "log": 20e6, "wal": 200e6}
"""Limits of what a survey measures, in bytes, except the number of descriptors."""


class Client:
    """One client process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.process = process

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop it after its current call, if that ends in time."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


class Stage:
    """`url` is what workers and clients use; `direct` reaches the same store past any proxy."""

    def __init__(
        self,
        url: str,
        directory: Path,
        *,
        direct: str | None = None,
        workloads: Sequence[str],
        seed: int,
        defect: str | None = None,
    ) -> None:
        self.url = url
        self.direct = direct or url
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.history = directory / HISTORY_FILE
        self.recorder = Recorder(self.history, "harness")
        self.workers: list[Worker] = []
        self.clients: list[Client] = []
        self._workloads = workloads
        self._seed = seed
        self._defect = defect
        self._started = 0
        self._trees: set[Process] = set()
        app.use_url(self.direct)
        app.migrate()
        self.ledger = Ledger(self.direct)
        self.ledger.create()

    def start_worker(self, *, concurrency: int = 4) -> Worker:
        """Start a `posthorse worker` with one runner."""
        program = [str(Path(sys.executable).with_name("posthorse")), "worker", "--app", TARGET]
        log = self.directory / f"worker{self._next()}.log"
        with log.open("wb") as file:
            process = self._run([*program, "--concurrency", str(concurrency)], file.fileno())
        worker = Worker(process, log)
        self.workers.append(worker)
        return worker

    def start_client(self) -> Client:
        """Start a client with a new name."""
        number = self._next()
        name = f"client{number}"
        program = [sys.executable, "-m", "tests.faults.workloads"]
        arguments = [name, str(self._seed * 1000 + number), ",".join(self._workloads)]
        with (self.directory / f"{name}.log").open("wb") as file:
            client = Client(name, self._run([*program, *arguments], file.fileno()))
        self.clients.append(client)
        return client

    def wait_until_at_work(self) -> None:
        """Wait until each worker has a runner that started a job, so that a fault meets a working process."""
        self.wait_for(self._are_all_at_work, "each worker to begin a job")

    def _are_all_at_work(self) -> bool:
        began = {event.process for event in read_history(self.history) if event.op == "start"}
        return all(any(str(runner.pid) in began for runner in worker.runners) for worker in self.workers)

    def wait_for(self, is_so: Callable[[], object], what: str, *, within: float = 30.0) -> None:
        """Wait until something is so; otherwise fail, quoting the end of all logs."""
        deadline = time.monotonic() + within
        while not is_so():
            assert time.monotonic() < deadline, f"waited {within:g} s in vain for {what}{self.logs()}"
            time.sleep(0.02)

    def replace(self, worker: Worker) -> None:
        """Replace a worker that ended by another one."""
        self.workers.remove(worker)
        self.start_worker()

    def survey(self) -> None:
        """Measure what should stay bounded, and note which processes exist."""
        for worker in self.workers:
            tree = worker.tree
            self._trees |= set(tree)
            for process in tree:
                figures = _figures_of(process.pid)
                if figures:
                    self._write_figures(f"process {process.pid}", figures)
            self._write_figures("log", {"log": float(len(worker.log))})
        if self.direct.startswith("sqlite"):
            wal = Path(self.direct.removeprefix("sqlite:///") + "-wal")
            with suppress(OSError):
                self._write_figures("store", {"wal": float(wal.stat().st_size)})

    def look_for_leftovers(self) -> None:
        """Check, after the stop of all workers, that nothing of their trees lives, nor anything that jobs started."""
        started = {pid for event in read_history(self.history) if event.op == "child" for pid in event.value.pids}

        def living() -> set[int]:
            sleepers = {pid for pid in started if _command(pid) == b"sleep\x003600\x00"}
            return sleepers | {process.pid for process in self._trees if process.is_alive}

        deadline = time.monotonic() + 5
        while living() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.recorder.write("leftovers", value=Value(pids=sorted(living())))

    def logs(self) -> str:
        """Return the end of the logs of all workers and clients, including those that have ended."""
        found = sorted(self.directory.glob("*.log"))
        return "".join(f"\n── {log.name} ──\n{log.read_text(errors='replace')[-1500:]}" for log in found)

    def end(self) -> None:
        """End everything that still runs."""
        for client in self.clients:
            client.kill()
        for worker in self.workers:
            worker.end()
        self.ledger.close()
        app.close()
        self.recorder.close()

    def _next(self) -> int:
        self._started += 1
        return self._started

    def _run(self, program: Sequence[str], log: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            program,
            cwd=ROOT,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _environment(self) -> Mapping[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("POSTHORSE_")},
            "POSTHORSE_URL": self.url,
            "POSTHORSE_LEASE": f"{LEASE:g}s",
            "POSTHORSE_GRACE": f"{GRACE:g}s",
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            "PYTHONDONTWRITEBYTECODE": "1",
            HISTORY: str(self.history),
            **({DEFECT: self._defect} if self._defect else {}),
        }

    def _write_figures(self, whose: str, figures: dict[str, float]) -> None:
        limits = {name: FIGURES[name] for name in figures}
        self.recorder.write("survey", value=Value(kind=whose, figures=figures, limits=limits))


def _figures_of(pid: int) -> dict[str, float]:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return {}
    return {"memory": float(pages * os.sysconf("SC_PAGE_SIZE")), "descriptors": float(descriptors)}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
