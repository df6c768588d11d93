"""Damage: files that are removed, replaced, cut, damaged or held open cause an error that says so, and no job
vanishes."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from posthorse.cli import store_checks
from posthorse.cli.root import root
from posthorse.errors import OutcomeUnknown, StoreError, StoreUnreachable
from posthorse.rules.tuning import Tuning
from posthorse.store.base import BoundQuery, Rows
from posthorse.store.committer import Answer
from posthorse.store.operations.checkpoints import load_checkpoint
from posthorse.store.operations.submit import enqueue
from posthorse.store.queries import Value
from posthorse.store.sqlite.backend import SqliteBackend
from posthorse.store.sqlite.faults import explained
from tests.store.yard import HOME, Yard

DAMAGED, CUTS = 40, 25


def backend(yard: Yard) -> SqliteBackend:
    found = yard.store.backend
    assert isinstance(found, SqliteBackend)
    return found


@pytest.fixture
def yard(sqlite_url: str, tuning: Tuning) -> Yard:
    yard = Yard(sqlite_url, tuning=tuning)
    yard.enqueue()
    return yard


@pytest.fixture
def store(yard: Yard) -> Path:
    return backend(yard).path


def after_a_crash(store: Path, folder: Path) -> Path:
    """Return the files as `kill -9` of all processes would leave them; the store must be at rest."""
    folder.mkdir()
    for path in store.parent.glob(f"{store.name}*"):
        shutil.copy(path, folder / path.name)
    return folder / store.name


def doctor(url: str) -> tuple[int, str]:
    """Return the exit code of `posthorse doctor`, and its output."""
    done = CliRunner().invoke(root, ["doctor", "--url", url], prog_name="posthorse")
    return done.exit_code, " ".join(done.stdout.split())


# ── gone, or another ─────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_was_removed_takes_no_job(yard: Yard, store: Path) -> None:
    """F38: SQLite itself would write on into a file that no process can find again, and call that a commit."""
    elsewhere = store.with_name("elsewhere.db")
    store.rename(elsewhere)
    for _ in range(2):
        with pytest.raises(StoreUnreachable, match="removed or renamed while it was open, so nothing was written"):
            yard.enqueue()
        with pytest.raises(StoreUnreachable, match="removed or renamed"):
            yard.waiting()
        assert not store.exists(), "an empty store took its place"
    elsewhere.rename(store)
    yard.enqueue()
    assert yard.waiting() == 2


def test_a_slice_in_a_file_that_was_removed_is_not_committed(yard: Yard, store: Path) -> None:
    def slice_that_loses_its_file() -> None:
        with yard.store.transaction():
            yard.enqueue()
            store.unlink()

    with pytest.raises(StoreUnreachable, match="removed or renamed"):
        slice_that_loses_its_file()


def test_a_checkpoint_in_a_file_that_was_removed_is_not_taken_for_saved(yard: Yard, store: Path) -> None:
    attempt = yard.started()
    elsewhere = store.with_name("elsewhere.db")
    store.rename(elsewhere)
    with pytest.raises(StoreUnreachable, match="removed or renamed while it was open, so nothing was written"):
        yard.checkpoint(attempt)
    elsewhere.rename(store)
    assert yard.store.read(load_checkpoint(attempt.job)).checkpoint is None
    assert yard.checkpoint(attempt) == (1, None)


def test_a_checkpoint_whose_file_is_removed_meanwhile_is_in_doubt(
    yard: Yard, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = yard.started()
    session = backend(yard)._writer  # pyright: ignore[reportPrivateUsage]
    assert session is not None
    run = session.run

    def run_and_lose(sql: str, parameters: Sequence[Value] = ()) -> sqlite3.Cursor:
        ran = run(sql, parameters)
        store.rename(store.with_name("elsewhere.db"))
        return ran

    monkeypatch.setattr(session, "run", run_and_lose)
    with pytest.raises(OutcomeUnknown, match="while a commit was written to it"):
        yard.checkpoint(attempt)


def test_a_file_that_was_replaced_is_told_once_and_then_taken(yard: Yard, store: Path, tmp_path: Path) -> None:
    """F38: this happens when a backup is put in place under a running application."""
    restored = tmp_path / "restored.db"
    other = Yard(f"sqlite:///{restored}")
    other.enqueue(5)
    other.store.close()
    assert yard.waiting() == 1
    for suffix in ("-wal", "-shm"):
        store.with_name(store.name + suffix).unlink()
    restored.replace(store)
    with pytest.raises(StoreUnreachable, match="replaced by another file"):
        yard.enqueue()
    with pytest.raises(StoreUnreachable, match="replaced by another file"):
        yard.waiting()
    yard.submit(yard.new())
    assert yard.waiting() == 6
    yard.audit()


@pytest.mark.parametrize("taken", [("",), ("", "-wal", "-shm")])
def test_no_process_makes_an_empty_store_where_one_was_taken_away(
    yard: Yard, store: Path, tmp_path: Path, taken: Sequence[str]
) -> None:
    """F38, across processes: the accepted jobs are in the file, and in the log that a new one would cut."""
    crashed = after_a_crash(store, tmp_path / "crashed")
    url = f"sqlite:///{crashed}"
    (tmp_path / "away").mkdir()
    for suffix in taken:
        Path(f"{crashed}{suffix}").rename(tmp_path / "away" / f"jobs.db{suffix}")
    left = {path.name: path.read_bytes() for path in crashed.parent.iterdir()}
    for _ in range(2):
        with pytest.raises(StoreUnreachable, match=r"is missing.*Put the file back; to begin with an empty store"):
            Yard(url).enqueue()
        with pytest.raises(StoreUnreachable, match="is missing"):
            Yard(url).waiting()
    for command in (["doctor"], ["migrate"], ["jobs"], ["queues"]):
        done = CliRunner().invoke(root, [*command, "--url", url], prog_name="posthorse")
        assert done.exit_code == 5, command
        assert "is missing" in done.output
    assert {path.name: path.read_bytes() for path in crashed.parent.iterdir()} == left
    for suffix in taken:
        (tmp_path / "away" / f"jobs.db{suffix}").rename(f"{crashed}{suffix}")
    again = Yard(url)
    again.enqueue()
    assert again.waiting() == 2


def test_an_empty_store_is_begun_where_the_lock_file_was_removed_too(yard: Yard, store: Path) -> None:
    yard.store.close()
    store.unlink()
    store.with_name(f"{store.name}-gate").unlink()
    again = Yard(yard.store.url)
    again.enqueue()
    assert again.waiting() == 1


def test_a_log_without_its_file_is_left_alone(yard: Yard, store: Path, tmp_path: Path) -> None:
    """Whatever happened to the lock files: SQLite empties the log of a new file."""
    crashed = after_a_crash(store, tmp_path / "crashed")
    crashed.unlink()
    Path(f"{crashed}-gate").unlink()
    with pytest.raises(StoreUnreachable, match=r"its log .* is there"):
        Yard(f"sqlite:///{crashed}").enqueue()
    assert os.stat(f"{crashed}-wal").st_size > 0


@pytest.mark.parametrize("statement", [None, "CREATE TABLE invoices (number INTEGER)"])
def test_a_file_of_others_does_not_take_the_place_of_a_store(yard: Yard, store: Path, statement: str | None) -> None:
    """An application makes such a file when it opens its own tables in it."""
    yard.store.close()
    store.unlink()
    with closing(sqlite3.connect(store)) as other:
        other.execute(statement or "SELECT 1 FROM sqlite_schema")
    with pytest.raises(StoreUnreachable, match=r"is missing|another file took its place"):
        Yard(yard.store.url).enqueue()
    store.with_name(f"{store.name}-gate").unlink()
    Yard(yard.store.url).enqueue()


def test_a_copy_and_a_backup_are_stores_like_any_other(yard: Yard, store: Path, tmp_path: Path) -> None:
    copy, backup = tmp_path / "copy.db", tmp_path / "backup.db"
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    yard.store.close()
    shutil.copy(store, copy)
    assert Yard(f"sqlite:///{copy}").waiting() == 1
    yard.enqueue(3)
    yard.store.close()
    backup.replace(store)
    restored = Yard(yard.store.url)
    restored.enqueue()
    assert restored.waiting() == 2


# ── a log that is removed or cut ─────────────────────────────────────────────────────────────────────


def test_a_log_that_was_removed_after_a_crash_is_told_by_the_doctor(yard: Yard, store: Path, tmp_path: Path) -> None:
    """F39: what was only in the log is lost; the file is sound, and as it was at its last checkpoint."""
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    yard.enqueue(3)
    crashed = after_a_crash(store, tmp_path / "crashed")
    log = crashed.with_name(f"{crashed.name}-wal")
    kept = log.rename(tmp_path / "kept")
    code, told = doctor(f"sqlite:///{crashed}")
    assert code == 1
    assert "the log was removed" in told
    kept.rename(log)
    assert Yard(f"sqlite:///{crashed}").waiting() == 4

    without = after_a_crash(store, tmp_path / "without")
    without.with_name(f"{without.name}-wal").unlink()
    left = Yard(f"sqlite:///{without}")
    assert left.waiting() == 1
    assert left.store.health()["integrity"] == "ok"
    left.audit()


@pytest.mark.parametrize("names", [("-wal",), ("-shm",), ("-wal", "-shm")])
@pytest.mark.tuning(log_check_interval=0.0)
def test_a_log_that_was_removed_while_it_was_open_takes_no_job(yard: Yard, store: Path, names: Sequence[str]) -> None:
    """F38: a process that opens the store then has another log, and the two would overwrite each other."""
    yard.store.close()  # so that all look at the same time
    yard.enqueue(2)
    yard.waiting()
    with yard.store.transaction():
        pass
    program = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1]); "
        "c.execute('SELECT 1 FROM posthorse_jobs').fetchall(); print(flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(store)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    for name in names:
        store.with_name(store.name + name).unlink()
    for _ in range(2):
        with pytest.raises(
            StoreUnreachable, match=r"the log of .* was removed.*nothing was written; stop all processes"
        ):
            yard.enqueue()
        with pytest.raises(StoreUnreachable, match="the log of"):
            yard.waiting()
        with pytest.raises(StoreUnreachable, match="the log of"):
            Yard(yard.store.url).waiting()
    yard.store.close()
    other.kill()  # no other process moves the log into the file
    other.communicate()
    program = (
        "import sys; from tests.store.yard import Yard; yard = Yard(sys.argv[1])\n"
        "yard.enqueue(); print(yard.waiting(), yard.store.health()['integrity']); yard.audit()"
    )
    started = [sys.executable, "-c", program, yard.store.url]
    done = subprocess.run(started, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "4 ok\n", "what was committed before is there"


def test_whatever_was_committed_before_the_end_of_a_cut_log_is_there(yard: Yard, store: Path, tmp_path: Path) -> None:
    """F42: every whole commit is there, no part of one, and the store still works."""
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log = store.with_name(f"{store.name}-wal")
    ends = {0: 1}
    """How many jobs exist if the log ends here."""
    for number in range(12):
        yard.enqueue(number + 1)
        ends[os.stat(log).st_size] = yard.waiting()
    chance = random.Random(42)
    whole = max(ends)
    for number, end in enumerate([*ends, *(chance.randrange(whole) for _ in range(CUTS))]):
        crashed = after_a_crash(store, tmp_path / f"cut{number}")
        os.truncate(f"{crashed}-wal", end)
        again = Yard(f"sqlite:///{crashed}")
        expected = ends[max(place for place in ends if place <= end)]
        assert again.waiting() == expected, f"a log of {end} bytes, commits end at {sorted(ends)}"
        again.audit()
        again.enqueue(2)
        assert again.complete(again.claim_one()) == []
        assert again.waiting() == expected + 1
        assert again.store.health()["integrity"] == "ok"
        again.audit()
        again.store.close()


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_page_of_garbage_is_told_and_never_worked_on_in_silence(yard: Yard, store: Path, tmp_path: Path) -> None:
    """F41: any process that meets the page gets an error with advice; the doctor finds it, too."""
    for _ in range(10):
        yard.enqueue(60)
    yard.complete(yard.claim_one())
    yard.store.close()
    chance = random.Random(41)
    pages = os.stat(store).st_size // 4096
    for number in range(DAMAGED):
        damaged = after_a_crash(store, tmp_path / f"damaged{number}")
        page = chance.randrange(pages)
        with damaged.open("r+b") as file:
            file.seek(page * 4096)
            file.write(chance.randbytes(4096))
        again = Yard(f"sqlite:///{damaged}")
        errors = _errors_of_using(again)
        assert errors, f"nothing noticed that page {page} of {pages} is garbage"
        assert all("damaged" in str(error) or "not an SQLite database" in str(error) for error in errors), errors


def _errors_of_using(yard: Yard) -> list[StoreError]:
    errors: list[StoreError] = []
    uses: list[Callable[[], object]] = [
        lambda: yard.enqueue(5),
        yard.waiting,
        lambda: yard.complete(yard.claim_one()),
        lambda: _check_integrity(yard),
    ]
    for use in uses:
        try:
            use()
        except StoreError as error:
            errors.append(error)
    return errors


def _check_integrity(yard: Yard) -> None:
    if yard.store.health()["integrity"] != "ok":
        raise StoreError(f"damaged: {yard.store.health()['integrity']}")


def test_doctor_explains_a_damaged_file(yard: Yard, store: Path, tmp_path: Path) -> None:
    """F41: the damage is in a page that nothing reads on the way, or in the first page."""
    yard.enqueue(200)
    yard.store.close()
    with closing(sqlite3.connect(store)) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'posthorse_checkpoints'")
    for number, at in enumerate([page, 2, 1]):
        crashed = after_a_crash(store, tmp_path / f"damaged{number}")
        with crashed.open("r+b") as file:
            file.seek((at - 1) * 4096 + 100 * (at == 1))
            file.write(b"\xff" * 64)
        code, told = doctor(f"sqlite:///{crashed}")
        assert code in (1, 5), told
        assert "restore a backup" in told


def test_a_flipped_bit_in_the_log_ends_it_there(yard: Yard, store: Path, tmp_path: Path) -> None:
    """F41: after a crash, frames are checked, so nothing wrong is read; what was committed after it is lost."""
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log = store.with_name(f"{store.name}-wal")
    yard.enqueue(10)
    end = os.stat(log).st_size
    yard.enqueue(20)
    crashed = after_a_crash(store, tmp_path / "crashed")
    with open(f"{crashed}-wal", "r+b") as file:
        file.seek(end + 200)
        byte = file.read(1)[0]
        file.seek(end + 200)
        file.write(bytes([byte ^ 1]))
    again = Yard(f"sqlite:///{crashed}")
    assert again.waiting() == 11
    again.audit()


# ── errors in the midst of a group ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("neighbours", [0, 2])
def test_an_error_that_ends_the_whole_transaction_says_what_it_was(
    yard: Yard, neighbours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing disk ends the whole transaction: no error in it is about savepoints that no longer exist."""
    lanes = yard.store.lanes({HOME})
    store = backend(yard)
    session = store._writer  # pyright: ignore[reportPrivateUsage]
    assert session is not None
    execute, connection, begun = session.execute, session.connection, 0

    def failing(wanted: BoundQuery) -> Rows:
        nonlocal begun
        begun += 1
        if begun <= neighbours:
            return execute(wanted)
        connection.execute("ROLLBACK")  # as SQLite does by itself
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(session, "execute", failing)
    operations = [enqueue(yard.new(), lanes) for _ in range(neighbours + 1)]
    with pytest.raises(StoreUnreachable, match=r"is full .*nothing was written; make room"):
        _raise_what_came_of(store.commit(operations))
    monkeypatch.undo()
    yard.enqueue()
    assert yard.waiting() == 2


def test_a_full_disk_in_a_transaction_of_the_users_is_told_as_one(yard: Yard, store: Path) -> None:
    """A job whose slice meets it is therefore interrupted, and no attempt is spent."""
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        [(pages,)] = connection.execute("PRAGMA page_count")
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")

        def enqueue_much() -> None:
            with yard.store.transaction(connection):
                yard.enqueue(1000)

        with pytest.raises(StoreUnreachable, match=r"is full .*nothing was written"):
            enqueue_much()
    assert yard.waiting() == 1


def _raise_what_came_of(answers: Sequence[Answer]) -> None:
    for _, error in answers:
        if error is not None:
            raise error


def test_only_a_failing_commit_is_in_doubt() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    assert isinstance(explained(error, Path("jobs.db"), is_in_doubt=True), OutcomeUnknown)
    assert isinstance(explained(error, Path("jobs.db")), StoreUnreachable)
    assert "nothing was written" in str(explained(error, Path("jobs.db")))


# ── readers, rights ──────────────────────────────────────────────────────────────────────────────────


def test_a_reader_that_pins_the_log_is_told_and_the_log_is_cut_back_after_it(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F44: SQLite cannot restart the log while a reader uses it, so it grows; nothing else fails, and it shrinks
    again."""
    monkeypatch.setattr(store_checks, "MAX_LOG", 6_000_000)
    yard = Yard(sqlite_url, tuning=Tuning(checkpoint_pages=1_000, max_idle_log=100_000))
    yard.enqueue()
    log = f"{backend(yard).path}-wal"
    with closing(sqlite3.connect(backend(yard).path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM posthorse_jobs").fetchone() == (1,)
        while os.stat(log).st_size < 6_500_000:
            yard.enqueue(400)
        assert "some program keeps a read transaction open" in doctor(sqlite_url)[1]
    for _ in range(3):
        yard.enqueue()
    assert os.stat(log).st_size < 200_000
    yard.audit()


@pytest.mark.parametrize(("is_new", "mode"), [(True, 0o555), (False, 0o555), (False, 0o000)])
def test_a_folder_that_may_not_be_written_to_is_a_clear_exit(open_folder: Path, is_new: bool, mode: int) -> None:
    """F48, under an account without rights. Modules are loaded first, because that account may not even see them."""
    folder = open_folder / "store"
    folder.mkdir()
    if not is_new:
        yard = Yard(f"sqlite:///{folder}/jobs.db")
        yard.enqueue()
        yard.store.close()
    program = (
        "import os, sys\n"
        "from click.testing import CliRunner\n"
        "from posthorse.cli.root import root\n"
        "def run(url): return CliRunner().invoke(root, ['migrate', '--url', url])\n"
        "assert run(sys.argv[1]).exit_code == 0\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "done = run(sys.argv[2])\n"
        "print(done.exit_code, done.output)\n"
    )
    folder.chmod(mode)
    first = open_folder / "first.db"
    done = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{first}", f"sqlite:///{folder}/jobs.db"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    folder.chmod(0o755)
    assert done.stdout.startswith("5 "), done.stdout
    assert "writable" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_disk_that_is_nearly_full_is_told_by_the_doctor() -> None:
    """F35, before it happens."""
    found = store_checks.space_check(10_000_000, None)
    assert found.verdict is store_checks.CheckVerdict.WARNING
    assert "10 MB are free" in found.finding
