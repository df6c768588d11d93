"""Random kills: of runners, supervisors, whole trees, and of runners stopped past their lease.

Seeded: a failing run prints its seed and the command that repeats it. At each moment some job is running, and at most
moments the victim is inside an open slice, by its own marks.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import pytest

import posthorse as ph
from tests.crash.application import exact, exact_async, repeated
from tests.crash.harness import RECOVERY, SHORT_LEASE, Crash, Process, Worker, gone, send, wait_for

COUNT, SIZE, SECONDS = 60, 5, 0.03
VICTIMS = ["runner"] * 16 + ["tree"] * 2 + ["supervisor", "stopped runner"]
AT_WORK = 4


def test_twenty_random_kills_lose_nothing_and_repeat_nothing(crash: Crash) -> None:
    _storm(crash, VICTIMS, "test_twenty_random_kills_lose_nothing_and_repeat_nothing")


@pytest.mark.soak
def test_two_hundred_random_kills_lose_nothing_and_repeat_nothing(crash: Crash) -> None:
    _storm(crash, VICTIMS * 10, "test_two_hundred_random_kills_lose_nothing_and_repeat_nothing -m soak")


def _storm(crash: Crash, victims: list[str], test: str) -> None:
    seed = int(os.environ.get("CRASH_SEED", random.randrange(10**6)))
    sys.stdout.write(f"seed {seed}; again: CRASH_SEED={seed} python -m pytest {__file__} -k {test}\n")
    storm = Storm(crash, random.Random(seed))
    storm.run(victims)
    crash.drain(storm.jobs, within=60.0 + len(victims))
    for job in storm.jobs:
        if job.id in storm.exact:
            crash.check_exact(job, COUNT)
        else:
            crash.check_repeated(job, COUNT, SIZE)
        assert crash.row(job).errors == 0
    crash.check()
    assert storm.inside >= len(victims) / 2, f"only {storm.inside} of {len(victims)} kills struck inside a slice"


class Storm:
    """A storm of kills that hits parts of a worker while it is kept at work."""

    def __init__(self, crash: Crash, chance: random.Random) -> None:
        self.crash = crash
        self.chance = chance
        self.jobs: list[ph.Job[int]] = []
        self.exact: set[str] = set()
        self.inside = 0
        self.worker = self._start()

    def run(self, victims: list[str]) -> None:
        for victim in self.chance.sample(victims, len(victims)):
            runner, job, epoch = self._at_work()
            time.sleep(self.chance.choice([0.0, 0.0, self.chance.uniform(0, SECONDS)]))
            struck = self._strike(victim, runner)
            self.inside += any(self.crash.was_inside_a_slice(process.pid) for process in struck)
            self._wait_until_free(job, epoch, victim)
            if victim == "stopped runner":
                send(runner, signal.SIGCONT)
                gone([runner], within=RECOVERY)

    def _strike(self, victim: str, runner: Process) -> list[Process]:
        tree = self.worker.tree
        match victim:
            case "runner":
                send(runner, signal.SIGKILL)
                return [runner]
            case "tree":
                self.worker.kill_tree()
                gone(tree)
                self.worker = self._start()
                return tree
            case "supervisor":
                self.worker.kill_supervisor()
                gone(tree)
                self.worker = self._start()
                return tree
            case _:
                send(runner, signal.SIGSTOP)
                if self.crash.is_free():
                    return [runner]
                send(runner, signal.SIGKILL)  # it holds the write lock; F9 has a test of its own
                return [runner]

    def _start(self) -> Worker:
        return self.crash.start(processes=2, concurrency=3, lease=SHORT_LEASE)

    def _keep_busy(self) -> None:
        open_jobs = sum(row.state not in ("completed", "failed") for row in self.crash.ledger.jobs())
        for _ in range(open_jobs, AT_WORK):
            kind = self.chance.choice(["exact", "exact_async", "repeated"])
            match kind:
                case "exact":
                    job = exact.enqueue(COUNT, SIZE, SECONDS)
                case "exact_async":
                    job = exact_async.enqueue(COUNT, SIZE, SECONDS)
                case _:
                    job = repeated.enqueue(COUNT, SIZE, SECONDS)
            self.jobs.append(job)
            if kind != "repeated":
                self.exact.add(job.id)

    def _at_work(self) -> tuple[Process, ph.Job[int], int]:
        """Return a runner inside a slice of a job that has advanced in it, and that job's fence."""

        def look() -> tuple[Process, ph.Job[int], int] | None:
            self._keep_busy()
            for runner in self.worker.runners:
                for job in self.crash.open_slices(runner.pid):
                    known = next(known for known in self.jobs if known.id == job)
                    if epoch := self.crash.row(known).epoch_of_lease:
                        return runner, known, epoch
            return None

        return wait_for(look, "a job inside a slice")

    def _wait_until_free(self, job: ph.Job[int], epoch: int, victim: str) -> None:
        def is_free() -> bool:
            row = self.crash.row(job)
            return row.state == "completed" or row.epoch_of_lease != epoch

        wait_for(is_free, f"the rescue of {job.id} after the end of its {victim}", within=RECOVERY)
