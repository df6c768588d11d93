"""`python -m bench` runs on each store and prints every figure; no test asserts how fast it is."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

FIGURES = {
    "async jobs, 1 process": "jobs/s",
    "async jobs, 1 process, with the worker's start": "jobs/s",
    "async jobs, 1 process, processor time": "s/1,000 jobs",
    "sync jobs, 1 process": "jobs/s",
    "sync jobs, 1 process, with the worker's start": "jobs/s",
    "sync jobs, 1 process, processor time": "s/1,000 jobs",
    "enqueue, one after the other": "jobs/s",
    "aenqueue, one after the other": "jobs/s",
    "enqueue, 1,000 a call": "jobs/s",
    "pickup by a worker process, p50": "ms",
    "pickup by a worker process, p99": "ms",
    "pickup by an embedded worker, p50": "ms",
    "pickup by an embedded worker, p99": "ms",
    "a slice": "ms",
    "a slice, async": "ms",
    "import of posthorse": "ms",
    "import of posthorse, one job declared": "ms",
    "posthorse --version": "ms",
    "worker at rest, 2 runners, processor time": "ms/s",
    "worker at rest, 2 runners, memory (PSS)": "MB",
    "jobs without limits beside a busy key": "jobs/s",
    "the same while jobs of that key are held": "jobs/s",
    "the same while they are being set aside": "jobs/s",
    "async jobs, 2,000 others pending": "jobs/s",
    "async jobs, 2,000 others delayed": "jobs/s",
    "async jobs, 2,000 others finished": "jobs/s",
    "async jobs, in 200 priorities": "jobs/s",
    "async jobs, 300 other queues, empty": "jobs/s",
    "async jobs, in 300 queues": "jobs/s",
    "1,000 async jobs in 200 queues": "jobs/s",
    "1,000 async jobs in 200 queues, which share by weight": "jobs/s",
    "1,000 async jobs of 150 fair tenants": "jobs/s",
}
ON_SQLITE = {
    "claimed and completed 10 a batch": "jobs/s",
    "claimed and completed 1,000 a batch": "jobs/s",
}
OLD_SNAPSHOT = "10,000 async jobs behind an old snapshot"
ON_POSTGRES = {
    OLD_SNAPSHOT: "jobs/s",
    f"{OLD_SNAPSHOT}, the last quarter of them beside the first": "jobs/s",
    **{
        f"claimed and completed {size} a batch, {known}": "jobs/s"
        for size in ("10", "1,000")
        for known in ("nothing known", "known as empty", "known as it is")
    },
    "2 runners at rest, looks at what is ready": "a second",
    "2 runners at rest, transactions": "a second",
    "2 runners, looks at what is ready for one job": "times",
    "2 runners, transactions for one job": "times",
}
WITHOUT_RAW = (
    "with the worker's start",
    "processor time",
    "memory (PSS)",
    "ready",
    "transactions",
    "for one job",
)


@pytest.mark.timeout(600)  # it runs dozens of processes in turn, on a machine that may be busy
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_quick_bench_gives_every_figure(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if store == "postgres":
        request.getfixturevalue("postgres_url")  # skips if there is no server
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench", "--quick", "--store", store, "--json", str(file)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(file.read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in report["figures"]}
    expected = FIGURES | (ON_POSTGRES if store == "postgres" else ON_SQLITE)
    assert {name: figure["unit"] for name, figure in figures.items()} == expected
    for name, figure in figures.items():
        assert figure["store"] == store
        assert name in ended.stdout
        assert len(figure["samples"]) == report["shape"]["rounds"] == 1
        assert math.isfinite(figure["ours"])
        # The kernel counts processor time in steps, and so few jobs may not fill one.
        assert figure["ours"] > 0 or name.endswith(("processor time", "for one job"))
        if name.endswith(WITHOUT_RAW):
            assert figure["raw"] is None
        else:
            assert figure["ratio"] == pytest.approx(figure["ours"] / figure["raw"])
    assert report["environment"]["disks"][store]["sync_ms"] > 0
