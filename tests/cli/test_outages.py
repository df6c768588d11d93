"""Outages, each for real: `posthorse doctor` finds them, names the cause, ends in time, and ends in an error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

import posthorse as ph
from posthorse.store.store import Store
from tests.cli.conftest import Shop
from tests.faults.disk.small import fill, small_disk
from tests.servers import PostgresServer
from tests.waiting import until, until_state


def examined(url: str, *words: str) -> tuple[int, dict[str, str]]:
    """Return the exit code of the doctor, in a process of its own, and the verdict and finding of each check."""
    done = subprocess.run(
        [sys.executable, "-m", "posthorse", "doctor", "--url", url, "--json", *words],
        cwd="/",
        env={name: value for name, value in os.environ.items() if not name.startswith("POSTHORSE_")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout, done.stderr
    return done.returncode, {
        check["name"]: f"{check['verdict']}: {check['finding']}" for check in json.loads(done.stdout)["checks"]
    }


@contextmanager
def stopped_holder(path: Path, hold: str) -> Iterator[int]:
    """Start a process that takes a lock and is then stopped."""
    program = (
        "import os, signal, sqlite3, sys\n"
        "from pathlib import Path\n"
        "from posthorse.store.sqlite.turnstile import Turnstile\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        f"{hold}\n"
        "print('held', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.waitpid(holder.pid, os.WUNTRACED)
        yield holder.pid
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()


@pytest.mark.parametrize(
    ("hold", "name"),
    [
        ("connection.execute('BEGIN IMMEDIATE')", "writes"),
        ("turnstile = Turnstile(Path(sys.argv[1])); turnstile.enter(60)", "writes"),
        (
            "connection.execute('PRAGMA locking_mode = EXCLUSIVE'); connection.execute('BEGIN EXCLUSIVE')",
            "store",
        ),
    ],
)
def test_a_lock_of_a_stopped_process_is_found_with_its_holder(sqlite_url: str, hold: str, name: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    store = Store(sqlite_url)
    store.migrate()
    store.close()
    with stopped_holder(path, hold) as holder:
        code, found = examined(sqlite_url, "--timeout", "3s")
    assert code == 5
    assert found[name].startswith("error: ")
    assert f"Stopped while they have its files open: {holder}" in found[name]


def test_a_file_that_was_taken_away_is_an_error(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    store = Store(sqlite_url)
    store.migrate()
    store.close()
    path.rename(path.with_name("elsewhere.db"))
    code, found = examined(sqlite_url)
    assert code == 5
    assert found["store"].startswith(f"error: {path} is missing")
    assert "files open" not in found["store"], "no lock is to blame"


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size=3_000_000) as disk:
        url = f"sqlite:///{disk}/jobs.db"
        store = Store(url)
        store.migrate()
        store.close()
        fill(disk)
        code, found = examined(url)
    assert code in (1, 5)  # 5 if there is no room even for the log's index
    assert found["space"].startswith("error: nothing more fits beside the file")


def test_files_that_another_user_owns_are_an_error(open_folder: Path) -> None:
    """The command runs under an account without rights. Modules are loaded first, because it may not even see them."""
    url = f"sqlite:///{open_folder}/jobs.db"
    store = Store(url)
    store.migrate()
    store.close()
    for file in open_folder.glob("jobs.db*"):
        file.chmod(0o444)
    program = (
        "import os, sys\n"
        "from click.testing import CliRunner\n"
        "from posthorse.cli.root import root\n"
        "def run(): return CliRunner().invoke(root, ['doctor', '--url', sys.argv[1]])\n"
        "run()\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "done = run()\n"
        "print(done.exit_code, done.output)\n"
    )
    command = [sys.executable, "-c", program, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("5 "), done.stdout
    assert "✗ files" in done.stdout
    assert f"may not read and write {open_folder}/jobs.db (" in done.stdout


def test_a_server_that_is_locked_frozen_or_stopped_is_an_error(own_postgres: PostgresServer) -> None:
    url = own_postgres.url()
    assert examined(url)[1]["schema"].startswith("error: ")
    store = Store(url)
    store.migrate()
    store.close()
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE posthorse.ready IN ACCESS EXCLUSIVE MODE")
        holder = connection.info.backend_pid
        until(lambda: examined(url, "--timeout", "3s")[1]["locks"].startswith("error"), what="the lock to be old")
        code, found = examined(url, "--timeout", "3s")
        assert code == 5
        assert f"server process {holder}" in found["locks"]
        assert "AccessExclusiveLock on ready" in found["locks"]
        assert "no answer within" in list(found.values())[-1]

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA posthorse TO reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA posthorse TO reader")
        code, found = examined(own_postgres.url(user="reader"))
        assert (code, found["writes"].split(":")[0]) == (5, "error")
        connection.execute("ALTER ROLE reader SET default_transaction_read_only = on")
        assert "only reads" in examined(own_postgres.url(user="reader"))[1]["writes"]

    with own_postgres.frozen():
        code, found = examined(url, "--timeout", "3s")
        assert code == 5
        assert found["store"].startswith("error: no answer within 1s")
    own_postgres.stop()
    code, found = examined(url)
    assert (code, found["store"].split(":")[0]) == (5, "error")


def test_labels_that_no_worker_has_are_an_error(any_shop: Shop) -> None:
    any_shop.done("migrate")
    any_shop.done("queues", "set", "mail", "labels=gpu=yes")
    any_shop.done("enqueue", "welcome", "7")
    with any_shop.working():
        result = any_shop.run("doctor")
        listed = any_shop.run("workers", "--strict")
        assert any_shop.run("workers").exit_code == 0, "a list is a list"
    # The shared servers of the tests do not sync, and another error wins.
    assert result.exit_code == (7 if any_shop.app.store.backend.capabilities.is_file else 1)
    assert "no living worker has the labels of: mail (1)" in result.stdout
    assert listed.exit_code == 7
    assert "WORKER" in listed.stdout
    assert "1 job waits in mail that no living worker would take, of the kind welcome." in listed.stderr


def test_jobs_that_do_not_fit_are_told(any_shop: Shop) -> None:
    older = ph.Posthorse(any_shop.url)

    @older.job(queue="mail")
    def welcome(user: str) -> None: ...

    job = welcome.enqueue("ada")
    older.close()
    with any_shop.working():
        until_state(any_shop.app.get_job(job.id), "blocked")
        result = any_shop.run("doctor")
    assert "! unfit         1 job waits because its arguments do not fit the code" in result.stdout
    assert any_shop.done("cancel", "--all", "reason:unfit") == "1 cancelled"


def test_strict_lets_warnings_fail(shop: Shop) -> None:
    shop.done("migrate")
    assert shop.run("doctor").exit_code == 0
    strict = shop.run("doctor", "--strict", "--json")
    assert (strict.exit_code, json.loads(strict.stdout)["verdict"]) == (1, "warning")
    assert json.loads(strict.stdout)["ok"] is False
    with shop.working():
        assert shop.run("doctor", "--strict").exit_code == 0


@pytest.mark.parametrize("timeout", ["", "-1s", "soon"])
def test_a_timeout_that_is_none_is_refused(shop: Shop, timeout: str) -> None:
    assert shop.run("doctor", "--timeout", timeout).exit_code == 2
