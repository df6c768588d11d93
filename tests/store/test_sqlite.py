"""SQLite files: what can go wrong around them, and must not cost an acknowledged commit."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from posthorse.errors import StoreError, StoreUnreachable
from posthorse.store.operations import read
from posthorse.store.sqlite import side_files, turnstile
from posthorse.store.sqlite.backend import SqliteBackend
from posthorse.store.sqlite.turnstile import Turnstile
from tests.children import children
from tests.store.yard import HOME, Yard


def backend(yard: Yard) -> SqliteBackend:
    found = yard.store.backend
    assert isinstance(found, SqliteBackend)
    return found


def file_of(yard: Yard) -> Path:
    return backend(yard).path


# ── other processes ──────────────────────────────────────────────────────────────────────────────────


def commit_flat_out(url: str, commits: int, largest_log: Connection) -> None:
    yard = Yard(url)
    largest = 0
    for _ in range(commits):
        yard.enqueue(400)
        largest = max(largest, os.stat(f"{backend(yard).path}-wal").st_size)
    largest_log.send(largest)
    yard.store.close()


def hold_write_transaction(url: str, ready: Connection) -> None:
    yard = Yard(url)
    yard.store.lanes({HOME})
    with yard.store.transaction():
        ready.send("inside")
        time.sleep(600)


def test_log_stays_bounded_while_two_processes_commit_flat_out(sqlite_yard: Yard) -> None:
    """F27: checkpoints happen inside commits, so the log is never longer than a few thousand pages."""
    sqlite_yard.store.lanes({HOME})
    pipes = [children.Pipe() for _ in range(2)]
    processes = [
        children.Process(target=commit_flat_out, args=(sqlite_yard.store.url, 40, there)) for _, there in pipes
    ]
    for process in processes:
        process.start()
    largest = [here.recv() for here, _ in pipes]
    for process in processes:
        process.join(30)
    assert max(largest) < 16_000_000
    assert sqlite_yard.waiting() == 2 * 40 * 400
    sqlite_yard.audit()


def test_stopped_writer_costs_others_a_bounded_wait_and_a_clear_error(sqlite_yard: Yard) -> None:
    """F9: SIGSTOP inside a write transaction; reads still work, and SIGKILL frees the lock."""
    yard = sqlite_yard
    yard.enqueue()
    here, there = children.Pipe()
    holder = children.Process(target=hold_write_transaction, args=(yard.store.url, there))
    holder.start()
    assert here.recv() == "inside"
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGSTOP)
    backend(yard).file.busy_seconds = 0.3
    with pytest.raises(StoreUnreachable, match="stayed locked"):
        yard.enqueue()
    assert yard.waiting() == 1
    holder.kill()
    holder.join(10)
    backend(yard).file.busy_seconds = 20
    yard.enqueue()
    assert yard.waiting() == 2


def test_sixty_four_writers_all_get_their_turn(sqlite_yard: Yard) -> None:
    """F43, each with a connection of its own."""
    yards = [sqlite_yard, *(Yard(sqlite_yard.store.url) for _ in range(63))]
    sqlite_yard.store.lanes({HOME})
    with ThreadPoolExecutor(64) as pool:
        jobs = list(pool.map(lambda yard: yard.enqueue()[0], yards))
    assert sqlite_yard.waiting() == len(set(jobs)) == 64
    for yard in yards[1:]:
        yard.store.close()


def test_turnstile_lets_one_through_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    crowds: list[int] = []

    def pass_often(n: int) -> None:
        made = Turnstile(tmp_path / "jobs.db")
        for _ in range(30):
            with made.passage(20):
                inside.append(n)
                os.sched_yield()  # other threads may now come in
                crowds.append(len(inside))
                inside.remove(n)
        made.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(pass_often, range(6)))
    assert set(crowds) == {1}
    assert len(crowds) == 180


def test_a_bell_that_is_rung_while_the_first_goes_through_leaves_the_way_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens, may_open = threading.Event(), threading.Event()
    opening = side_files.open_lock

    def slowly(path: str, store: Path) -> int:
        if threading.current_thread() is not threading.main_thread():
            opens.set()
            may_open.wait(0.2)
        return opening(path, store)

    monkeypatch.setattr(turnstile, "open_lock", slowly)
    made = Turnstile(tmp_path / "jobs.db")
    with ThreadPoolExecutor(1) as pool:
        rings = pool.submit(made.ring)
        assert opens.wait(20)
        with made.passage(20):
            may_open.set()
            rings.result(20)
    with made.passage(0.2):
        pass
    made.close()


# ── other connections of this process ────────────────────────────────────────────────────────────────


def test_acknowledged_commits_survive_the_closing_of_other_connections(sqlite_yard: Yard) -> None:
    """The application's own sqlite3 connections may come and go: it is one library, with one list of locks."""
    yard = sqlite_yard
    stop = threading.Event()

    def come_and_go() -> int:
        count = 0
        while not stop.is_set():
            with closing(sqlite3.connect(file_of(yard), timeout=20)) as own:
                own.execute("SELECT count(*) FROM posthorse_jobs").fetchone()
            count += 1
        return count

    yard.store.lanes({HOME})
    acknowledged: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        visits = pool.submit(come_and_go)
        other = children.Process(target=open_and_close, args=(str(file_of(yard)), 30))
        other.start()
        for _ in range(200):
            acknowledged += yard.enqueue()
        stop.set()
        assert visits.result(20) > 0
    other.join(30)
    yard.store.close()
    with closing(sqlite3.connect(file_of(yard))) as own:
        stored = {id for (id,) in own.execute("SELECT id FROM posthorse_jobs")}
        assert own.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert set(acknowledged) == stored


def open_and_close(path: str, times: int) -> None:
    for _ in range(times):
        with closing(sqlite3.connect(path, timeout=20)) as own:
            own.execute("SELECT count(*) FROM posthorse_jobs").fetchone()


def test_other_sqlite_library_in_the_process_is_reported() -> None:
    pytest.importorskip("apsw")
    script = (
        "import sys, tempfile; from posthorse.store.store import Store\n"
        "store = Store(f'sqlite:///{tempfile.mkdtemp()}/jobs.db'); store.migrate()\n"
        "print(store.health()['other_libraries'])\n"
        "import apsw\n"
        "print(store.health()['other_libraries'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["None", "apsw"]


def test_store_itself_loads_no_other_library(sqlite_yard: Yard) -> None:
    script = (
        "import sys, tempfile; from posthorse.store.store import Store\n"
        "Store(f'sqlite:///{tempfile.mkdtemp()}/jobs.db').migrate()\n"
        "print([name for name in ('apsw', 'pysqlite3', 'psycopg') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────


def test_bad_operation_among_many_fails_alone(sqlite_yard: Yard) -> None:
    yard = sqlite_yard
    lanes = yard.store.lanes({HOME})
    from posthorse.errors import KeyConflict
    from posthorse.store.operations.submit import enqueue

    good, [first], [second], last = yard.new(2), yard.new(key="k"), yard.new(key="k", arguments="[]"), yard.new(1)
    operations = [enqueue(jobs, lanes) for jobs in (good, [first], [second], last)]
    answers = backend(yard).commit(operations)
    assert [type(error) for _, error in answers] == [type(None), type(None), KeyConflict, type(None)]
    assert yard.waiting() == 4
    yard.audit()


def test_store_is_usable_after_an_error_inside_a_commit(sqlite_yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = sqlite_yard
    yard.enqueue()

    def interrupted(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backend(yard), "_run_alone", interrupted)
        with pytest.raises(KeyboardInterrupt):
            yard.enqueue()
    yard.enqueue()
    assert yard.waiting() == 2


def test_full_disk_is_said_and_nothing_is_acknowledged(sqlite_yard: Yard) -> None:
    """F35, through SQLite's own limit on pages."""
    yard = sqlite_yard
    yard.enqueue()
    writer = backend(yard)._writer  # pyright: ignore[reportPrivateUsage]
    assert writer is not None
    pages = writer.connection.execute("PRAGMA page_count").fetchone()[0]
    writer.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match=r"full.*nothing was written"):
        yard.enqueue(1000)
    assert yard.waiting() == 1
    yard.enqueue()
    assert yard.waiting() == 2


def test_a_store_that_is_forgotten_closes_its_connections(sqlite_url: str) -> None:
    """Python 3.13 warns of connections that were not closed; applications often are never closed."""
    forgotten = Yard(sqlite_url)
    forgotten.enqueue()
    forgotten.store.read(read.running_count())
    told: list[object] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_value))
        del forgotten
        gc.collect()
    assert told == []


# ── forks ────────────────────────────────────────────────────────────────────────────────────────────


def in_a_fork(child: Callable[[], None]) -> int:
    """Run a function in a forked child; return its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            child()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_child_commits_beside_its_parent_and_nothing_is_lost(yard: Yard) -> None:
    """F15: the parent closes the store while the child goes on; the last to close must find every commit."""
    yard.enqueue()
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            yard.enqueue()
            os.write(to_parent, b"1")
            os.read(from_parent, 1)
            yard.enqueue()
            os.write(to_parent, b"2")
            os.read(from_parent, 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    yard.enqueue()
    os.read(from_child, 1)
    yard.store.close()
    os.write(to_child, b"1")
    os.read(from_child, 1)
    late = Yard(yard.store.url)
    assert late.waiting() == 4
    late.store.close()
    os.write(to_child, b"2")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert yard.waiting() == 4
    for descriptor in (from_child, to_parent, from_parent, to_child):
        os.close(descriptor)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_child_that_inherits_an_open_file_refuses_it(sqlite_yard: Yard) -> None:
    yard = sqlite_yard
    yard.enqueue()

    def child() -> None:
        with pytest.raises(StoreError, match="forked while a connection"):
            yard.enqueue()

    with yard.store.transaction():
        assert in_a_fork(child) == 0
    with closing(sqlite3.connect(file_of(yard))) as own:
        own.execute("SELECT 1 FROM posthorse_jobs").fetchall()
        assert in_a_fork(child) == 0
    assert yard.waiting() == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_child_of_a_busy_process_starts_with_free_locks(yard: Yard) -> None:
    """F16: other threads are in the middle of commits when the process forks."""
    yard.store.lanes({HOME})
    stop = threading.Event()

    def commit() -> int:
        count = 0
        while not stop.is_set():
            yard.enqueue()
            count += 1
        return count

    def child() -> None:
        yard.enqueue()

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(commit) for _ in range(3)]
        codes = [in_a_fork(child) for _ in range(5)]
        stop.set()
        count = sum(writer.result(20) for writer in writers)
    assert codes == [0] * 5
    assert yard.waiting() == count + 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_child_does_not_join_the_open_transaction_of_its_parent(yard: Yard) -> None:
    yard.store.lanes({HOME})

    def child() -> None:
        if yard.store.backend.capabilities.is_file:
            with pytest.raises(StoreError):
                yard.enqueue()
        else:
            yard.enqueue()

    with yard.store.transaction():
        yard.enqueue()
        assert in_a_fork(child) == 0
    assert yard.store.read(read.running_count()) == 0
    assert yard.waiting() == (1 if yard.store.backend.capabilities.is_file else 2)


def test_hooks_of_thread_pools_are_in_place_before_a_fork_can_be_held_up(tmp_path: Path) -> None:
    # A handler that is registered during a fork later releases what it never took.
    look = "print('concurrent.futures.thread' in sys.modules)"
    script = f"import sys, posthorse; posthorse.Posthorse('sqlite:///x.db'); {look}"
    told = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout == "True\n"
