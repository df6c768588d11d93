"""What a probe concludes from a store, a process and its runners."""

from __future__ import annotations

import pytest

from posthorse.rules.health import Process, RegisteredRunner, StoreFound, of_store, of_worker

WELL = StoreFound(2)
AWAY = StoreFound(None, "the store is away")
WORKS, STOPS, SILENT = RegisteredRunner(True, False), RegisteredRunner(True, True), RegisteredRunner(False, False)


@pytest.mark.parametrize(
    ("process", "beats", "live", "ready", "problem"),
    [
        (Process.RUNNING, [WORKS, SILENT], True, True, ""),
        (None, [WORKS], True, True, ""),
        (Process.RUNNING, [STOPS], True, False, "it is stopping"),
        (Process.RUNNING, [SILENT], False, False, "none of its runners has sent a heartbeat"),
        (Process.RUNNING, [], False, False, "none of its runners is registered"),
        (Process.GONE, [WORKS], False, False, "its process is gone"),
        (Process.STOPPED, [WORKS], False, False, "its process is stopped"),
    ],
)
def test_a_worker_lives_if_its_process_runs_and_a_runner_beats_and_is_ready_if_one_takes_jobs(
    process: Process | None, beats: list[RegisteredRunner], live: bool, ready: bool, problem: str
) -> None:
    found = of_worker(WELL, process, beats)
    assert (found.store, found.live, found.ready) == (True, live, ready)
    if problem:
        assert problem in found.problems[0]
    else:
        assert not found.problems


@pytest.mark.parametrize(
    ("process", "live"), [(Process.RUNNING, True), (Process.GONE, False), (Process.STOPPED, False), (None, None)]
)
def test_a_store_that_is_away_makes_no_worker_less_alive(process: Process | None, live: bool | None) -> None:
    found = of_worker(AWAY, process, None)
    assert (found.store, found.live, found.ready) == (False, live, False)
    assert found.problems[0] == "the store is away"


def test_without_a_worker_the_store_alone_counts() -> None:
    assert (of_store(WELL).store, of_store(WELL).live, of_store(WELL).problems) == (True, None, ())
    assert (of_store(AWAY).store, of_store(AWAY).ready, of_store(AWAY).problems) == (
        False,
        None,
        ("the store is away",),
    )
