"""F62 with a real network: a worker's machine is cut off from the server, and returns when others have its jobs."""

from __future__ import annotations

from pathlib import Path

from psycopg import sql

from tests.crash.application import exact, exact_async, repeated
from tests.crash.harness import SHORT_LEASE, Crash
from tests.faults.namespace import Namespace, namespace
from tests.servers import PostgresServer
from tests.servers.postgres import postgres_server

COUNT, SIZE = 60, 5


def test_a_machine_that_is_cut_off_loses_its_jobs_to_others_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    with namespace() as machine:
        listening = {"listen_addresses": f"127.0.0.1,{machine.address}"}
        with postgres_server("18", settings=listening) as server:
            _let_in(server, machine)
            crash = Crash(server.url(), tmp_path)
            try:
                _cut_off(crash, server, machine)
            finally:
                crash.end()


def _cut_off(crash: Crash, server: PostgresServer, machine: Namespace) -> None:
    jobs = [exact.enqueue(COUNT, SIZE, 0.1), exact_async.enqueue(COUNT, SIZE, 0.1)]
    repeating = repeated.enqueue(COUNT, SIZE, 0.1)
    everything = [*jobs, repeating]
    with machine.inside():
        far = crash.start(url=server.url().replace("127.0.0.1", machine.address), lease=SHORT_LEASE)
    for job in everything:
        crash.wait_for_mark(job.id, "out", count=2)

    machine.pull_the_cable()
    crash.start(lease=SHORT_LEASE)
    for job in everything:
        crash.wait_for_mark(job.id, "begin", count=2)
    machine.plug_in()
    crash.wait_until_ready(far)

    crash.drain(everything)
    for job in jobs:
        crash.check_exact(job, COUNT)
    crash.check_repeated(repeating, COUNT, SIZE)
    assert not any(row.errors or row.crashes for row in crash.ledger.jobs())
    crash.check()


def _let_in(server: PostgresServer, machine: Namespace) -> None:
    with (server.directory / "data" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {machine.network} trust\n")
    server.execute(sql.SQL("SELECT pg_reload_conf()"))
