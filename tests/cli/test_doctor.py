"""`doctor` and `migrate`: what is found, what is advised, and how it ends."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from posthorse.cli.checks import (
    Verdict,
    clock_check,
    dead_letter_check,
    due_check,
    postgres_checks,
    sqlite_checks,
    unserved_checks,
    worker_check,
)
from posthorse.rules.growth import Death, Deaths
from posthorse.rules.job import State
from posthorse.store.migrate import SCHEMA_VERSION
from posthorse.store.operations.read import Unserved, WorkerRow
from tests.cli.conftest import Shop, make_shop
from tests.waiting import until_state

SQLITE = {
    "library": "3.51.3",
    "other_libraries": None,
    "journal_mode": "wal",
    "synchronous": "FULL",
    "integrity": "ok",
    "file_bytes": 4096,
    "log_bytes": 0,
}
POSTGRES = {
    "server": "16.2 (Debian 16.2-1)",
    "oldest_transaction_seconds": None,
    "dead_rows": 0,
    "live_rows": 0,
    "connections": 5,
    "most_connections": 100,
    "pooled": 0,
    "fsync": "on",
    "synchronous_commit": "on",
}


def verdicts(shop: Shop) -> dict[str, str]:
    told = cast("dict[str, list[dict[str, str]]]", shop.json("doctor"))
    return {check["name"]: check["verdict"] for check in told["checks"]}


def test_healthy_store_with_a_worker_has_no_problem(any_shop: Shop) -> None:
    any_shop.done("migrate")
    with any_shop.working():
        result = any_shop.run("doctor")
        found = verdicts(any_shop)
    # The shared servers of the tests do not sync, and that alone is told.
    is_synced = any_shop.app.store.is_sqlite
    assert result.exit_code == (0 if is_synced else 1), result.stdout
    assert [name for name, verdict in found.items() if verdict == "problem"] == ([] if is_synced else ["durability"])
    for name in ("store", "schema", "workers", "kinds", "jobs", "schedule", "dead letters"):
        assert found[name] == "ok", (name, result.stdout)


def test_without_workers_jobs_that_wait_are_told_by_kind(any_shop: Shop) -> None:
    any_shop.done("enqueue", "welcome", "7")
    result = any_shop.run("doctor")
    assert "none is alive, and 1 job" in result.stdout
    assert "no living worker knows: welcome (1)" in result.stdout
    assert "posthorse worker" in result.stdout


def test_pooler_is_told(tmp_path: Path, pooled_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make_shop(tmp_path, pooled_url, monkeypatch)
    assert verdicts(shop)["pooler"] == "warning"
    shop.close()


def test_dead_letters_are_counted(any_shop: Shop) -> None:
    job = any_shop.app.get_job(any_shop.done("enqueue", "broken", "no luck"))
    with any_shop.app.worker():
        until_state(job, "failed")
    assert verdicts(any_shop)["dead letters"] == "warning"
    assert "1; 1 of them came in the last 5m" in any_shop.run("doctor").stdout


def test_store_that_does_not_answer_is_a_problem(shop: Shop) -> None:
    result = shop.run("doctor", "--url", "postgresql://u:canary@127.0.0.1:1/none")
    assert result.exit_code == 5
    assert "✗ store" in result.stdout
    assert "canary" not in result.output


def test_doctor_leaves_a_store_without_tables_alone(shop: Shop) -> None:
    (shop.folder / "jobs.db").touch()
    result = shop.run("doctor")
    assert result.exit_code == 0
    assert "run `posthorse migrate`" in result.stdout
    assert shop.app.store.schema_version() is None


def test_migrate_says_what_it_did(any_shop: Shop) -> None:
    any_shop.done("migrate")
    result = any_shop.run("migrate")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing to do" in result.stderr
    assert any_shop.json("migrate") == {"store": any_shop.app.store.where, "steps": 0, "version": SCHEMA_VERSION}


def test_migrate_needs_no_application(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHORSE_APP")
    assert shop.run("migrate").exit_code == 0
    assert (shop.folder / "jobs.db").exists()


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────


def test_file_as_it_should_be_is_all_well() -> None:
    assert {check.verdict for check in sqlite_checks(SQLITE, "ext4")} == {Verdict.OK}


@pytest.mark.parametrize(
    ("changed", "disk", "name", "verdict"),
    [
        ({"library": "3.51.2"}, "ext4", "library", "warning"),
        ({"library": "3.40.1"}, "ext4", "library", "warning"),
        ({"other_libraries": "apsw"}, "ext4", "libraries", "problem"),
        ({"journal_mode": "delete"}, "ext4", "durability", "problem"),
        ({"synchronous": "NORMAL"}, "ext4", "durability", "problem"),
        ({"integrity": "row 1 missing"}, "ext4", "integrity", "problem"),
        ({"log_bytes": 10**9}, "ext4", "log", "warning"),
        ({}, "nfs4", "disk", "problem"),
        ({}, "fuse.sshfs", "disk", "problem"),
        ({}, None, "disk", "warning"),
    ],
)
def test_what_is_wrong_with_a_file_is_found(
    changed: dict[str, str | int], disk: str | None, name: str, verdict: str
) -> None:
    found = [check for check in sqlite_checks({**SQLITE, **changed}, disk) if check.verdict is not Verdict.OK]
    assert [(check.name, check.verdict) for check in found] == [(name, verdict)]
    assert found[0].advice


def test_server_as_it_should_be_is_all_well() -> None:
    assert {check.verdict for check in postgres_checks(POSTGRES)} == {Verdict.OK}


@pytest.mark.parametrize(
    ("changed", "name", "verdict"),
    [
        ({"server": "14.9"}, "server", "problem"),
        ({"fsync": "off"}, "durability", "problem"),
        ({"synchronous_commit": "off"}, "durability", "warning"),
        ({"pooled": 1}, "pooler", "warning"),
        ({"oldest_transaction_seconds": 301.0}, "transactions", "warning"),
        ({"connections": 95}, "connections", "warning"),
    ],
)
def test_what_is_wrong_with_a_server_is_found(changed: dict[str, str | int | float], name: str, verdict: str) -> None:
    found = [check for check in postgres_checks({**POSTGRES, **changed}) if check.verdict is not Verdict.OK]
    assert [(check.name, check.verdict) for check in found] == [(name, verdict)]


@pytest.mark.parametrize(
    ("apart", "verdict"),
    [
        (timedelta(seconds=1), "ok"),
        (timedelta(seconds=-6), "warning"),
        (timedelta(hours=2), "warning"),
        (timedelta(days=-1), "problem"),
    ],
)
def test_clock_is_judged_by_how_far_it_is_off(apart: timedelta, verdict: str) -> None:
    assert clock_check(apart).verdict == verdict


def test_overdue_jobs_are_a_warning() -> None:
    assert due_check(None).verdict is Verdict.OK
    assert due_check(60_000_000).verdict is Verdict.OK
    assert due_check(-60_000_000).verdict is Verdict.WARNING


def test_silent_worker_is_not_alive() -> None:
    row = WorkerRow("r", "w", "h", 1, "0", 0, 0, True, False, 0, 10, [], [], 31_000_000)
    lease = timedelta(seconds=30)
    assert worker_check([row], lease, 0).finding == "none is alive"
    assert worker_check([row, row._replace(silent_for=0)], lease, 0).finding == (
        "1 alive, 0 of 10 places taken; 1 fell silent"
    )


def test_nothing_unserved_and_no_dead_letters_are_well() -> None:
    assert [check.verdict for check in unserved_checks([])] == [Verdict.OK]
    assert dead_letter_check({State.PAUSED: 3}, Deaths([], False, 0)).verdict is Verdict.OK


def test_what_nobody_knows_and_what_nobody_takes_are_told_apart() -> None:
    unserved = [
        Unserved("default", "send", 1_200, is_known=False),
        Unserved("mail", "send", 3, is_known=False),
        Unserved("posthorse", "tell_growth", 1, is_known=True),
    ]
    kinds, queues = unserved_checks(unserved)
    assert kinds.finding == "no living worker knows: send (1,203)"
    assert queues.finding == "no living worker takes: tell_growth from posthorse (1)"
    assert queues.advice == "start one that knows the kind, with `-q posthorse`, or without -q for all queues"


def test_it_is_told_how_many_dead_letters_came_lately() -> None:
    death, counts = Death(0, "job", "mail", "welcome"), {State.FAILED: 1_204}
    assert dead_letter_check(counts, Deaths([], False, 0)).finding == "1,204; none of them came in the last 5m"
    assert dead_letter_check(counts, Deaths([death] * 12, False, 0)).finding.startswith("1,204; 12 of them")
    assert dead_letter_check(counts, Deaths([death] * 1_000, True, 0)).finding.startswith("1,204; at least 1,000 of")
