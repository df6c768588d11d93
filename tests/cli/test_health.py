"""`posthorse health`: how probes of a store and of a worker end, on each store and while the store is frozen."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

import pytest

from posthorse.cli.exits import Exit
from posthorse.cli.local_processes import belongs_to, look_at_process
from posthorse.ids import new_id
from posthorse.rules.health import Process
from posthorse.store.operations.runners import Runner, register
from posthorse.store.store import Store
from tests.cli.conftest import Shop
from tests.cli.test_outages import stopped_holder
from tests.waiting import until


def probe(shop: Shop, *words: str) -> tuple[int, dict[str, Any]]:
    """How a probe ends, and what it prints as JSON."""
    result = shop.run("health", *words, "--json")
    return result.exit_code, cast("dict[str, Any]", json.loads(result.stdout))


def enter(shop: Shop, worker: str, *, pid: int, lease: int = 60_000_000, host: str | None = None) -> None:
    runner = Runner(new_id(), worker, host or socket.gethostname(), pid, "0", 1, [], [])
    with closing(Store(shop.url)) as store:
        store.run(register(runner, lease=lease))


@contextmanager
def child(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits to be ended."""
    program = subprocess.Popen([sys.executable, "-c", "input()", *words], stdin=subprocess.PIPE)
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def test_a_store_whose_schema_does_not_fit_cannot_be_used(shop: Shop) -> None:
    (shop.folder / "jobs.db").touch()
    code, found = probe(shop)
    assert (code, found["ok"], found["usable"], found["schema"]) == (Exit.UNREACHABLE, False, False, None)
    assert "no tables of Posthorse" in found["problems"][0]
    assert probe(shop) == (code, found), "a probe migrates nothing"


def test_a_store_alone_is_probed(any_shop: Shop) -> None:
    any_shop.done("migrate")
    code, found = probe(any_shop)
    assert (code, found["ok"], found["usable"], found["live"], found["ready"]) == (Exit.OK, True, True, None, None)
    assert any_shop.done("health").startswith("store yes (")


def test_a_probe_makes_no_store(shop: Shop) -> None:
    code, found = probe(shop)
    assert code == Exit.UNREACHABLE
    assert found["problems"][0].startswith("there is no file")
    assert not (shop.folder / "jobs.db").exists()


def test_a_probe_imports_no_application_unless_one_is_given(shop: Shop) -> None:
    shop.done("migrate")
    (shop.folder / "shop.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    shop.forget()
    assert shop.run("health").exit_code == Exit.OK
    assert shop.run("health", "--app", "shop:app").exit_code == Exit.USAGE


def test_a_worker_of_this_process_lives_and_is_ready(any_shop: Shop) -> None:
    any_shop.done("migrate")
    with any_shop.working():
        until(lambda: probe(any_shop, "--pid", str(os.getpid()))[0] == Exit.OK)
        [row] = cast("list[dict[str, Any]]", any_shop.json("workers"))
        for words in (["--pid", str(os.getpid()), "--live"], ["--worker", row["worker"]]):
            code, found = probe(any_shop, *words)
            assert (code, found["live"], found["ready"], found["problems"]) == (Exit.OK, True, True, [])
    code, found = probe(any_shop, "--pid", str(os.getpid()), "--live")
    assert (code, found["live"]) == (Exit.JOB_FAILED, False)


def test_a_worker_process_is_ready_until_it_is_told_to_stop(any_shop: Shop) -> None:
    any_shop.done("migrate")
    worker = any_shop.start("worker", "--processes", "1")
    pid = str(worker.pid)
    until(lambda: probe(any_shop, "--pid", pid)[0] == Exit.OK)
    name = f"{socket.gethostname()}:{pid}"
    assert probe(any_shop, "--worker", name, "--live")[0] == Exit.OK
    assert probe(any_shop, "--pid", str(os.getpid()), "--ready")[0] == Exit.OK, "it was started by that process"
    worker.send_signal(signal.SIGSTOP)
    os.waitpid(worker.pid, os.WUNTRACED)
    code, found = probe(any_shop, "--pid", pid, "--live")
    worker.send_signal(signal.SIGCONT)
    assert (code, found["live"], found["problems"][0][:22]) == (Exit.JOB_FAILED, False, "its process is stopped")
    worker.terminate()
    worker.communicate()
    code, found = probe(any_shop, "--worker", name)
    assert (code, found["live"], found["ready"]) == (Exit.JOB_FAILED, False, False)
    assert "its process is gone" in found["problems"]


def test_runners_of_an_earlier_process_of_that_name_do_not_count(any_shop: Shop) -> None:
    any_shop.done("migrate")
    with child() as ours, child() as other:
        name = f"{socket.gethostname()}:{ours.pid}"
        enter(any_shop, name, pid=other.pid)
        assert probe(any_shop, "--worker", name, "--live")[0] == Exit.JOB_FAILED
        enter(any_shop, name, pid=ours.pid)
        assert probe(any_shop, "--worker", name, "--live")[0] == Exit.OK


def test_a_runner_without_a_heartbeat_within_its_lease_is_not_alive(any_shop: Shop) -> None:
    any_shop.done("migrate")
    enter(any_shop, "elsewhere:7", pid=7, host="elsewhere", lease=-1)
    code, found = probe(any_shop, "--worker", "elsewhere:7", "--live")
    assert (code, found["live"]) == (Exit.JOB_FAILED, False)
    enter(any_shop, "elsewhere:7", pid=8, host="elsewhere")
    assert probe(any_shop, "--worker", "elsewhere:7")[0] == Exit.OK


def test_a_store_that_is_away_fails_every_probe_but_that_of_a_life(shop: Shop) -> None:
    away = ("--url", "postgresql://ada:canary@127.0.0.1:1/none")
    assert probe(shop, *away)[0] == Exit.UNREACHABLE
    assert probe(shop, "--pid", str(os.getpid()), *away)[0] == Exit.UNREACHABLE
    code, found = probe(shop, "--pid", str(os.getpid()), "--live", *away)
    assert (code, found["live"], found["ready"], found["usable"]) == (Exit.OK, True, False, False)
    assert "canary" not in str(found)
    assert probe(shop, "--worker", "elsewhere:7", "--live", *away)[0] == Exit.UNREACHABLE, "nothing tells"


def test_a_store_that_gives_no_answer_ends_the_probe_at_its_timeout(shop: Shop) -> None:
    """A server that accepts connections, and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://ada@127.0.0.1:{silent.getsockname()[1]}/none"
        process = shop.start("health", "--url", address, "--timeout", "300ms", "--json")
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == Exit.UNREACHABLE, stderr
    assert json.loads(stdout)["problems"] == ["the store gave no answer within 300ms"]


def test_a_file_that_a_stopped_process_locked_ends_the_probe_in_time(shop: Shop) -> None:
    shop.done("migrate")
    hold = "connection.execute('PRAGMA locking_mode = EXCLUSIVE'); connection.execute('BEGIN EXCLUSIVE')"
    with stopped_holder(shop.folder / "jobs.db", hold):
        process = shop.start("health", "--pid", str(os.getpid()), "--timeout", "300ms", "--json")
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == Exit.UNREACHABLE, stderr
    found = json.loads(stdout)
    assert (found["usable"], found["live"], found["ready"]) == (False, True, False)


@pytest.mark.parametrize(
    "words",
    [("--live",), ("--ready",), ("--pid", "1", "--worker", "a:1"), ("--pid", "1", "--live", "--ready"), ("--pid", "0")],
)
def test_a_probe_that_is_not_clear_is_wrong_usage(shop: Shop, words: tuple[str, ...]) -> None:
    assert shop.run("health", *words).exit_code == Exit.USAGE


def test_processes_of_this_machine_are_told_apart() -> None:
    with child() as process:
        assert look_at_process(process.pid) is Process.RUNNING
        assert belongs_to(process.pid, os.getpid())
        assert not belongs_to(os.getpid(), process.pid)
        process.kill()
        until(lambda: look_at_process(process.pid) is Process.GONE)  # its parent has not waited for it yet
    assert look_at_process(process.pid) is Process.GONE
    assert not belongs_to(process.pid, os.getpid())
