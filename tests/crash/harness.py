"""The harness: workers as real process trees, what they leave behind, and checks after everything healed and
drained."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

import posthorse as ph
from posthorse.store.operations import read
from tests.crash.application import GATE, MARKS, app, total_of
from tests.crash.ledger import JobRow, Ledger

T = TypeVar("T")

TARGET = "tests.crash.application:app"
ROOT = Path(__file__).parents[2]
LEASE = "15s"
"""Longer than a busy machine delays the heartbeats of a living worker."""
SHORT_LEASE = "3s"
"""For tests that wait until it ends."""
RECOVERY = 30.0
"""Seconds in which a dead worker's job must become free: lease, sweep, and whatever else the machine does."""

_SUPERVISED = (
    "import sys; from posthorse.processes.supervisor import supervise; "
    "sys.exit(supervise(sys.argv[1], None, queues=[], processes=int(sys.argv[2]), concurrency=int(sys.argv[3])))"
)
_EMBEDDED = (
    "import signal, sys, threading, logging; logging.basicConfig(); from tests.crash.application import app\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit())\n"
    "with app.worker(concurrency=int(sys.argv[1])): threading.Event().wait()"
)
_RUN = (
    "import sys; from posthorse.cli.root import main; "
    "sys.argv = ['posthorse', 'run', '--app', 'tests.crash.application:app', '--resume', sys.argv[1]]; main()"
)
_LOOK = 0.004

STOPS_WITHIN = 30.0
"""Seconds beyond its grace in which a worker must end. What delays it lasts ten minutes; an idle machine needs two."""


def wait_for(look: Callable[[], T | None], what: str, *, within: float = 30.0) -> T:
    """Return the first result that is neither None nor false; fail if there is none in time."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {within:g} s in vain for {what}"
        time.sleep(_LOOK)


class Mark(NamedTuple):
    """What a job recorded about itself."""

    pid: int
    job: str
    event: str
    detail: int


class Process(NamedTuple):
    """A process; its start time distinguishes it from later ones with the same number."""

    pid: int
    born: str

    @property
    def is_alive(self) -> bool:
        stat = _stat(self.pid)
        return stat is not None and stat.born == self.born and stat.state not in "ZX"


class Worker:
    """One worker: a supervisor and its runners."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.supervisor = _born(process.pid)

    @property
    def runners(self) -> list[Process]:
        """Return the living runner processes."""
        return [_born(pid) for pid in _children(self.supervisor.pid) if b"posthorse.processes.runner" in _command(pid)]

    @property
    def tree(self) -> list[Process]:
        """Return the supervisor and everything below it."""
        found, left = [self.supervisor], [self.supervisor.pid]
        while left:
            children = _children(left.pop())
            found += [_born(pid) for pid in children]
            left += children
        return found

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        """Return the exit code."""
        return self._process.wait(timeout)

    def stop(self, *, grace: float, code: int = 0) -> None:
        """Ask it to stop; it must end within its grace, and a little."""
        tree = self.tree
        began = time.monotonic()
        self.send(signal.SIGTERM)
        ended = self._process.wait(grace + 60)
        seconds = time.monotonic() - began
        assert seconds < grace + STOPS_WITHIN, f"its end took {seconds:.1f} s, with {grace:g} s of grace\n{self.log}"
        assert ended == code
        gone(tree)

    def kill_supervisor(self) -> None:
        """Kill only the supervisor; its runners must then end, too."""
        self._process.kill()
        self._process.wait()

    def kill_tree(self) -> None:
        """Kill all at the same time, so that none sees another one die."""
        tree = self.tree
        for process in tree:
            _signal(process, signal.SIGSTOP)
        tree += [process for process in self.tree if process not in tree]
        for process in tree:
            _signal(process, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """End everything, whatever state it is in."""
        if self._process.poll() is None:
            self.kill_tree()


class Crash:
    """One store, its workers, and their marks."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        self.marks_file = directory / "marks"
        self.marks_file.touch()
        self._marks: list[Mark] = []
        self._read_to = 0
        self.workers: list[Worker] = []
        app.use_url(url)
        app.migrate()
        self.ledger = Ledger(url)
        self.ledger.create()

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────

    def start(
        self,
        *,
        processes: int = 1,
        concurrency: int = 4,
        target: str = TARGET,
        failpoint: str | None = None,
        lives: int | None = None,
        **settings: str,
    ) -> Worker:
        """Start a worker; with a failpoint, and how often it kills. `settings` are those of POSTHORSE_…."""
        if failpoint is not None and lives is not None:
            (self.directory / "lives").write_bytes(b"x" * lives)
            failpoint += f"@{self.directory / 'lives'}"
        if failpoint is not None:
            settings = {**settings, "failpoint": failpoint}
        return self._run([_SUPERVISED, target, str(processes), str(concurrency)], settings)

    def start_embedded(self, *, concurrency: int = 8, **settings: str) -> Worker:
        """Start a process with an embedded worker, which has no supervisor to end it. SIGTERM makes it leave its
        block."""
        return self._run([_EMBEDDED, str(concurrency)], {"lease": SHORT_LEASE, **settings})

    def start_run(self, job: str, **settings: str) -> Worker:
        """Start a process that runs one job: `posthorse run`."""
        return self._run([_RUN, job], settings)

    def _run(self, program: Sequence[str], settings: Mapping[str, str]) -> Worker:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("POSTHORSE_")},
            "POSTHORSE_URL": self.url,
            "POSTHORSE_LEASE": LEASE,
            "POSTHORSE_GRACE": "10s",
            **{f"POSTHORSE_{name.upper()}": value for name, value in settings.items()},
            # for application modules that tests write
            "PYTHONPATH": f"{self.directory}:{os.environ.get('PYTHONPATH', '')}",
            "PYTHONDONTWRITEBYTECODE": "1",
            MARKS: str(self.marks_file),
            GATE: str(self.directory / "gate"),
        }
        path = self.directory / f"worker{len(self.workers)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", *program],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        worker = Worker(process, path)
        self.workers.append(worker)
        return worker

    def end(self) -> None:
        for worker in self.workers:
            worker.end()
        self.ledger.close()
        app.close()

    def kill(self, process: Process) -> None:
        send(process, signal.SIGKILL)

    def open_gate(self, attempt: int) -> None:
        """Let the jobs go on that wait in this attempt of `write_late`."""
        (self.directory / f"gate{attempt}").touch()

    def is_free(self, *, within: float = 0.3) -> bool:
        """Return whether another process could write now: no stopped process holds the lock of an SQLite store."""
        if not self.url.startswith("sqlite"):
            return True
        path = self.url.removeprefix("sqlite:///")
        deadline = time.monotonic() + within
        with open(f"{path}-gate") as gate, open(f"{path}-turnstile") as turnstile:
            while time.monotonic() < deadline:
                try:
                    for file in (gate, turnstile):
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    connection = sqlite3.connect(path, timeout=within, isolation_level=None)
                    connection.execute("BEGIN IMMEDIATE")
                    connection.close()
                except (BlockingIOError, sqlite3.OperationalError):
                    time.sleep(_LOOK)
                else:
                    return True
        return False

    def is_ready(self, worker: Worker, *, processes: int = 1) -> bool:
        """Return whether its runners are registered."""
        pids = {process.pid for process in worker.runners}
        return len({row.pid for row in app.store.read(read.workers())} & pids) == processes

    def wait_until_ready(self, worker: Worker, *, processes: int = 1) -> None:
        wait_for(lambda: self.is_ready(worker, processes=processes), f"the runners\n{worker.log}")

    # ── what jobs said ───────────────────────────────────────────────────────────────────────────────

    @property
    def marks(self) -> list[Mark]:
        """Return all marks so far, in order."""
        with self.marks_file.open("rb") as file:
            file.seek(self._read_to)
            whole, end, _ = file.read().rpartition(b"\n")  # the last line may be half written
            for line in whole.decode().splitlines():
                pid, job, event, detail = line.split()
                self._marks.append(Mark(int(pid), job, event, int(detail)))
            self._read_to += len(whole) + len(end)
        return self._marks

    def marks_of(self, job: str, event: str) -> list[Mark]:
        return [mark for mark in self.marks if mark.job == job and mark.event == event]

    def wait_for_mark(self, job: str, event: str, *, count: int = 1, within: float = 30.0) -> Mark:
        """Return the `count`th mark of that kind."""
        found = wait_for(
            lambda: self.marks_of(job, event)[count - 1 :] or None,
            f"mark {event} number {count} of {job}{self._logs()}",
            within=within,
        )
        return found[0]

    def was_inside_a_slice(self, pid: int) -> bool:
        """Return whether the last mark of some job in that (dead) process was the beginning of a slice."""
        return bool(self.open_slices(pid))

    def open_slices(self, pid: int) -> list[str]:
        """Return the jobs that are inside a slice in that process, and have completed another one before."""
        last = {mark.job: mark.event for mark in self.marks if mark.pid == pid}
        through = {mark.job for mark in self.marks if mark.pid == pid and mark.event == "out"}
        return [job for job, event in last.items() if event == "in" and job in through]

    # ── after heal and drain ─────────────────────────────────────────────────────────────────────────

    def drain(self, jobs: Sequence[ph.Job[object]], *, within: float = 80.0) -> None:
        """Wait until all jobs are over."""
        deadline = time.monotonic() + within
        for job in jobs:
            with suppress(ph.JobFailed, ph.JobCancelled):
                try:
                    job.result(timeout=max(0.1, deadline - time.monotonic()))
                except TimeoutError:
                    raise AssertionError(f"{job.status()} does not end{self._logs()}") from None

    def check(self) -> None:
        """Check that every job is in exactly one place, took only legal steps, and that its fence only rose."""
        self.ledger.check_integrity()
        rows = self.ledger.jobs()
        for row in rows:
            _check_place(row)
            self._check_events(row)
            self._check_fence(row.id)
        places = Counter[str]()
        for row in rows:
            places.update(ready=row.is_ready, leases=row.is_leased, parked=row.parked is not None)
        assert +places == +self.ledger.counts()

    def check_exact(self, job: ph.Job[int], count: int) -> None:
        """Check every effect once, in order, under a fence that only rose; and the right sum."""
        assert job.result(timeout=1) == total_of(count)
        effects = self.ledger.effects(job.id)
        assert [effect.item for effect in effects] == list(range(count))
        assert [effect.epoch for effect in effects] == sorted(effect.epoch for effect in effects)

    def check_repeated(self, job: ph.Job[int], count: int, size: int) -> None:
        """Check every effect at least once, and at most one slice again for each interruption; and the right sum."""
        assert job.result(timeout=1) == total_of(count)
        times = Counter(effect.item for effect in self.ledger.effects(job.id))
        assert set(times) == set(range(count))
        repeats = sum(times[first] - 1 for first in range(0, count, size))
        interruptions = self.row(job).epoch - 1
        assert repeats <= interruptions, f"{repeats} slices again after {interruptions} interruptions"

    def row(self, job: ph.Job[T]) -> JobRow:
        [row] = [row for row in self.ledger.jobs() if row.id == job.id]
        return row

    def events(self, job: ph.Job[T]) -> list[str]:
        return [event.name for event in app.store.read(read.events(job.id))]

    def _check_events(self, row: JobRow) -> None:
        events = app.get_job(row.id).events()
        assert [event.number for event in events] == list(range(1, row.version + row.is_leased + 1)), f"{row}: {events}"
        assert {event.name for event in events} <= TOLD, events
        final = [event.number for event in events if event.name in ("completed", "failed", "cancelled")]
        assert final == ([row.version] if row.state in ("completed", "failed", "cancelled") else [])
        begun = sum((mark.job, mark.event) == (row.id, "begin") for mark in self.marks)
        started = sum(event.name == "started" for event in events)
        assert begun <= started, f"{row} began {begun} times, and {started} starts are told: {events}"

    def _check_fence(self, job: str) -> None:
        begun = [mark.detail for mark in self.marks if (mark.job, mark.event) == (job, "begin")]
        assert begun == sorted(set(begun)), f"{job} began under {begun}"

    def _logs(self) -> str:
        return "".join(f"\n── {number} ──\n{worker.log[-3000:]}" for number, worker in enumerate(self.workers))


TOLD = {
    "submitted",
    "queued",
    "started",
    "completed",
    "attempt_failed",
    "crashed",
    "failed",
    "lost",
    "released",
    "split",
    "paused",
    "cancelled",
}
"""What may happen to these jobs."""


def gone(processes: Sequence[Process], *, within: float = 30.0) -> None:
    """Wait until none of them lives."""
    wait_for(lambda: not any(process.is_alive for process in processes), f"the end of {processes}", within=within)


def _check_place(row: JobRow) -> None:
    places = (row.is_ready, row.is_leased, row.parked)
    if row.state in ("completed", "cancelled"):
        assert places == (False, False, None), row
    elif row.state == "failed":
        assert places == (False, False, "failed"), row
    elif row.state == "pending":
        assert places in ((True, False, None), (False, True, None)), row
    else:
        assert places in ((False, False, row.state), (False, True, None)), row


# ── processes, as /proc tells them ───────────────────────────────────────────────────────────────────


class _Stat(NamedTuple):
    state: str
    parent: int
    born: str


def _stat(pid: int) -> _Stat | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(fields[0], int(fields[1]), fields[19])


def _born(pid: int) -> Process:
    stat = _stat(pid)
    return Process(pid, stat.born if stat else "never")


def _children(parent: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(parent).children()]
    return []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _signal(process: Process, number: signal.Signals) -> None:
    if process.is_alive:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def send(process: Process, number: signal.Signals) -> None:
    """Signal one process, unless it is gone. If the signal stops it, it has stopped when this returns."""
    _signal(process, number)
    if number == signal.SIGSTOP:
        wait_for(lambda: not process.is_alive or _threads(process.pid) <= {"T"}, f"{process} to stop")


def _threads(pid: int) -> set[str]:
    """Return the states of its threads: each of them stops when the kernel next schedules it."""
    states = set[str]()
    with suppress(FileNotFoundError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):  # threads come and go
                stat = Path(f"/proc/{pid}/task/{thread}/stat").read_text(encoding="utf-8")
                states.add(stat.rpartition(")")[2].split()[0])
    return states
