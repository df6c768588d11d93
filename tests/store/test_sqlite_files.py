"""The files of an SQLite store and those beside it: who may open them, and that two names are not two locks."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from posthorse.cli import store_checks
from posthorse.errors import StoreError, StoreUnreachable
from posthorse.rules.tuning import Tuning
from posthorse.store.sqlite import side_files
from posthorse.store.sqlite.backend import SqliteBackend
from posthorse.store.sqlite.turnstile import Turnstile
from tests.store.yard import HOME, Yard
from tests.waiting import until

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def store(sqlite_yard: Yard) -> Path:
    backend = sqlite_yard.store.backend
    assert isinstance(backend, SqliteBackend)
    return backend.path


def modes(store: Path) -> dict[str, int]:
    return {path.name.removeprefix(store.name): stat.S_IMODE(path.stat().st_mode) for path in store.parent.iterdir()}


# ── rights ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_made_belongs_to_its_owner_alone(sqlite_yard: Yard, store: Path) -> None:
    before = os.umask(0)
    try:
        sqlite_yard.enqueue()
    finally:
        os.umask(before)
    assert modes(store) == dict.fromkeys(("", "-wal", "-shm", "-gate", "-turnstile"), 0o600)


@pytest.mark.parametrize(("given", "locks"), [(0o644, 0o600), (0o640, 0o600), (0o660, 0o660), (0o664, 0o660)])
def test_who_may_not_write_to_the_file_may_not_open_its_locks(
    sqlite_yard: Yard, store: Path, given: int, locks: int
) -> None:
    """Opening a lock file, even to read, allows holding the lock; a group that shares the file shares its locks."""
    store.touch()
    store.chmod(given)
    for name in ("-gate", "-turnstile"):
        path = store.with_name(store.name + name)
        path.touch()
        path.chmod(0o644)
    sqlite_yard.enqueue()
    assert modes(store) == {"": given, "-wal": given, "-shm": given, "-gate": locks, "-turnstile": locks}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_makes_belongs_to_the_owner_of_the_file(sqlite_yard: Yard, store: Path) -> None:
    store.touch()
    os.chown(store, 1234, 4321)
    sqlite_yard.enqueue()
    for path in store.parent.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321), path.name


def test_a_lock_file_that_is_a_link_is_refused(sqlite_yard: Yard, store: Path) -> None:
    store.with_name(f"{store.name}-gate").symlink_to(store.with_name("secrets"))
    with pytest.raises(StoreError, match=r"-gate is a symbolic link, and a lock file of Posthorse never is"):
        sqlite_yard.enqueue()
    assert not store.with_name("secrets").exists()


# ── names ────────────────────────────────────────────────────────────────────────────────────────────


def test_two_names_of_one_file_are_one_store_with_one_lock(sqlite_yard: Yard, store: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "current.db"
    link.symlink_to(store)
    linked = Yard(f"sqlite:///{link}")
    linked.enqueue()
    sqlite_yard.enqueue()
    assert linked.waiting() == sqlite_yard.waiting() == 2
    assert [path.name for path in link.parent.iterdir()] == ["current.db"]
    ours, theirs = Turnstile(store), Turnstile(link)
    with ours.passage(20), pytest.raises(StoreUnreachable, match="stayed locked"), theirs.passage(0.05):
        pass
    for made in (ours, theirs):
        made.close()


def test_a_file_with_two_hard_links_is_refused(sqlite_yard: Yard, store: Path) -> None:
    sqlite_yard.enqueue()
    sqlite_yard.store.close()
    other = store.with_name("other.db")
    other.hardlink_to(store)
    with pytest.raises(StoreError, match=r"one of 2 names of the same file.*Remove the other names"):
        Yard(f"sqlite:///{other}").enqueue()
    other.unlink()
    sqlite_yard.enqueue()
    assert sqlite_yard.waiting() == 2


def test_a_lock_file_that_was_removed_is_not_waited_at_any_more(tmp_path: Path) -> None:
    """Otherwise processes that opened it before and those that come then would not exclude each other."""
    path = tmp_path / "jobs.db"
    path.touch()
    impatient = Tuning(lock_check_interval=-60.0)
    early, late = Turnstile(path, impatient), Turnstile(path, impatient)
    with early.passage(20):
        pass
    for name in ("-gate", "-turnstile"):
        path.with_name(path.name + name).unlink()
    with late.passage(20), pytest.raises(StoreUnreachable, match="stayed locked"), early.passage(0.05):
        pass
    for made in (early, late):
        made.close()


# ── children ─────────────────────────────────────────────────────────────────────────────────────────


def fork_inside_a_transaction(url: str, told: Connection) -> None:
    yard = Yard(url)
    yard.store.lanes({HOME})
    with yard.store.transaction():
        forked = os.fork()
        if forked == 0:
            time.sleep(600)
        started = subprocess.Popen(["sleep", "600"], close_fds=False)
        told.send((forked, started.pid))
        time.sleep(600)


def test_children_of_a_transaction_do_not_keep_its_lock(sqlite_yard: Yard) -> None:
    """As a job that makes a daemon of itself: a process that outlives its runner does not keep the store locked."""
    sqlite_yard.enqueue()
    here, there = spawn.Pipe()
    holder = spawn.Process(target=fork_inside_a_transaction, args=(sqlite_yard.store.url, there))
    holder.start()
    children = here.recv()
    try:
        holder.kill()
        until(lambda: holder.exitcode is not None)  # `join` would wait for what its children inherited, too
        backend = sqlite_yard.store.backend
        assert isinstance(backend, SqliteBackend)
        backend.file.busy_seconds = 5
        sqlite_yard.enqueue()
    finally:
        for child in children:
            os.kill(child, 9)
    assert sqlite_yard.waiting() == 2


def test_a_child_that_ends_first_leaves_its_parent_the_lock(sqlite_yard: Yard, store: Path) -> None:
    sqlite_yard.enqueue()
    other = Turnstile(store)
    with sqlite_yard.store.transaction():
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(StoreUnreachable, match="stayed locked"), other.passage(0.05):
            pass
    other.close()


# ── the doctor ───────────────────────────────────────────────────────────────────────────────────────


def test_the_doctor_is_told_which_files_others_may_open(
    sqlite_yard: Yard, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exposed() -> object:
        return sqlite_yard.store.health()["exposed"]

    sqlite_yard.enqueue()
    monkeypatch.setattr(side_files, "_mode", _as_in_an_open_folder(side_files._mode))  # pyright: ignore[reportPrivateUsage]
    assert exposed() is None
    store.chmod(0o644)
    assert exposed() == "jobs.db"
    store.with_name("jobs.db-gate").chmod(0o604)
    assert exposed() == "jobs.db, jobs.db-gate"
    monkeypatch.undo()
    store.parent.chmod(0o700)
    assert exposed() is None, "no other account gets there"


def _as_in_an_open_folder(mode: Callable[[Path | str], int]) -> Callable[[Path | str], int]:
    return lambda path: mode(path) | (0o001 if os.path.isdir(path) else 0)


def test_the_doctor_tells_of_files_that_others_may_open() -> None:
    healthy: store_checks.Health = {
        "library": "3.51.3", "journal_mode": "wal", "synchronous": "FULL", "integrity": "ok",
        "file_bytes": 1, "log_bytes": 0, "free_bytes": None, "exposed": "jobs.db",
    }  # fmt: skip
    [found] = [check for check in store_checks.sqlite_checks(healthy, "ext4") if check.name == "access"]
    assert found.verdict is store_checks.CheckVerdict.WARNING
    assert "may open jobs.db" in found.finding
