"""`doctor` and `migrate`: what they find, what they advise, and how they end."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import cast

import msgspec
import pytest

from posthorse.cli import store_checks, work_checks
from posthorse.cli.doctor import WITHOUT_WHICH_NOTHING_GOES, exit_of_checks
from posthorse.cli.exits import Exit
from posthorse.cli.file_checks import FileFacts, facts_of_files, why_no_room
from posthorse.cli.store_checks import (
    Check,
    CheckVerdict,
    clock_check,
    files_check,
    integrity_check,
    postgres_checks,
    problem,
    space_check,
    sqlite_checks,
    unfinished_integrity_check,
    warning,
)
from posthorse.cli.work_checks import (
    dead_letter_check,
    due_check,
    free_places,
    stalled_check,
    unfit_check,
    unserved_checks,
    worker_check,
)
from posthorse.rules.growth import Death, Deaths
from posthorse.rules.job import State
from posthorse.store.migrate import SCHEMA_VERSION
from posthorse.store.operations.queues import QueueRow
from posthorse.store.operations.read import WorkerRow
from posthorse.store.operations.unserved import Unserved
from tests.cli.conftest import Shop, make_shop
from tests.store.version1.stores import make_store, remove_store
from tests.waiting import until_state

MANUAL = Path(__file__).parents[2] / "docs" / "cli.md"
doctor_module = importlib.import_module("posthorse.cli.doctor")

SQLITE = {
    "library": "3.51.3",
    "other_libraries": None,
    "journal_mode": "wal",
    "synchronous": "FULL",
    "file_bytes": 4096,
    "log_bytes": 0,
}
RUNNER = WorkerRow("r", "w", "h", 1, "0", 0, 0, True, False, 0, 10, [], [], 31_000_000)
"""A runner that fell silent."""

POSTGRES = {
    "server": "16.2 (Debian 16.2-1)",
    "oldest_transaction_seconds": None,
    "dead_rows": 0,
    "live_rows": 0,
    "connections": 5,
    "most_connections": 100,
    "pooled": 0,
    "encoding": "UTF8",
    "fsync": "on",
    "synchronous_commit": "on",
}


def verdicts(shop: Shop) -> dict[str, str]:
    told = cast("dict[str, list[dict[str, str]]]", shop.json("doctor"))["checks"]
    names = [check["name"] for check in told]
    assert len(set(names)) == len(names), "a check is reported twice"
    return {check["name"]: check["verdict"] for check in told}


def documented() -> dict[str, str]:
    """Return the names of checks in the manual, each with the store that it is for; empty for both."""
    chapter = MANUAL.read_text(encoding="utf-8").partition("### doctor")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `([\w ]+)` \|([^|]*)\|", chapter, re.MULTILINE)
    return {
        name: "SQLite" if "(SQLite)" in text else "PostgreSQL" if "(PostgreSQL)" in text else "" for name, text in rows
    }


def test_healthy_store_with_a_worker_has_no_problem(any_shop: Shop) -> None:
    any_shop.done("migrate")
    with any_shop.working():
        result = any_shop.run("doctor")
        found = verdicts(any_shop)
    # The shared servers of the tests do not sync, and only that is reported.
    is_synced = any_shop.app.store.backend.capabilities.is_file
    assert result.exit_code == (0 if is_synced else 1), result.stdout
    assert {name for name, verdict in found.items() if verdict != "ok"} == (set() if is_synced else {"durability"})
    names = [name for name, where in documented().items() if where in ("", "SQLite" if is_synced else "PostgreSQL")]
    assert sorted(found) == sorted(names)


def test_without_workers_jobs_that_wait_are_told_by_kind(any_shop: Shop) -> None:
    any_shop.done("enqueue", "welcome", "7")
    result = any_shop.run("doctor")
    # The shared servers of the tests do not sync, and another error wins.
    assert result.exit_code == (Exit.UNSERVED if any_shop.app.store.backend.capabilities.is_file else Exit.JOB_FAILED)
    assert "none is alive, and 1 job waits" in result.stdout
    assert "no living worker knows: welcome (1)" in result.stdout
    assert "posthorse worker" in result.stdout


def test_jobs_that_no_worker_takes_have_an_exit_code_unless_more_is_wrong() -> None:
    alone, late = problem("workers", "none", "start one"), problem("schedule", "late", "start one")
    unknown, silent = warning("kinds", "unknown", "start one"), warning("workers", "silent", "look")
    ends: dict[tuple[bool, tuple[Check, ...]], Exit] = {
        (False, (alone, problem("labels", "gpu", "start one"), silent)): Exit.UNSERVED,
        (False, (alone, late)): Exit.JOB_FAILED,
        (False, (alone, problem("store", "away", "start it"))): Exit.UNREACHABLE,
        (False, (unknown,)): Exit.OK,
        (True, (unknown,)): Exit.UNSERVED,
        (True, (silent,)): Exit.JOB_FAILED,
        (True, (unknown, warning("dead letters", "1", "look"))): Exit.JOB_FAILED,
    }
    for (strict, checks_), end in ends.items():
        assert exit_of_checks(checks_, strict=strict) is end, checks_


def test_pooler_is_told_and_is_no_reason_to_worry(
    tmp_path: Path, pooled_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop(tmp_path, pooled_url, monkeypatch)
    assert verdicts(shop)["pooler"] == "ok"
    assert "shares connections" in shop.run("doctor").stdout
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
    assert result.exit_code == 5
    assert "run `posthorse migrate`" in result.stdout
    assert shop.app.store.schema_version() is None


def test_store_that_is_not_the_applications_own_is_told(shop: Shop, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    shop.done("migrate", "--app", "shop:app", "--url", other)
    told = cast("dict[str, list[dict[str, str]]]", shop.json("doctor", "--app", "shop:app", "--url", other))["checks"]
    [address] = [check for check in told if check["name"] == "address"]
    assert address["verdict"] == "warning"
    assert f"--url leads to {tmp_path}/other.db" in address["finding"]
    assert f"own store is {tmp_path}/jobs.db" in address["finding"]
    shop.close()
    shop.forget()
    assert verdicts(shop)["address"] == "ok"


def test_migrate_says_what_it_did(any_shop: Shop) -> None:
    any_shop.done("migrate")
    result = any_shop.run("migrate")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing to do" in result.stderr
    assert any_shop.json("migrate") == {"store": any_shop.app.store.where, "steps": 0, "version": SCHEMA_VERSION}


def test_migrate_says_its_steps_and_checks_without_a_change(any_shop: Shop) -> None:
    url = any_shop.url
    remove_store(url)
    make_store(url)
    checked = any_shop.run("migrate", "--check")
    assert checked.exit_code == 5
    steps = checked.stdout.splitlines()
    assert any("index jobs by tenant" in step.lower() for step in steps)
    assert any_shop.run("migrate", "--check").stdout == checked.stdout
    migrated = any_shop.run("migrate")
    assert migrated.exit_code == 0
    assert migrated.stderr.splitlines()[:-1] == steps
    done = any_shop.run("migrate", "--check", "--json")
    assert done.exit_code == 0
    assert msgspec.json.decode(done.stdout)["missing"] == []


def test_migrate_needs_no_application(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHORSE_APP")
    assert shop.run("migrate").exit_code == 0
    assert (shop.folder / "jobs.db").exists()


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("library", "disk"), [("3.51.3", "ext4"), ("3.40.1", "tmpfs"), ("3.51.2", None)])
def test_file_as_it_should_be_is_all_well_also_with_the_sqlite_of_debian(library: str, disk: str | None) -> None:
    assert {check.verdict for check in sqlite_checks({**SQLITE, "library": library}, disk)} == {CheckVerdict.OK}


@pytest.mark.parametrize(
    ("changed", "disk", "name", "verdict"),
    [
        ({"other_libraries": "apsw"}, "ext4", "libraries", "error"),
        ({"journal_mode": "delete"}, "ext4", "durability", "error"),
        ({"synchronous": "NORMAL"}, "ext4", "durability", "error"),
        ({"log_bytes": 10**9}, "ext4", "log", "warning"),
        ({}, "nfs4", "disk", "error"),
        ({}, "fuse.sshfs", "disk", "error"),
    ],
)
def test_what_is_wrong_with_a_file_is_found(
    changed: dict[str, str | int], disk: str | None, name: str, verdict: str
) -> None:
    found = [check for check in sqlite_checks({**SQLITE, **changed}, disk) if check.verdict is not CheckVerdict.OK]
    assert [(check.name, check.verdict) for check in found] == [(name, verdict)]
    assert found[0].advice


def test_server_as_it_should_be_is_all_well() -> None:
    assert {check.verdict for check in postgres_checks(POSTGRES)} == {CheckVerdict.OK}


@pytest.mark.parametrize(
    ("changed", "name", "verdict"),
    [
        ({"server": "14.9"}, "server", "error"),
        ({"encoding": "SQL_ASCII"}, "encoding", "error"),
        ({"encoding": "LATIN1"}, "encoding", "error"),
        ({"fsync": "off"}, "durability", "error"),
        ({"synchronous_commit": "off"}, "durability", "warning"),
        ({"oldest_transaction_seconds": 301.0}, "transactions", "warning"),
        ({"connections": 95}, "connections", "warning"),
    ],
)
def test_what_is_wrong_with_a_server_is_found(changed: dict[str, str | int | float], name: str, verdict: str) -> None:
    found = [check for check in postgres_checks({**POSTGRES, **changed}) if check.verdict is not CheckVerdict.OK]
    assert [(check.name, check.verdict) for check in found] == [(name, verdict)]


@pytest.mark.parametrize(
    ("apart", "verdict"),
    [
        (timedelta(seconds=1), "ok"),
        (timedelta(seconds=-6), "warning"),
        (timedelta(hours=2), "warning"),
        (timedelta(days=-1), "error"),
    ],
)
def test_clock_is_judged_by_how_far_it_is_off(apart: timedelta, verdict: str) -> None:
    assert clock_check(apart).verdict == verdict


def test_overdue_jobs_are_a_warning_and_then_an_error() -> None:
    assert due_check(None).verdict is CheckVerdict.OK
    assert due_check(60_000_000).verdict is CheckVerdict.OK
    assert due_check(-30_000_000).verdict is CheckVerdict.WARNING
    assert due_check(-61_000_000).verdict is CheckVerdict.ERROR


def test_silent_and_stopping_workers_do_not_count() -> None:
    lease, living = timedelta(seconds=30), RUNNER._replace(silent_for=0)
    assert worker_check([RUNNER], lease, 0) == warning(
        "workers", "none is alive", "start one: posthorse worker --app module:app"
    )
    stopping = worker_check([living._replace(is_draining=True)], lease, 2)
    assert (stopping.verdict, stopping.finding) == (
        CheckVerdict.ERROR,
        "all 1 that are alive are stopping, and 2 jobs wait",
    )
    assert worker_check([RUNNER, living], lease, 0).finding == "1 alive, 0 of 10 places taken; 1 fell silent"
    assert free_places([RUNNER, living, living._replace(is_draining=True)], lease) == 10


def test_nothing_unserved_and_no_dead_letters_are_well() -> None:
    assert {check.verdict for check in unserved_checks([], timedelta(0))} == {CheckVerdict.OK}
    assert dead_letter_check({State.PAUSED: 3}, Deaths([], False, 0)).verdict is CheckVerdict.OK


def test_why_jobs_are_not_served_is_told_apart() -> None:
    unserved = [
        Unserved("default", "send", 1_200, is_known=False),
        Unserved("mail", "send", 3, is_known=False),
        Unserved("posthorse", "tell_growth", 1, is_known=True),
        Unserved("video", "cut", 2, is_known=True, lacks_labels=True),
    ]
    kinds, queues, labels = unserved_checks(unserved, timedelta(seconds=9))
    assert (kinds.verdict, kinds.finding) == (
        CheckVerdict.WARNING,
        "no living worker knows: send (1,203); the first has waited for 9s",
    )
    assert (queues.verdict, queues.finding) == (
        CheckVerdict.ERROR,
        "no living worker takes: tell_growth from posthorse (1)",
    )
    assert queues.advice == "start one that knows the kind, with `-q posthorse`, or without -q for all queues"
    assert (labels.verdict, labels.finding) == (CheckVerdict.ERROR, "no living worker has the labels of: video (2)")
    late, *_ = unserved_checks(unserved, timedelta(minutes=6))
    assert late.verdict is CheckVerdict.ERROR, "no deploy takes that long"


def test_jobs_that_wait_beside_free_places_are_told_unless_a_limit_holds_them() -> None:
    late = QueueRow("mail", 3, 120_000_000, 0, {})
    assert stalled_check([late], 5, is_limited=False).finding == (
        "workers have 5 free places, and jobs wait in: mail (2m)"
    )
    for queue, places, is_limited in (
        (late, 0, False),
        (late, 5, True),
        (late._replace(waited=1_000_000), 5, False),
        (late._replace(waiting=0, waited=None), 5, False),
    ):
        assert stalled_check([queue], places, is_limited=is_limited).verdict is CheckVerdict.OK


def test_dead_letters_and_unfit_jobs_are_errors_when_there_are_many() -> None:
    death, counts = Death(0, "job", "mail", "welcome"), {State.FAILED: 1_204}
    few = dead_letter_check(counts, Deaths([], False, 0))
    assert (few.verdict, few.finding) == (CheckVerdict.WARNING, "1,204; none of them came in the last 5m")
    assert dead_letter_check(counts, Deaths([death] * 12, False, 0)).finding.startswith("1,204; 12 of them")
    sudden = dead_letter_check(counts, Deaths([death] * 1_000, True, 0))
    assert sudden.verdict is CheckVerdict.ERROR
    assert sudden.finding.startswith("1,204; at least 1,000 of")
    assert dead_letter_check({State.FAILED: 50_000}, Deaths([], False, 0)).verdict is CheckVerdict.ERROR
    assert [unfit_check(count).verdict for count in (0, 1, 500)] == ["ok", "warning", "error"]


def test_room_is_judged_by_what_is_free_and_by_what_still_fits() -> None:
    assert space_check(10**12, None).verdict is CheckVerdict.OK
    assert space_check(30_000_000, None).verdict is CheckVerdict.WARNING
    assert space_check(0, None).verdict is CheckVerdict.ERROR
    quota = space_check(10**12, "Disk quota exceeded")
    assert quota.verdict is CheckVerdict.ERROR
    assert "Disk quota exceeded" in quota.finding


def test_files_of_others_are_told() -> None:
    ours = FileFacts("jobs.db", "shop", 0o600, is_writable=True)
    log = ours._replace(name="jobs.db-wal")
    folder = FileFacts("/srv", "root", 0o755, is_writable=True, is_folder=True)
    assert files_check([ours, log, folder], "shop").verdict is CheckVerdict.OK
    assert files_check([ours, log._replace(owner="root"), folder], "root").verdict is CheckVerdict.WARNING
    locked = files_check([ours, log, folder._replace(is_writable=False)], "shop")
    assert (locked.verdict, locked.finding) == (CheckVerdict.ERROR, "shop may not read and write /srv (root, 0755)")


def test_files_are_those_of_the_store_wherever_a_link_to_it_is(tmp_path: Path) -> None:
    real, link = tmp_path / "data" / "jobs.db", tmp_path / "jobs.db"
    real.parent.mkdir()
    link.symlink_to(real)
    for name in ("jobs.db", "jobs.db-wal", "jobs.db-backup"):
        (real.parent / name).touch()
    assert [fact.name for fact in facts_of_files(link)] == [str(real), f"{real}-wal", str(real.parent)]
    assert why_no_room(link) is None
    assert sorted(path.name for path in real.parent.iterdir()) == ["jobs.db", "jobs.db-backup", "jobs.db-wal"]


def test_what_a_whole_look_at_the_file_finds() -> None:
    assert integrity_check("ok", 1).verdict is CheckVerdict.OK
    assert integrity_check("row 1 missing", 1).verdict is CheckVerdict.ERROR
    assert unfinished_integrity_check(10**11, 10).verdict is CheckVerdict.OK, "a large file is no reason for an alarm"


def test_names_of_checks_are_those_of_the_manual() -> None:
    found: set[str] = set()
    for module in (store_checks, work_checks, doctor_module):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in ("ok", "warning", "problem", "find", "blocked_check", "at"):
                    found.add(str(node.args[0].value))
    assert found == set(documented())
    assert found >= WITHOUT_WHICH_NOTHING_GOES
