"""Instructions per job: a measure that is stable where wall time and processor time are not.

valgrind counts those of a process that does the work a few times, and of one that does it many times. The difference,
divided, is the cost of one, without start, imports and schema. With PostgreSQL, only the client is counted. Waiting is
free.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import posthorse as ph
from bench import instructed, instructed_raw
from bench.application import awalk, fail, noop, opened, threaded_noop, walk
from bench.draining import complete, enqueue
from bench.measure import Sample, Setup
from bench.stores import MeasuredStore

COUNTER = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
"""The fastest tool of valgrind that counts instructions."""

COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")
SLICE = 1_000
PROJECT = Path(__file__).parents[1]

Count = Callable[[str, str, int], int]
"""Return the instructions of a process that does a work, given its name, the URL of a store, and a number."""


@dataclass(frozen=True)
class Work:
    """A work that the same program does a few times, and many times."""

    name: str
    few: int
    many: int
    jobs: Callable[[int], Sequence[ph.Call[object]]] | None = None
    """The jobs to run, if the program is a worker."""
    concurrency: int = 0
    """How many of them run at once."""
    end: str = "completed"
    """The state in which they end."""


def _jobs(few: int, many: int, call: ph.Call[object], *, end: str = "completed") -> Work:
    return Work("work", few, many, lambda count: [call] * count, concurrency=10, end=end)


def _slices(few: int, many: int, kind: ph.Kind[[int, int], object]) -> Work:
    return Work("work", few, many, lambda count: [kind.bind(count * SLICE, SLICE)], concurrency=1)


_CONSUME = Work("consume", 1_000, instructed_raw.ROWS)
_COMMIT = Work("commit_cursor", 100, 1_100)

LINES = {
    "an async job": (_jobs(1_000, 4_000, noop.bind(1, 2)), _CONSUME),
    "a sync job": (_jobs(500, 1_500, threaded_noop.bind(1, 2)), _CONSUME),
    "an async job that fails": (_jobs(500, 1_500, fail.bind(1, 2), end="failed"), _CONSUME),
    "enqueue, one after the other": (Work("enqueue_singly", 100, 600), Work("insert_singly", 100, 1_100)),
    "aenqueue, one after the other": (Work("aenqueue_singly", 100, 600), Work("insert_singly", 100, 1_100)),
    "enqueue, 1,000 a call": (Work("enqueue_in_bulk", 1_000, 4_000), Work("insert_in_bulk", 1_000, 6_000)),
    "a slice": (_slices(50, 350, walk), _COMMIT),
    "a slice, async": (_slices(50, 350, awalk), _COMMIT),
}
"""Works of ours, each with the raw statements that do the same."""


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield thousands of instructions per job or slice; the counts do not depend on the sizes."""
    if shutil.which(COUNTER[0]) is None:
        print(f"instructions: left out, as {COUNTER[0]} is not installed, which counts them", file=sys.stderr)
        return
    store = setup.store
    with counting(instructed_raw) as count:
        bare = {raw: thousands_for_one(raw, store, count) for raw in dict.fromkeys(raw for _, raw in LINES.values())}
    with counting(instructed) as count:
        for name, (ours, raw) in LINES.items():
            yield Sample(f"instructions: {name}", "thousand", thousands_for_one(ours, store, count), bare[raw])


def thousands_for_one(work: Work, store: MeasuredStore, count: Count) -> float:
    """Return the thousands of instructions that one more repetition adds."""
    few, many = _instructions(work, work.few, store, count), _instructions(work, work.many, store, count)
    return (many - few) / (work.many - work.few) / 1_000


@contextmanager
def counting(program: ModuleType) -> Iterator[Count]:
    """Start a program under the counter, ready to fork for each work."""
    with tempfile.TemporaryDirectory() as logs:
        command = [*COUNTER, f"--log-file={logs}/%p", sys.executable, "-m", program.__name__]
        # With a fixed hash seed, sets and mappings have the same layout each time.
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=PROJECT, env=environment, stdin=pipe, stdout=pipe, text=True) as process:

            def count(work: str, url: str, number: int) -> int:
                assert process.stdin is not None
                assert process.stdout is not None
                print(work, url, number, file=process.stdin, flush=True)
                fork, _, code = process.stdout.readline().strip().partition(" ")
                if code != "0":
                    raise RuntimeError(f"{work} {number} of {program.__name__} ended with {code or 'its program'}")
                return _told(Path(logs, fork).read_text(encoding="utf-8"))

            yield count


def _instructions(work: Work, number: int, store: MeasuredStore, count: Count) -> int:
    with store.fresh() as url, opened(url), store.asking(url) as ask:
        if work.jobs is None:
            return count(work.name, url, number)
        jobs = [*work.jobs(number), instructed.leave.bind()]
        enqueue(jobs)
        counted = count(work.name, url, work.concurrency)
        complete(store.tally(ask, end=work.end), len(jobs))
    return counted


def _told(log: str) -> int:
    found = COUNTED.search(log)
    if found is None:
        raise RuntimeError(f"{COUNTER[0]} told no number of instructions: {log[-2_000:]}")
    return int(found[1].replace(",", ""))
