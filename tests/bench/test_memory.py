"""The peak of a worker is reported beside its size at rest; large jobs wait outside."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

from bench import memory
from bench.measure import QUICK, Setup
from bench.raw_limits import RawLimits
from bench.stores import SqliteStore
from posthorse.cli.bench_measures import Worker

GROW = """
import sys
held = bytearray(b"x") * 60_000_000
print(flush=True)
sys.stdin.readline()
del held
print(flush=True)
sys.stdin.readline()
"""


def test_the_gauge_remembers_the_most_that_was_held() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GROW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        gauge = memory.Gauge(cast("Worker", process))  # of a worker, it needs only the process id
        gauge.read()
        process.stdin.write("\n")
        process.stdout.readline()
        later = memory.Gauge(cast("Worker", process))
        gauge.read()
        later.read()
        process.stdin.write("\n")
    assert later.peak > 1_000_000
    assert gauge.peak > later.peak + 50_000_000


def test_large_jobs_that_wait_take_no_room_in_a_worker(tmp_path: Path) -> None:
    sizes = replace(QUICK, many=2_000, large=40, jobs=3_000)
    nothing_raw = cast("RawLimits", None)
    setup = Setup(store=SqliteStore(tmp_path), raw=nothing_raw, sizes=sizes, concurrency=2, processes=(1,))
    samples = {sample.name: sample for sample in memory.measure(setup)}
    assert list(samples) == [
        "a worker at rest, memory (PSS)",
        "the first half of 2,000 small jobs, most memory",
        "the second half of 2,000 small jobs, most memory",
        "40 jobs of 1 MB behind 3,000 small ones, most memory",
    ]
    rest = samples["a worker at rest, memory (PSS)"].ours
    assert rest > 10
    for sample in list(samples.values())[1:]:
        assert sample.raw == rest
        assert rest * 0.8 < sample.ours < rest + 60, sample
