"""`posthorse bench`: the figures of a store, and what the command leaves there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.cli.bench_jobs import QUEUE
from posthorse.cli.bench_measures import percentile
from tests.statuses import list_statuses
from tests.waiting import until

COMMAND = [sys.executable, "-c", "from posthorse.cli import main; main()", "bench"]
JOBS = 120
RATES = ("enqueued_singly", "enqueued_in_bulk", "worked", "pickup_p50_ms", "pickup_p99_ms")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended


def test_without_a_store_it_measures_a_temporary_one_and_leaves_nothing(tmp_path: Path) -> None:
    shown = run(tmp_path, "--jobs", str(JOBS)).stdout
    assert "enqueue, 1,000 a call" in shown
    assert "picked up by an idle worker, p99" in shown
    assert list(tmp_path.iterdir()) == []


def test_a_named_store_keeps_the_finished_jobs_and_is_told_so(tmp_path: Path, store_url: str) -> None:
    ended = run(tmp_path, "--jobs", str(JOBS), "--processes", "2", "--url", store_url, "--json")
    figures = json.loads(ended.stdout)
    assert (figures["jobs"], figures["processes"], figures["concurrency"]) == (JOBS, 2, 10)
    assert all(figures[rate] > 0 for rate in RATES)
    assert "132 finished jobs stay on the queue posthorse-bench" in ended.stderr
    app = ph.Posthorse(store_url)
    statuses = list_statuses(app, queue=QUEUE, limit=1000)
    app.close()
    assert len(statuses) == 132
    assert {status.state for status in statuses} == {ph.State.COMPLETED}


def test_broken_off_it_leaves_no_work_to_others(tmp_path: Path, sqlite_url: str) -> None:
    command = [*COMMAND, "--jobs", "20000", "--url", sqlite_url]
    bench = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    app = ph.Posthorse(sqlite_url)
    until(lambda: len(list_statuses(app, queue=QUEUE)) >= 10, what="jobs are enqueued")
    os.kill(bench.pid, signal.SIGINT)
    assert bench.wait() == 130
    statuses = list_statuses(app, queue=QUEUE, limit=25_000)
    app.close()
    assert statuses
    assert all(status.state.is_final for status in statuses)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 2), (0.75, 3), (0.99, 4), (1.0, 4)])
def test_a_percentile_is_the_value_at_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([4, 2, 1, 3], share) == expected
