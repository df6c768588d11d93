"""The nemesis: seeded faults against real processes, each recorded when it begins and when it is over.

One fault follows the other, each healed before the next, except for a kill now and then during a long one. The seed
decides what is done to which process. A deck has every fault of the store once, shuffled, so that a short run meets as
many kinds as it has time for.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.crash.harness import Process, Worker, send
from tests.faults.history import Recorder, Value
from tests.faults.proxy import Proxy
from tests.faults.stage import GRACE, LEASE, Stage
from tests.servers import PostgresServer

_LOCK = (
    "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None); "
    "c.execute('BEGIN IMMEDIATE'); time.sleep(float(sys.argv[2])); c.execute('ROLLBACK')"
)


SPOILT = 8
"""Replies that are cut or lost at a time."""


class Nemesis:
    """The nemesis of one stage, which does harm to it and heals it."""

    def __init__(
        self, stage: Stage, chance: random.Random, *, server: PostgresServer | None = None, proxy: Proxy | None = None
    ) -> None:
        self._stage = stage
        self._chance = chance
        self._server = server
        self._proxy = proxy
        self._recorder = Recorder(stage.history, "nemesis")
        self._deck: list[str] = []
        self.done: list[str] = []
        """Faults so far, in order."""

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        """The faults that this stage allows."""
        faults = {
            "kill-runner": self.kill_runner,
            "kill-supervisor": self.kill_supervisor,
            "kill-tree": self.kill_tree,
            "kill-everybody": self.kill_everybody,
            "kill-client": self.kill_client,
            "stop-runner-briefly": lambda: self.stop_runner(self._chance.uniform(0.3, LEASE / 2)),
            "stop-runner-long": lambda: self.stop_runner(LEASE + self._chance.uniform(1.0, 2.5)),
            "stop-supervisor": self.stop_supervisor,
            "terminate": self.terminate,
        }
        if self._server is None:
            faults["lock-database"] = self.lock_database
        else:
            faults |= {"end-sessions": self.end_sessions, "crash-server": self.crash_server}
        if self._proxy is not None:
            faults |= {
                "cut-connections": self.cut_connections,
                "delay": self.delay,
                "blackhole": self.blackhole,
                "cut-replies": self.cut_replies,
                "lose-commits": self.lose_commits,
            }
        return faults

    def strike(self, name: str | None = None) -> str:
        """Do one fault, the next of the deck unless it is named, and heal it."""
        if name is None:
            if not self._deck:
                self._deck = sorted(self.faults)
                self._chance.shuffle(self._deck)
            name = self._deck.pop()
        self.faults[name]()
        self.done.append(name)
        return name

    # ── processes ────────────────────────────────────────────────────────────────────────────────────

    def kill_runner(self) -> None:
        """F1, F3: send SIGKILL; its supervisor rescues its jobs."""
        runner = self._some_runner()
        if runner is not None:
            with self._fault("kill-runner", pids=[runner.pid, *_descendants(runner.pid)]):
                send(runner, signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """F2: its runners end with it; another worker takes its place."""
        worker = self._some_worker()
        with self._fault("kill-supervisor", pids=[process.pid for process in worker.tree]):
            worker.kill_supervisor()
        self._stage.replace(worker)

    def kill_tree(self) -> None:
        """F1: lose a machine."""
        worker = self._some_worker()
        with self._fault("kill-tree", pids=[process.pid for process in worker.tree]):
            worker.kill_tree()
        self._stage.replace(worker)

    def kill_everybody(self) -> None:
        """F83: kill all workers at once; others take their places."""
        workers = list(self._stage.workers)
        with self._fault("kill-everybody", pids=[process.pid for worker in workers for process in worker.tree]):
            for worker in workers:
                worker.kill_tree()
        for worker in workers:
            self._stage.replace(worker)

    def kill_client(self) -> None:
        """F70: kill a client during a call, so that it is unknown whether it took effect."""
        if self._stage.clients:
            client = self._chance.choice(self._stage.clients)
            with self._fault("kill-client", pids=[client.process.pid]):
                client.kill()
            self._stage.clients.remove(client)
            self._stage.start_client()

    def stop_runner(self, seconds: float) -> None:
        """F8, F9, F10: SIGSTOP and SIGCONT at any moment; beyond the lease, its jobs go to others."""
        runner = self._some_runner()
        if runner is not None:
            with self._fault("stop-runner", pids=[runner.pid, *_descendants(runner.pid)], seconds=seconds):
                self._stop(runner, seconds)

    def stop_supervisor(self) -> None:
        """F8: stop the heartbeats of its runners."""
        worker, seconds = self._some_worker(), self._chance.choice([1.0, LEASE + 1.5])
        with self._fault("stop-supervisor", pids=[process.pid for process in worker.tree], seconds=seconds):
            self._stop(worker.supervisor, seconds)

    def terminate(self) -> None:
        """F4 to F6: deploy. The next worker starts before the old one is gone."""
        worker = self._some_worker()
        if not worker.runners:
            return  # it is starting, and does not handle signals yet
        self._stage.workers.remove(worker)
        self._stage.start_worker()
        self.end_worker(worker)

    def end_worker(self, worker: Worker) -> None:
        """Send SIGTERM, and record the result."""
        pids = [process.pid for process in worker.tree]
        self._recorder.write("terminate", "invoke", value=Value(pids=pids, grace=GRACE))
        worker.send(signal.SIGTERM)
        try:
            code = worker.wait(GRACE + 20)
        except subprocess.TimeoutExpired:
            code = -1
            worker.end()
        self._recorder.write("terminate", value=Value(pids=pids, grace=GRACE, code=code))

    # ── the store ────────────────────────────────────────────────────────────────────────────────────

    def lock_database(self) -> None:
        """F9, F43: let another process hold the write lock of the file, for less or more than the lease."""
        seconds = self._chance.choice([1.0, LEASE + 1.5])
        path = self._stage.direct.removeprefix("sqlite:///")
        with self._fault("lock-database", seconds=seconds):
            locker = subprocess.Popen([sys.executable, "-c", _LOCK, path, str(seconds)])
            self._lasts(seconds)
            if locker.wait() != 0:
                raise AssertionError("the database was not locked")

    def end_sessions(self) -> None:
        """F51: terminate every session of the database."""
        with self._fault("end-sessions"), self._stage.ledger.connection() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def crash_server(self) -> None:
        """F52: kill -9 the whole server, and let it recover."""
        assert self._server is not None
        seconds = self._chance.choice([0.0, 1.0])
        with self._fault("crash-server", seconds=seconds):
            self._server.kill()
            self._lasts(seconds)
            self._server.start()

    # ── the network ──────────────────────────────────────────────────────────────────────────────────

    def cut_connections(self) -> None:
        """F51: cut every connection at once."""
        with self._fault("cut-connections"):
            self._proxied(cut=True)

    def delay(self) -> None:
        """Delay every reply."""
        with self._fault("delay", seconds=2.0):
            self._proxied(delay=self._chance.uniform(0.02, 0.2))
            self._lasts(2.0)
            self._proxied(delay=0.0)

    def blackhole(self) -> None:
        """F62: let nothing through, without notice."""
        seconds = self._chance.choice([1.0, LEASE + 1.5])
        with self._fault("blackhole", seconds=seconds):
            self._proxied(drop=True)
            self._lasts(seconds)
            self._proxied(drop=False, cut=True)

    def cut_replies(self) -> None:
        """F50: cut connections in the middle of a reply."""
        self._spoil("cut-replies", cut_replies=SPOILT)

    def lose_commits(self) -> None:
        """F49: let the server commit, but lose the reply."""
        self._spoil("lose-commits", lose_commits=SPOILT)

    def _spoil(self, name: str, **wanted: int) -> None:
        """Let the proxy spoil this many replies; record how many it did."""
        self._recorder.write(name, "invoke")
        self._proxied(**wanted)
        self._lasts(1.5)
        left = self._proxied(**dict.fromkeys(wanted, 0))
        self._recorder.write(name, value=Value(code=SPOILT - left))

    def _proxied(self, **wanted: object) -> int:
        assert self._proxy is not None
        return self._proxy.tell(**wanted)

    # ── whom it meets ────────────────────────────────────────────────────────────────────────────────

    def _some_worker(self) -> Worker:
        return self._chance.choice(self._stage.workers)

    def _some_runner(self) -> Process | None:
        runners = [runner for worker in self._stage.workers for runner in worker.runners]
        return self._chance.choice(runners) if runners else None

    def _stop(self, process: Process, seconds: float) -> None:
        send(process, signal.SIGSTOP)
        self._lasts(seconds)
        send(process, signal.SIGCONT)

    def _lasts(self, seconds: float) -> None:
        """Wait while a fault lasts; sometimes another one comes meanwhile."""
        before = seconds * self._chance.random()
        time.sleep(before)
        if self._chance.random() < 0.3:
            self._chance.choice([self.kill_runner, self.kill_client, self.kill_supervisor])()
        time.sleep(seconds - before)

    @contextmanager
    def _fault(self, name: str, *, pids: list[int] | None = None, seconds: float | None = None) -> Iterator[None]:
        value = Value(pids=pids or [], seconds=seconds)
        self._recorder.write(name, "invoke", value=value)
        try:
            yield
        finally:
            self._recorder.write(name, value=value)


def _descendants(pid: int) -> list[int]:
    """Return all processes below one that may be gone."""
    with suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []
