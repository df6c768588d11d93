"""F49 to F52: PostgreSQL is killed, cuts its sessions, or does what it was asked without the client learning it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import posthorse as ph
from tests.crash.application import add, exact, exact_apart, exact_async, fail_once, repeated, sleep_in_thread
from tests.crash.harness import SHORT_LEASE, Crash, Worker, gone, wait_for
from tests.crash.proxy import lossy_proxy
from tests.servers import PostgresServer

COUNT, SIZE = 60, 5

Frozen = tuple[Crash, PostgresServer]


def _commits(text: bytes) -> Callable[[Sequence[bytes]], bool]:
    return lambda sent: b"COMMIT\0" in sent[-1] and any(text in piece for piece in sent)


def _says(text: bytes) -> Callable[[Sequence[bytes]], bool]:
    return lambda sent: text in sent[-1]


LOST = {
    "register": _says(b'INTO "posthorse".runners'),
    "claim": _commits(b"granted AS"),
    "checkpoint": _says(b"(job, epoch, slices, "),
    "slice transaction": _commits(b"INTO effects"),
    "completion": _says(b"result = e.result"),
    "retry": _commits(b"RETURNING job, claimed_at"),
}


@pytest.mark.parametrize("what", LOST)
def test_a_reply_that_was_lost_loses_and_repeats_nothing(postgres_crash: Crash, what: str) -> None:
    crash = postgres_crash
    address = urlsplit(crash.url)
    assert address.port is not None
    jobs = [exact.enqueue(COUNT, SIZE, 0), exact_async.enqueue(COUNT, SIZE, 0)]
    others: list[ph.Job[int]] = [repeated.enqueue(COUNT, SIZE, 0), fail_once.enqueue(), add.enqueue(1, 2)]
    with lossy_proxy(address.port, loses=LOST[what]) as proxy:
        worker = crash.start(
            lease=SHORT_LEASE, url=address._replace(netloc=f"postgres@127.0.0.1:{proxy.port}").geturl()
        )
        crash.drain([*jobs, *others])
        assert proxy.has_lost.is_set()
        worker.end()
    for job in jobs:
        crash.check_exact(job, COUNT)
    crash.check_repeated(others[0], COUNT, SIZE)
    assert crash.row(others[1]).errors == 1
    assert others[2].result() == 3
    crash.check()


def test_a_store_that_refuses_outcomes_for_longer_than_the_lease_loses_none(postgres_crash: Crash) -> None:
    """The runner gives up, and ends: otherwise its living lease would keep the job from all others."""
    crash = postgres_crash
    with crash.ledger.connection() as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$"
        )
        connection.execute("CREATE TRIGGER refuse BEFORE UPDATE ON posthorse.jobs EXECUTE FUNCTION refuse()")
    job = add.enqueue(1, 2)
    worker = crash.start(lease=SHORT_LEASE)
    wait_for(lambda: "gave up writing" in worker.log, "the end of its patience")
    with crash.ledger.connection() as connection:
        connection.execute("DROP TRIGGER refuse ON posthorse.jobs")
    assert job.result(timeout=30) == 3
    row = crash.row(job)
    assert (row.errors, row.crashes) == (0, 0)
    crash.check()


def test_sessions_cut_while_slices_run_lose_and_repeat_nothing(postgres_crash: Crash) -> None:
    crash = postgres_crash
    jobs = [exact.enqueue(COUNT, SIZE, 0.05), exact_async.enqueue(COUNT, SIZE, 0.05)]
    repeating = repeated.enqueue(COUNT, SIZE, 0.05)
    crash.start(lease=SHORT_LEASE)
    for count in (2, 4, 6):
        crash.wait_for_mark(jobs[0].id, "in", count=count)
        with crash.ledger.connection() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        crash.ledger.close()
    crash.drain([*jobs, repeating])
    for job in jobs:
        crash.check_exact(job, COUNT)
    crash.check_repeated(repeating, COUNT, SIZE)
    crash.check()


def test_a_server_that_is_killed_and_comes_back_loses_nothing(own_postgres: PostgresServer, tmp_path: Path) -> None:
    _outage(own_postgres, tmp_path, times=2, seconds=0)


@pytest.mark.soak
def test_a_server_that_stays_away_longer_than_the_lease_loses_nothing(
    own_postgres: PostgresServer, tmp_path: Path
) -> None:
    _outage(own_postgres, tmp_path, times=5, seconds=6)


@pytest.mark.parametrize("signals", [1, 2])
def test_a_worker_without_its_store_ends_when_it_is_told_to(
    own_postgres: PostgresServer, tmp_path: Path, signals: int
) -> None:
    """It ends within its grace; after a second signal at once, however much grace is left."""
    crash = Crash(own_postgres.url(), tmp_path)
    try:
        job = sleep_in_thread.enqueue(600)
        worker = crash.start(grace="2s" if signals == 1 else "10m", store_timeout="10m")
        crash.wait_for_mark(job.id, "begin")
        tree = worker.tree
        own_postgres.kill()
        worker.send(signal.SIGTERM)
        if signals > 1:
            wait_for(lambda: "a second signal" in worker.log, "the first signal to be heard")
            worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        gone(tree)
    finally:
        crash.end()


FROZEN: Mapping[str, Callable[[Crash, ph.Job[str]], Worker]] = {
    "worker": lambda crash, job: crash.start(grace="2s", lease=SHORT_LEASE),
    "embedded": lambda crash, job: crash.start_embedded(grace="2s"),
    "run": lambda crash, job: crash.start_run(job.id, grace="2s", lease=SHORT_LEASE),
}
"""What works on a job, by how it is started."""


def test_an_idle_worker_ends_although_its_store_is_frozen(frozen: Frozen) -> None:
    """The store neither answers nor refuses, so a call under way cannot be distinguished from a slow one."""
    crash, server = frozen
    worker = crash.start(grace="0s")
    crash.wait_until_ready(worker)
    with server.halted():
        worker.stop(grace=0)


@pytest.mark.parametrize("how", FROZEN)
def test_what_works_ends_within_its_grace_although_its_store_is_frozen(frozen: Frozen, how: str) -> None:
    crash, server = frozen
    job = sleep_in_thread.enqueue(600)
    worker = FROZEN[how](crash, job)
    crash.wait_for_mark(job.id, "begin")
    with server.halted():
        worker.stop(grace=2, code=130 if how == "run" else 0)


def test_a_second_signal_ends_a_run_whose_store_is_frozen(frozen: Frozen) -> None:
    crash, server = frozen
    job = sleep_in_thread.enqueue(600)
    run = crash.start_run(job.id, grace="10m")
    crash.wait_for_mark(job.id, "begin")
    with server.halted():
        run.send(signal.SIGTERM)
        time.sleep(0.5)  # as people do: two signals that arrive together are one
        run.stop(grace=0, code=130)


@pytest.mark.parametrize("kind", [exact, exact_async, exact_apart])
def test_a_worker_that_ends_while_its_store_is_frozen_loses_and_repeats_nothing(
    frozen: Frozen, kind: ph.Kind[[int, int, float], int]
) -> None:
    crash, server = frozen
    job = kind.enqueue(COUNT, SIZE, 0.05)
    worker = crash.start(grace="1s", lease=SHORT_LEASE)
    crash.wait_for_mark(job.id, "in", count=3)
    with server.halted():
        worker.stop(grace=1)
    crash.start(lease=SHORT_LEASE)
    crash.drain([job])
    crash.check_exact(job, COUNT)
    row = crash.row(job)
    assert (row.errors, row.crashes) == (0, 0)
    crash.check()


@pytest.fixture
def frozen(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[Frozen]:
    """Yield a store with workers, on a server that can be frozen."""
    crash = Crash(own_postgres.url(), tmp_path)
    yield crash, own_postgres
    crash.end()


def _outage(server: PostgresServer, directory: Path, *, times: int, seconds: float) -> None:
    crash = Crash(server.url(), directory)
    try:
        jobs = [exact.enqueue(COUNT, SIZE, 0.05), exact_async.enqueue(COUNT, SIZE, 0.05)]
        repeating = repeated.enqueue(COUNT, SIZE, 0.05)
        crash.start(processes=2, lease=SHORT_LEASE)
        for time_of_death in range(times):
            crash.wait_for_mark(jobs[0].id, "in", count=2 + 2 * time_of_death)
            server.kill()
            crash.ledger.close()
            time.sleep(seconds)  # the outage itself
            server.start()
        crash.drain([*jobs, repeating], within=60)
        for job in jobs:
            crash.check_exact(job, COUNT)
        crash.check_repeated(repeating, COUNT, SIZE)
        crash.check()
    finally:
        crash.end()
