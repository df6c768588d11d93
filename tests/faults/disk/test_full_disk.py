"""F35: the store's disk fills up under work. Callers get an error; accepted jobs are done once there is room."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.errors import StoreUnreachable
from tests.crash.application import add, app, exact, exact_async, repeated
from tests.crash.harness import Crash, wait_for
from tests.faults.disk.small import fill, small_disk
from tests.faults.disk.test_damage import doctor

SIZE = 3_000_000
COUNT, SLICE = 40, 5


def test_a_full_disk_is_told_and_when_there_is_room_again_everything_drains(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size=SIZE) as disk:
        crash = Crash(f"sqlite:///{disk}/jobs.db", tmp_path)
        try:
            _fill_and_drain(crash, disk)
        finally:
            crash.end()


def _fill_and_drain(crash: Crash, disk: Path) -> None:
    url = crash.url
    long = [exact.enqueue(COUNT, SLICE, 0.1), exact_async.enqueue(COUNT, SLICE, 0.1)]
    repeating = repeated.enqueue(COUNT, SLICE, 0.1)
    worker = crash.start()
    for job in (*long, repeating):
        crash.wait_for_mark(job.id, "out")
    filler = fill(disk)
    assert shutil.disk_usage(disk).free == 0

    quick: list[ph.Job[int]] = []
    with pytest.raises(StoreUnreachable, match=r"is full .*nothing was written; make room on it"):
        _enqueue_until_it_is_refused(quick)
    wait_for(lambda: "is full" in worker.log or None, "the worker to notice")
    _, told = doctor(url)  # it may find more by now: no heartbeat succeeds
    assert "nothing more fits beside the file (No space left on device); 0 bytes are free → make room" in told

    filler.unlink()
    crash.drain([*long, repeating, *quick])
    for job in long:
        crash.check_exact(job, COUNT)
    crash.check_repeated(repeating, COUNT, SLICE)
    rows = crash.ledger.jobs()
    assert len(rows) == 3 + len(quick), "a job that was refused is there"
    # What a job writes on a connection of its own does not count here.
    blamed = [row for row in rows if row.id != repeating.id and (row.errors or row.crashes)]
    assert not blamed, f"a full disk is not the fault of a job: {worker.log}"
    crash.check()
    assert app.store.health()["integrity"] == "ok"


def _enqueue_until_it_is_refused(jobs: list[ph.Job[int]]) -> None:
    while True:  # the room that the log already has is used up first
        jobs.extend(app.enqueue_many([add.bind(number, 1) for number in range(30)]))
