"""Each work that is counted can run; counts differ by the work; without a counter the bench says so and goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import posthorse as ph
from bench import instructed, instructed_raw, instructions
from bench.__main__ import _wanted as wanted
from bench.application import app, awalk, fail, noop, opened, threaded_noop, walk
from bench.measure import QUICK, Setup
from bench.stores import SqliteStore
from tests.statuses import list_statuses

PROJECT = Path(__file__).parents[2]


def states(url: str) -> Counter[tuple[str, ph.State]]:
    with opened(url):
        return Counter((status.kind, status.state) for status in list_statuses(app, limit=5_000))


def do(program: ModuleType, *orders: str) -> list[str]:
    """Return the exit codes of its forks."""
    command = [sys.executable, "-m", program.__name__]
    ended = subprocess.run(command, cwd=PROJECT, input="\n".join(orders), stdout=subprocess.PIPE, text=True, check=True)
    return [line.split()[1] for line in ended.stdout.splitlines()]


WORKS = (("enqueue_singly", 3), ("aenqueue_singly", 4), ("enqueue_in_bulk", 2_000))


def test_as_many_jobs_are_enqueued_as_asked_for(store_url: str) -> None:
    with opened(store_url):
        pass  # creates the schema
    orders = [f"{work} {store_url} {number}" for work, number in WORKS]
    assert do(instructed, *orders) == ["0", "0", "0"]
    assert states(store_url) == {("noop", ph.State.PENDING): 2_007}


@pytest.mark.parametrize("concurrency", [1, 10])
def test_the_work_ends_once_all_is_done_that_was_enqueued_before_its_end(store_url: str, concurrency: int) -> None:
    short: list[ph.Call[object]] = [noop.bind(1, 2), threaded_noop.bind(1, 2)]
    long: list[ph.Call[object]] = [walk.bind(9, 3), awalk.bind(9, 3)] if concurrency == 1 else []
    with opened(store_url):
        app.enqueue_many([*short * 50, *long, instructed.leave.bind()])
    assert do(instructed, f"work {store_url} {concurrency}") == ["0"]
    counted = states(store_url)
    assert {state for _, state in counted} == {ph.State.COMPLETED}
    assert counted.total() == 100 + len(long) + 1


def test_jobs_that_are_to_fail_fail_and_are_not_tried_again(store_url: str) -> None:
    with opened(store_url):
        app.enqueue_many([*[fail.bind(1, 2)] * 5, instructed.leave.bind()])
    assert do(instructed, f"work {store_url} 10") == ["0"]
    assert states(store_url) == {("fail", ph.State.FAILED): 5, ("leave", ph.State.COMPLETED): 1}


def test_the_bare_statements_leave_nothing(store_url: str, tmp_path: Path) -> None:
    there = set(tmp_path.iterdir())
    assert do(instructed_raw, *(f"{work} {store_url} 1000" for work in instructed_raw.WORKS)) == ["0"] * 4
    assert set(tmp_path.iterdir()) == there


@pytest.mark.skipif(shutil.which(instructions.COUNTER[0]) is None, reason="needs valgrind")
def test_more_commits_count_more_and_what_fails_is_no_figure(sqlite_url: str) -> None:
    with instructions.counting(instructed_raw) as count:
        one, eleven = (count("commit_cursor", sqlite_url, commits) for commits in (1, 11))
        assert 1_000 < (eleven - one) / 10 < 1_000_000
        with pytest.raises(RuntimeError, match=r"no_such_work 1 of .* ended with 1"):
            count("no_such_work", sqlite_url, 1)


def test_what_one_job_takes_is_what_one_more_adds(tmp_path: Path) -> None:
    def count(_work: str, _url: str, jobs: int) -> int:
        return 700_000_000 + 3_500 * jobs

    work = instructions.Work("enqueue_singly", few=10, many=50)
    assert instructions.thousands_for_one(work, SqliteStore(tmp_path), count) == 3.5


def test_a_worker_that_left_something_is_no_figure(tmp_path: Path) -> None:
    ours, _ = instructions.LINES["an async job"]
    with pytest.raises(RuntimeError, match="0 of 1001 jobs were completed"):
        instructions.thousands_for_one(ours, SqliteStore(tmp_path), lambda *_: 1)


def test_without_a_counter_it_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instructions, "COUNTER", ("no-such-counter",))
    store = SqliteStore(tmp_path)
    with store.yardstick() as raw:
        assert list(instructions.measure(Setup(store, raw, QUICK, 10, (1,)))) == []
    assert "no-such-counter is not installed" in capsys.readouterr().err


def test_it_is_counted_only_on_request() -> None:
    everything = wanted([]).benches
    assert "throughput" in everything
    assert "instructions" not in everything
    assert wanted(["--only", "instructions"]).benches == ["instructions"]
