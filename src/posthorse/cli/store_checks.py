"""What `posthorse doctor` concludes about a store and its files: one verdict for each check.

Pure: numbers and names in, checks out. The checks of the work are in `work_checks`. Alarms rely on the names of checks:
each is reported once, also if it is well, and docs/cli.md lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from posthorse import ids
from posthorse.app.store_origin import Apart
from posthorse.cli.file_checks import FileFacts, Holder
from posthorse.cli.wording import span
from posthorse.store.migrate import SCHEMA_VERSION
from posthorse.store.postgres.obstacles import HeldLock

Health = Mapping[str, str | int | float | None]

WAL_RESET_MENDED = (3, 51, 3)
MAX_LOG = 256 * 1024 * 1024
MIN_SPACE, TOO_LITTLE_SPACE = 64 * 1024 * 1024, 8 * 1024 * 1024
OLDEST_POSTGRES = 15
OLDEST_TRANSACTION = timedelta(minutes=5)
CLOCK_APART = timedelta(seconds=5)
LOCKED_FOR = timedelta(seconds=5)
MAX_NAMED = 5
NETWORK_FILES = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|ceph|gluster\w*|lustre|beegfs|virtiofs|fuse\.(sshfs|s3fs|gluster\w*|rclone)"
)


class CheckVerdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Check(NamedTuple):
    """One check: what was found, and what to do about it."""

    name: str
    verdict: CheckVerdict
    finding: str
    advice: str | None = None


def ok(name: str, finding: str) -> Check:
    """Make a check without a finding."""
    return Check(name, CheckVerdict.OK, finding)


def warning(name: str, finding: str, advice: str) -> Check:
    """Make a check that found something to look at, although everything works."""
    return Check(name, CheckVerdict.WARNING, finding, advice)


def problem(name: str, finding: str, advice: str) -> Check:
    """Make a check that found something that does not work, or puts jobs at risk."""
    return Check(name, CheckVerdict.ERROR, finding, advice)


def address_check(stores: Apart | None) -> Check:
    """Check that this process, the application and the environment name one store."""
    if stores is None:
        return ok("address", "no second store is named")
    return warning("address", *stores)


# ── the store ────────────────────────────────────────────────────────────────────────────────────────


def files_check(files: Sequence[FileFacts], me: str) -> Check:
    """Check who owns the files and may write them."""
    locked = [file for file in files if not file.is_writable]
    if locked:
        named = ", ".join(f"{file.name} ({file.owner}, {file.mode:04o})" for file in locked[:MAX_NAMED])
        return problem(
            "files",
            f"{me} may not read and write {named}",
            "let the user that runs the application own the file, those beside it and their folder: chown; and run "
            "doctor as that user",
        )
    owners = sorted({file.owner for file in files if not file.is_folder})
    if len(owners) > 1:
        return warning(
            "files",
            f"they belong to {' and '.join(owners)}: who may write one of them may not be able to write another",
            "let one user own them all (chown), and run every command of Posthorse as that user",
        )
    return ok("files", f"{me} may write them; they belong to {owners[0] if owners else 'nobody'}")


def space_check(free: int, why_no_room: str | None) -> Check:
    """Check the space that this user has left on the disk of a SQLite file."""
    advice = "make room: when it is full nothing can be enqueued, and running jobs lose their leases"
    if why_no_room is not None:
        return problem("space", f"nothing more fits beside the file ({why_no_room}); {_bytes(free)} are free", advice)
    if free < TOO_LITTLE_SPACE:
        return problem("space", f"only {_bytes(free)} are free on its disk", advice)
    if free < MIN_SPACE:
        return warning("space", f"{_bytes(free)} are free on its disk", advice)
    return ok("space", f"{_bytes(free)} free")


def schema_check(version: int | None, where: str) -> Check:
    """Check that the tables are those of this version of Posthorse."""
    if version == SCHEMA_VERSION:
        return ok("schema", f"version {version}")
    if version is not None and version > SCHEMA_VERSION:
        finding = f"{where} has version {version} of the schema, and this Posthorse knows {SCHEMA_VERSION}"
        return problem("schema", finding, "upgrade Posthorse on this machine")
    found = "no tables of Posthorse" if version is None else f"version {version} of the schema"
    return problem("schema", f"{where} has {found}; this Posthorse needs {SCHEMA_VERSION}", "run `posthorse migrate`")


def blocked_check(name: str, why: str, holders: Sequence[Holder]) -> Check:
    """Report a SQLite store that cannot be used; `holders` may hold its lock."""
    stopped = [holder for holder in holders if holder.is_stopped]
    named = ", ".join(f"{holder.pid} ({holder.command})" for holder in (stopped or holders)[:MAX_NAMED])
    if stopped:
        return problem(name, f"{why}. Stopped while they have its files open: {named}", "continue or kill them")
    if holders:
        return problem(name, f"{why}. These have its files open: {named}", "look at what they do, and end it")
    return problem(name, why, "look for a process that holds a lock: `fuser -v FILE` shows who has it open")


def sqlite_checks(health: Health, file_system: str | None) -> Iterator[Check]:
    """Check a SQLite file, from its facts and the kind of its file system."""
    yield _library(str(health["library"]))
    if health.get("other_libraries"):
        yield problem(
            "libraries",
            f"this process also loaded {health['other_libraries']}, which bring a SQLite of their own",
            "open the store's file through one library only: two of them lose commits",
        )
    else:
        yield ok("libraries", "no other SQLite is loaded in this process")
    mode, synchronous = health["journal_mode"], health["synchronous"]
    if mode == "wal" and synchronous in ("FULL", "EXTRA"):
        yield ok("durability", f"journal mode WAL, synchronous {synchronous}: commits survive a power cut")
    else:
        yield problem(
            "durability",
            f"journal mode {mode}, synchronous {synchronous}: a power cut may lose commits",
            "put the file on a local disk; Posthorse sets WAL and FULL wherever the disk allows",
        )
    yield _access(health.get("exposed"))
    yield _disk(file_system)
    log = int(health["log_bytes"] or 0)
    if log > MAX_LOG:
        yield warning(
            "log",
            f"the write-ahead log has grown to {_bytes(log)}",
            "some program keeps a read transaction open on the file, so the log cannot start over; end it",
        )
    else:
        yield ok("log", f"{_bytes(log)} of write-ahead log")


def integrity_check(found: str, size: int) -> Check:
    """Report what `PRAGMA quick_check` found in a file of so many bytes."""
    if found == "ok":
        return ok("integrity", f"quick_check finds nothing wrong in {_bytes(size)}")
    return problem(
        "integrity",
        f"quick_check says: {found}",
        "stop all workers, keep a copy of the file and of its -wal, then restore a backup, or take what can still "
        "be read with `sqlite3 FILE .recover`",
    )


def unfinished_integrity_check(size: int, seconds: float) -> Check:
    """Report that a file is too large to be checked in that time."""
    finding = f"{_bytes(size)} are too much to be looked through in {span(timedelta(seconds=seconds))}"
    return ok("integrity", f"{finding}; a longer --timeout does that")


def locks_check(held: HeldLock | None) -> Check:
    """Check for a lock on one of our tables that keeps workers from writing."""
    if held is None or (held.seconds is not None and held.seconds < LOCKED_FOR.total_seconds()):
        return ok("locks", "no table is locked against workers")
    who = "a prepared transaction" if held.pid is None else f"server process {held.pid}"
    age = "" if held.seconds is None else f" for {span(timedelta(seconds=held.seconds))}"
    doing = f" ({held.state}{f', {held.program}' if held.program else ''})" if held.state else ""
    end = "see pg_prepared_xacts" if held.pid is None else f"SELECT pg_terminate_backend({held.pid})"
    return problem(
        "locks",
        f"{who}{doing} holds {held.mode} on {held.table}{age}: no job can be enqueued, begun or ended meanwhile",
        f"let it end its transaction, or end it: {end}",
    )


def server_writes_check(*, is_read_only: bool, may_write: bool) -> Check:
    """Check that a PostgreSQL server accepts writes, and from this role."""
    if is_read_only:
        finding = "the server only reads: it is a standby, or default_transaction_read_only is on"
        return problem("writes", finding, "name the primary (target_session_attrs=read-write chooses it by itself)")
    if not may_write:
        return problem(
            "writes",
            "the role of this address may not read and write every table of Posthorse",
            "grant it USAGE on the schema and SELECT, INSERT, UPDATE, DELETE on its tables, or use the role that "
            "migrated the store",
        )
    return ok("writes", "the server takes writes")


def postgres_checks(health: Health) -> Iterator[Check]:
    """Check a PostgreSQL server, from its own facts."""
    version = str(health["server"])
    if int(version.partition(".")[0].split()[0]) < OLDEST_POSTGRES:
        yield problem("server", f"PostgreSQL {version}", f"upgrade it: {OLDEST_POSTGRES} is the oldest supported")
    else:
        yield ok("server", f"PostgreSQL {version}")
    yield _encoding(str(health["encoding"]))
    yield from _postgres_durability(health)
    if health.get("pooled"):
        yield ok(
            "pooler", "shares connections between transactions: no notifications, so workers look for jobs instead"
        )
    else:
        yield ok("pooler", "none: notifications pass")
    oldest = health.get("oldest_transaction_seconds")
    age = timedelta(seconds=float(oldest or 0))
    if age > OLDEST_TRANSACTION:
        yield warning(
            "transactions",
            f"the oldest open transaction is {span(age)} old: no row that died since can be cleared away",
            "find it in pg_stat_activity (ORDER BY xact_start) and end it",
        )
    else:
        yield ok("transactions", f"the oldest open one is {span(age)} old" if oldest else "none is open")
    used, most = health.get("connections"), health.get("most_connections")
    if isinstance(used, int) and isinstance(most, int):
        if used > most * 0.9:
            yield warning("connections", f"{used} of {most} are in use", "raise max_connections, or use a pooler")
        else:
            yield ok("connections", f"{used} of {most} in use")


def clock_check(apart: timedelta) -> Check:
    """Compare this machine's clock with the store's."""
    size = abs(apart)
    where = "ahead of" if apart > timedelta(0) else "behind"
    if size >= timedelta(microseconds=ids.CLOCK_TOLERANCE):
        return problem("clock", f"{span(size)} {where} the store's: nothing can be enqueued here", "set this clock")
    if size > CLOCK_APART:
        return warning("clock", f"{span(size)} {where} the store's, which decides", "let NTP set this machine's clock")
    return ok("clock", f"within {span(CLOCK_APART)} of the store's")


def _library(version: str) -> Check:
    if tuple(int(part) for part in version.split(".")) >= WAL_RESET_MENDED:
        return ok("library", f"SQLite {version}")
    # Debian and others keep such a version for years, and a permanent warning would be ignored.
    return ok(
        "library",
        f"SQLite {version}; its WAL-reset bug (3.7.0 to 3.51.2) cannot strike the way Posthorse commits, and other "
        "programs should not write to the file",
    )


def _disk(file_system: str | None) -> Check:
    if file_system is None:
        return ok("disk", "this system does not tell what disk the file is on; keep it on a local one, not NFS or SMB")
    if NETWORK_FILES.fullmatch(file_system):
        return problem(
            "disk",
            f"the file is on {file_system}, where SQLite's locks and shared memory do not work",
            "move it to a local disk, or use PostgreSQL",
        )
    return ok("disk", f"local ({file_system})")


def _access(exposed: str | int | float | None) -> Check:
    if exposed:
        return warning(
            "access",
            f"every account of this machine may open {exposed}: jobs and their arguments are there to be read",
            "chmod o= these files; those that Posthorse makes are their owner's alone",
        )
    return ok("access", "other accounts of this machine cannot open its files")


def lost_log_check(where: str) -> Check:
    """Report a file whose write-ahead log was removed."""
    return problem(
        "log",
        f"{where}-wal is gone, and {where}-shm is still there: the log was removed after a crash, and with it "
        "what was committed last",
        "before anything opens the store, put the log back; without it jobs that were accepted are lost, and jobs that "
        f"had ended may run again. To go on all the same, remove {where}-shm",
    )


def _encoding(encoding: str) -> Check:
    if encoding == "UTF8":
        return ok("encoding", "UTF8: the database holds every text")
    return problem(
        "encoding",
        f"the database has the encoding {encoding}, which cannot hold every argument and result",
        "move the store to a database that was made with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
    )


def _postgres_durability(health: Health) -> Iterator[Check]:
    fsync, synchronous = health.get("fsync"), health.get("synchronous_commit")
    if fsync is None or synchronous is None:
        return
    if fsync == "off":
        yield problem("durability", "fsync is off: a crash of the server may lose everything", "set fsync = on")
    elif synchronous == "off":
        yield warning(
            "durability",
            "synchronous_commit is off: a crash of the server may lose the last moments of accepted jobs",
            "set synchronous_commit = on for the database or the role",
        )
    else:
        yield ok("durability", f"fsync on, synchronous_commit {synchronous}: commits survive a power cut")


def _bytes(count: str | int | float | None) -> str:
    size = float(count or 0)
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
