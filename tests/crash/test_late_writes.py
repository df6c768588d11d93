"""F8: a process that is stopped past its lease and continued can write nothing, whatever it tries."""

from __future__ import annotations

import signal

from tests.crash.application import write_late
from tests.crash.harness import SHORT_LEASE, Crash, Process, send, wait_for

WRITES = ("return", "raise", "checkpoint", "progress", "slice", "transaction")


def test_every_late_write_of_a_revived_process_is_refused(crash: Crash) -> None:
    jobs = {how: write_late.enqueue(how) for how in WRITES}
    zombie = crash.start_embedded()
    for job in jobs.values():
        crash.wait_for_mark(job.id, "waits")
    wait_for(lambda: _stops_between_writes(crash, zombie.supervisor), "a moment without a write lock")
    crash.start(concurrency=8, lease=SHORT_LEASE)
    for job in jobs.values():
        crash.wait_for_mark(job.id, "begin", count=2)
    crash.open_gate(1)
    send(zombie.supervisor, signal.SIGCONT)

    for how in ("checkpoint", "progress", "slice", "transaction"):
        crash.wait_for_mark(jobs[how].id, "refused:Interrupted")
    crash.wait_for_mark(jobs["return"].id, "written")
    crash.wait_for_mark(jobs["raise"].id, "refused:ValueError")
    wait_for(lambda: "taken over by another runner" in zombie.log, "the refusal of its result")
    zombie.end()
    crash.open_gate(2)
    crash.drain(list(jobs.values()))
    for how, job in jobs.items():
        row = crash.row(job)
        assert (row.state, row.epoch, row.errors, row.crashes) == ("completed", 2, 0, 0), how
        assert job.result() == "second"
        assert job.status().progress.done == 0
        assert crash.ledger.effects(job.id) == []
        assert crash.events(job) == ["lost"]
    crash.check()


def test_a_revived_runner_is_replaced_and_its_worker_works_on(crash: Crash) -> None:
    """Its supervisor sees that the lease is gone, and ends it."""
    job = write_late.enqueue("return")
    worker = crash.start(lease=SHORT_LEASE)
    begun = crash.wait_for_mark(job.id, "waits")
    crash.open_gate(2)
    [runner] = worker.runners
    assert runner.pid == begun.pid
    wait_for(lambda: _stops_between_writes(crash, runner), "a moment without a write lock")
    # Its own worker sweeps, but has no other runner for the job.
    wait_for(lambda: crash.row(job).is_ready, "the rescue of the job")
    send(runner, signal.SIGCONT)
    assert job.result(timeout=30) == "second"
    assert runner not in worker.runners
    assert crash.row(job).crashes == 0
    crash.check()


def _stops_between_writes(crash: Crash, process: Process) -> bool:
    send(process, signal.SIGSTOP)
    if crash.is_free():
        return True
    send(process, signal.SIGCONT)
    return False
