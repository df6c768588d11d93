"""What `posthorse doctor` looks at, and what it makes of it: one verdict for each thing that was found.

Pure: numbers and names in, checks out. Whoever asks the store is elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from posthorse import ids
from posthorse.cli.words import span
from posthorse.rules.growth import Deaths
from posthorse.rules.job import State
from posthorse.store.operations.read import Unserved, WorkerRow

Health = Mapping[str, str | int | float | None]

WAL_RESET_MENDED = (3, 51, 3)
LARGEST_LOG = 256 * 1024 * 1024
LEAST_SPACE = 64 * 1024 * 1024
OLDEST_POSTGRES = 15
OLDEST_TRANSACTION = timedelta(minutes=5)
CLOCK_APART = timedelta(seconds=5)
DUE_FOR = timedelta(seconds=5)
NEW_FOR = timedelta(minutes=5)
NETWORK_FILES = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|ceph|gluster\w*|lustre|beegfs|virtiofs|fuse\.(sshfs|s3fs|gluster\w*|rclone)"
)


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Check(NamedTuple):
    """One thing that was looked at, what was found, and what to do about it."""

    name: str
    verdict: Verdict
    finding: str
    advice: str | None = None


def ok(name: str, finding: str) -> Check:
    """As it should be."""
    return Check(name, Verdict.OK, finding)


def warning(name: str, finding: str, advice: str) -> Check:
    """Works, and deserves a look."""
    return Check(name, Verdict.WARNING, finding, advice)


def problem(name: str, finding: str, advice: str) -> Check:
    """Does not work, or puts jobs at risk."""
    return Check(name, Verdict.PROBLEM, finding, advice)


# ── the store ────────────────────────────────────────────────────────────────────────────────────────


def sqlite_checks(health: Health, file_system: str | None) -> Iterator[Check]:
    """Checks of a SQLite file, from what the store says of it and the kind of disk that it lies on."""
    yield _library(str(health["library"]))
    if health.get("other_libraries"):
        yield problem(
            "libraries",
            f"this process also loaded {health['other_libraries']}, which bring a SQLite of their own",
            "open the store's file through one library only: two of them lose commits",
        )
    mode, synchronous = health["journal_mode"], health["synchronous"]
    if mode == "wal" and synchronous in ("FULL", "EXTRA"):
        yield ok("durability", f"journal mode WAL, synchronous {synchronous}: commits survive a power cut")
    else:
        yield problem(
            "durability",
            f"journal mode {mode}, synchronous {synchronous}: a power cut may lose commits",
            "put the file on a local disk; Posthorse sets WAL and FULL wherever the disk allows",
        )
    if health["integrity"] == "ok":
        yield ok("integrity", f"quick_check finds nothing wrong in {_bytes(health['file_bytes'])}")
    else:
        yield problem(
            "integrity",
            f"quick_check says: {health['integrity']}",
            "stop all workers, keep a copy of the file and of its -wal, then restore a backup, or take what can still "
            "be read with `sqlite3 FILE .recover`",
        )
    yield _disk(file_system)
    yield from _space(health.get("free_bytes"))
    log = int(health["log_bytes"] or 0)
    if log > LARGEST_LOG:
        yield warning(
            "log",
            f"the write-ahead log has grown to {_bytes(log)}",
            "some program keeps a read transaction open on the file, so the log cannot begin anew; end it",
        )
    else:
        yield ok("log", f"{_bytes(log)} of write-ahead log")


def postgres_checks(health: Health) -> Iterator[Check]:
    """Checks of a PostgreSQL server, from what it says of itself."""
    version = str(health["server"])
    if int(version.partition(".")[0].split()[0]) < OLDEST_POSTGRES:
        yield problem("server", f"PostgreSQL {version}", f"upgrade it: {OLDEST_POSTGRES} is the oldest supported")
    else:
        yield ok("server", f"PostgreSQL {version}")
    yield from _postgres_durability(health)
    if health.get("pooled"):
        yield warning(
            "pooler",
            "a pooler shares connections between transactions: notifications cannot pass, so workers look instead",
            "nothing need be done; a direct address lets workers start jobs within milliseconds",
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
    """This machine's clock against the store's."""
    size = abs(apart)
    where = "ahead of" if apart > timedelta(0) else "behind"
    if size >= timedelta(microseconds=ids.CLOCK_TOLERANCE):
        return problem("clock", f"{span(size)} {where} the store's: nothing can be enqueued here", "set this clock")
    if size > CLOCK_APART:
        return warning("clock", f"{span(size)} {where} the store's, which judges", "let NTP set this machine's clock")
    return ok("clock", f"within {span(CLOCK_APART)} of the store's")


def _library(version: str) -> Check:
    if tuple(int(part) for part in version.split(".")) >= WAL_RESET_MENDED:
        return ok("library", f"SQLite {version}")
    return warning(
        "library",
        f"SQLite {version} has the WAL-reset bug (3.7.0 to 3.51.2); the way Posthorse commits keeps it away",
        "other programs that write to the file need SQLite 3.51.3 or newer",
    )


def _disk(file_system: str | None) -> Check:
    if file_system is None:
        return warning("disk", "cannot tell what disk the file lies on", "keep it on a local one, not NFS or SMB")
    if NETWORK_FILES.fullmatch(file_system):
        return problem(
            "disk",
            f"the file lies on {file_system}, where SQLite's locks and shared memory do not work",
            "move it to a local disk, or use PostgreSQL",
        )
    return ok("disk", f"local ({file_system})")


def _space(free: str | int | float | None) -> Iterator[Check]:
    if free is None:
        return
    if int(free) < LEAST_SPACE:
        advice = "make room before it is full: then nothing can be enqueued, and running jobs lose their leases"
        yield warning("space", f"{_bytes(free)} are free on its disk", advice)
    else:
        yield ok("space", f"{_bytes(free)} free")


def lost_log_check(where: str) -> Check:
    """For a file whose write-ahead log was taken away."""
    return problem(
        "log",
        f"{where}-wal is gone, and {where}-shm is still there: somebody removed the log after a crash, and with it "
        "what was committed last",
        "before anything opens the store, put the log back; without it jobs that were accepted are lost, and jobs that "
        f"had ended may run again. To go on all the same, remove {where}-shm",
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


# ── the work ─────────────────────────────────────────────────────────────────────────────────────────


def worker_check(rows: Sequence[WorkerRow], lease: timedelta, waiting: int) -> Check:
    """Who is alive to do what waits."""
    alive = [row for row in rows if timedelta(microseconds=row.silent_for) <= lease]
    silent = len(rows) - len(alive)
    if not alive:
        finding = f"none is alive, and {waiting:,} jobs wait" if waiting else "none is alive"
        return warning("workers", finding, "start one: posthorse worker --app module:app")
    running, room = sum(row.running for row in alive), sum(row.concurrency for row in alive)
    finding = f"{len(alive)} alive, {running} of {room} places taken"
    if silent:
        return warning("workers", f"{finding}; {silent} fell silent", "their jobs go to others when their leases end")
    return ok("workers", finding)


def unserved_checks(unserved: Sequence[Unserved]) -> Iterator[Check]:
    """Jobs that wait for a worker that has their code, and takes from their queue."""
    if not unserved:
        yield ok("kinds", "every kind that waits is served")
    unknown, left_out, queues = Counter[str](), Counter[str](), set[str]()
    for jobs in unserved:
        if jobs.is_known:
            left_out[f"{jobs.kind} from {jobs.queue}"] += jobs.waiting
            queues.add(jobs.queue)
        else:
            unknown[jobs.kind] += jobs.waiting
    if unknown:
        yield warning(
            "kinds",
            f"no living worker knows: {_listed(unknown)}",
            "start a worker whose application has these kinds; after a rename, keep the old one with aliases=[…]",
        )
    if left_out:
        yield warning(
            "queues",
            f"no living worker takes: {_listed(left_out)}",
            f"start one that knows the kind, with `-q {min(queues)}`, or without -q for all queues",
        )


def due_check(next_due: int | None) -> Check:
    """Scheduled jobs; `next_due` is in microseconds from now."""
    late = timedelta(microseconds=-next_due) if next_due is not None else timedelta(0)
    if late > DUE_FOR:
        finding = f"a job is due since {span(late)} and was not lined up"
        return warning("schedule", finding, "any living worker does that: start one")
    return ok("schedule", "no job is overdue")


def dead_letter_check(counts: Mapping[State, int], new: Deaths) -> Check:
    """Jobs that failed for good, and how many of them did so within `NEW_FOR`."""
    dead = counts.get(State.FAILED, 0)
    if not dead:
        return ok("dead letters", "none")
    count = f"at least {len(new.found):,}" if new.is_cut else f"{len(new.found):,}" if new.found else "none"
    finding = f"{dead:,}; {count} of them came in the last {span(NEW_FOR)}"
    return warning("dead letters", finding, "look at `posthorse jobs --state failed`, then `posthorse retry ID…`")


def backlog_check(waiting: int, running: int, counts: Mapping[State, int]) -> Check:
    """How much there is to do; never wrong by itself."""
    told = [f"{waiting:,} waiting", f"{running:,} running"]
    aside = (State.SCHEDULED, State.BLOCKED, State.PAUSED)
    told += [f"{counts[state]:,} {state.value}" for state in aside if counts.get(state)]
    return ok("jobs", ", ".join(told))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items()))


def _bytes(count: str | int | float | None) -> str:
    size = float(count or 0)
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
