"""A trial: workers, clients and a nemesis for a time; then heal, drain, stop, and the judgement of the checker.

What a trial does depends only on its seed; when it does it does not, because processes run as they please. A trial with
violations keeps its history, and says where, and how to repeat it.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

import posthorse as ph
from tests.crash.harness import wait_for
from tests.faults import application
from tests.faults.application import EVERY_SECOND, MAX_CRASHES, app, exact, plain
from tests.faults.case import Case
from tests.faults.checker import violations
from tests.faults.final import Final, read_final
from tests.faults.history import Value, read_history
from tests.faults.nemesis import Nemesis
from tests.faults.proxy import Proxy
from tests.faults.stage import HISTORY_FILE, LEASE, Stage
from tests.faults.workloads import WORKLOADS
from tests.servers import PostgresServer

BOUND = 25.0
"""Seconds that a recovery may take in addition to the lease, on a machine that does other things, too."""

DRAIN = 90.0
FINAL = "final.json"
WORKERS, CLIENTS = 2, 3


class Judgement(NamedTuple):
    """The result of a trial."""

    violations: Sequence[str]
    faults: Sequence[str]
    history: Path
    counts: Counter[str]

    def __str__(self) -> str:
        told = "\n  ".join(self.violations)
        return f"{len(self.violations)} violations; faults: {', '.join(self.faults)}; history: {self.history}\n  {told}"


def judged(directory: Path, faults: Sequence[str] = ()) -> Judgement:
    """Judge a trial that left its history and its final state in a folder."""
    history = read_history(directory / HISTORY_FILE)
    final = msgspec.json.decode((directory / FINAL).read_bytes(), type=Final)
    case = Case(history, final, lease=LEASE, bound=BOUND, max_crashes=MAX_CRASHES)
    counts = Counter(f"{event.op} {event.phase}" for event in history)
    counts += Counter(f"job {job.state}" for job in final.jobs)
    return Judgement(violations(case), faults, directory / HISTORY_FILE, counts)


class Trial:
    """A stage with its nemesis."""

    def __init__(
        self,
        url: str,
        directory: Path,
        *,
        seed: int,
        server: PostgresServer | None = None,
        proxy: Proxy | None = None,
        workloads: Sequence[str] = tuple(WORKLOADS),
        defect: str | None = None,
    ) -> None:
        direct = url
        if server is not None and proxy is not None:
            url = url.replace(f":{server.port}/", f":{proxy.port}/")
        self.stage = Stage(url, directory, direct=direct, workloads=workloads, seed=seed, defect=defect)
        self.chance = random.Random(seed)
        self.nemesis = Nemesis(self.stage, self.chance, server=server, proxy=proxy)

    def run(self, seconds: float, *, workers: int = WORKERS, clients: int = CLIENTS) -> Judgement:
        """Do faults for this many seconds; then judge."""
        self.begin(workers=workers, clients=clients)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.chance.uniform(0.2, 1.5))
            self.stage.survey()
            self.nemesis.strike()
        return self.judge()

    def begin(self, *, workers: int = WORKERS, clients: int = CLIENTS) -> None:
        """Start the workers and clients, and wait until they are at work."""
        for _ in range(workers):
            self.stage.start_worker()
        for _ in range(clients):
            self.stage.start_client()
        self.stage.wait_until_at_work()

    def judge(self, *, probes: bool = True) -> Judgement:
        """Heal, drain, stop, and run the checker."""
        self.stage.recorder.write("heal")
        for client in self.stage.clients:
            client.stop()
        if probes:
            self._probe()
        self._drain()
        self.stage.survey()
        for worker in self.stage.workers:
            self.nemesis.end_worker(worker)
        self.stage.look_for_leftovers()
        (self.stage.directory / FINAL).write_bytes(msgspec.json.encode(read_final(self.stage.direct)))
        return judged(self.stage.directory, self.nemesis.done)

    def end(self) -> None:
        self.stage.end()

    def _probe(self) -> None:
        """Submit work after the heal: it must start in time."""
        recorder = self.stage.recorder
        recorder.process = "client-probe"
        for number in range(4):
            label = f"probe:{number}"
            kind = "exact" if number % 2 else "plain"
            recorder.write("submit", "invoke", value=Value(labels=[label], kind=kind))
            call = exact.bind(label, 10, 5, 0.0) if number % 2 else plain.bind(label, 0.0)
            job = wait_for(lambda call=call: _enqueued(call), "the store after the heal", within=30)  # type: ignore[misc]  # bound now
            recorder.write("submit", value=Value(jobs=[job.id]))
        recorder.process = "harness"

    def _drain(self) -> None:
        with suppress(ph.ScheduleNotFound):
            application.schedule.pause()
        self.stage.recorder.write("schedule", value=Value(kind=EVERY_SECOND, seconds=1.0))
        deadline = time.monotonic() + DRAIN
        while time.monotonic() < deadline:
            left = [
                job
                for state in ("paused", "scheduled", "blocked", "pending", "processing")
                for job in app.jobs(f"state:{state}")
            ]
            for job in app.jobs("state:failed kind:in_turn"):  # otherwise no job behind it would get a turn
                with suppress(ph.InvalidTransition):
                    job.discard()
            for job in app.jobs("state:paused"):
                with suppress(ph.InvalidTransition):
                    job.resume()
            if not left:
                return
            time.sleep(0.2)


def _enqueued(call: ph.Call[str]) -> ph.Job[str] | None:
    try:
        return call.enqueue()
    except ph.StoreError:
        return None


@contextmanager
def trial(
    url: str,
    directory: Path,
    *,
    seed: int,
    server: PostgresServer | None = None,
    workloads: Sequence[str] = tuple(WORKLOADS),
    defect: str | None = None,
) -> Iterator[Trial]:
    """Run a trial that leaves no processes; on PostgreSQL, behind a proxy."""
    proxy = Proxy(server.port) if server is not None else None
    try:
        made = Trial(url, directory, seed=seed, server=server, proxy=proxy, workloads=workloads, defect=defect)
        try:
            yield made
        finally:
            made.end()
    finally:
        if proxy is not None:
            proxy.close()
