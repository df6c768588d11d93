"""Measure stores and workers: a real worker beside this process, the time to pick a job up, percentiles.

For `posthorse bench` and the project's own benches; this module knows none of their jobs.
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from posthorse.app.kind import Kind

PATIENCE = 600.0
"""Seconds after which a wait fails."""

LOOK_INTERVAL = 0.02
UNDISTURBED = 0.02
"""Seconds in which a job may be picked up before this process queries its result."""

MIN_REST, MAX_REST = 0.01, 0.04
"""Random seconds of idleness before a job, so that it meets the worker at any moment of its rhythm."""

_WORKER = "from posthorse.cli import main; main()"


class Worker:
    """A worker that runs beside this process."""

    def __init__(self, process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
        self._process = process
        self._words = words

    @property
    def pid(self) -> int:
        """The process id of its supervisor."""
        return self._process.pid

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until a condition is true. Raises RuntimeError if the worker ended before, TimeoutError if it takes too
        long.
        """
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            if (code := self._process.poll()) is not None:
                raise RuntimeError(f"the worker ended with exit code {code}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the worker did not get there within {PATIENCE:g} s: {self._last_words()}")
            time.sleep(LOOK_INTERVAL)

    def stop(self) -> None:
        """Stop it and wait until it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def _last_words(self) -> str:
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextmanager
def running_worker(
    target: str, url: str, *, processes: int, concurrency: int, queues: Sequence[str] = ()
) -> Iterator[Worker]:
    """Run `posthorse worker` in a process of its own until the end of the block.

    The address is in the environment, because every account can read a command line.
    """
    command = [sys.executable, "-c", _WORKER, "worker", "--app", target, "--log-level", "error"]
    command += ["--processes", str(processes), "--concurrency", str(concurrency)]
    for queue in queues:
        command += ["--queue", queue]
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command,
            env={**os.environ, "POSTHORSE_URL": url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
        )
        worker = Worker(process, words)
        try:
            yield worker
        finally:
            worker.stop()


def pickup_times(tell_beginning: Kind[[], int], count: int) -> list[float]:
    """Return milliseconds from the call of `enqueue` to the start of the job's code, one job after the other."""
    return [_pickup_time(tell_beginning) for _ in range(count)]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of all values does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def rest() -> None:
    """Stay idle for a random moment."""
    time.sleep(random.uniform(MIN_REST, MAX_REST))


def _pickup_time(tell_beginning: Kind[[], int]) -> float:
    rest()
    called = time.monotonic_ns()
    job = tell_beginning.enqueue()
    time.sleep(UNDISTURBED)
    return (job.result(timeout=PATIENCE) - called) / 1_000_000
