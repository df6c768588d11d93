"""Errors of an SQLite file: whether the commit may have been written all the same, and how they are explained."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TypeGuard

from posthorse.errors import OutcomeUnknown, SchemaMismatch, StoreError, StoreUnreachable
from posthorse.store.sqlite.side_files import gate_of

FileIdentity = tuple[int, int]
"""The file itself, whatever its name: device and inode."""

_OF_THE_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def code_of(error: sqlite3.Error) -> int:
    """Return the primary code of an error."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def file_identity(path: Path | str) -> FileIdentity | None:
    """Return which file the name leads to; None for none."""
    # Only looked up: opening and closing the file outside SQLite would drop this process's locks on it.
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_of_the_file(error: object) -> TypeGuard[sqlite3.Error]:
    """Return True if the disk or the file caused the error, not the statement."""
    return isinstance(error, sqlite3.Error) and code_of(error) in (*_OF_THE_DISK, *_DAMAGED)


def explained(error: Exception, path: Path, *, is_in_doubt: bool = False) -> Exception:
    """Return the error for callers. `is_in_doubt`: it came from a COMMIT."""
    if not isinstance(error, sqlite3.Error):
        return error
    code = code_of(error)
    if code == sqlite3.SQLITE_IOERR and is_in_doubt:
        # The log may hold the commit although its sync failed: recovery of the log after a crash would find it.
        return OutcomeUnknown(
            f"the disk failed while a commit to {path} was synced ({error}), so it is unknown whether it happened; "
            "ask again with the same id or key, which finds what was written, and have the disk looked after"
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreUnreachable(
            f"the disk of {path} is full ({error}), and nothing was written; make room on it, and workers go on by "
            "themselves: what was accepted before is safe"
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreUnreachable(
            f"the disk of {path} failed ({error}), and nothing was written; see whether it is full, then have it "
            "looked after"
        )
    if code in _DAMAGED:
        return damaged(error, path)
    if "no such table: posthorse_" in str(error):
        return SchemaMismatch(f"{path} has no schema of Posthorse ({error}); run `posthorse migrate`")
    return StoreError(f"SQLite could not write to {path}: {error}; nothing was written")


def unreadable(error: sqlite3.Error, path: Path) -> StoreError:
    """Return the error for a read that failed."""
    if code_of(error) in _DAMAGED:
        return damaged(error, path)
    return StoreError(f"SQLite could not read {path}: {error}")


def cannot_open(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StoreError:
    """Return the error for a connection that could not be opened."""
    if isinstance(error, UnicodeDecodeError):
        return damaged(error, path)
    if code_of(error) == sqlite3.SQLITE_NOTADB:
        return SchemaMismatch(f"{path} is not an SQLite database ({error}), and was left alone; name another file")
    if code_of(error) == sqlite3.SQLITE_CORRUPT:
        return damaged(error, path)
    return StoreUnreachable(
        f"cannot open the SQLite store {path}: {error}; check that its folder exists, that both are writable, and that "
        "the disk is not full"
    )


def damaged(error: Exception, path: Path) -> StoreError:
    """Return the error for a damaged file."""
    return StoreError(
        f"{path} is damaged ({error}), and nothing was written; stop all workers, keep a copy of it and of its -wal, "
        f"then restore a backup, or take what can still be read with `sqlite3 {path} .recover`"
    )


def moved(path: Path, *, is_committed: bool = False) -> StoreError:
    """Return the error for a file that is no longer under its name, while connections to it are open."""
    if is_committed:
        return OutcomeUnknown(
            f"{path} was removed, renamed or replaced while a commit was written to it, so the commit is in whatever "
            "became of that file; ask again with the same id or key"
        )
    if file_identity(path) is None:
        return StoreUnreachable(
            f"{path} was removed or renamed while it was open, so nothing was written; put it back together "
            f"with its -wal, or, to begin with an empty store, stop all processes and remove {gate_of(path)}, too"
        )
    return StoreUnreachable(
        f"{path} was replaced by another file while it was open, so nothing was written; try again, which takes the "
        "file that is there now, and look whether jobs that were accepted before are in it"
    )


def log_moved(path: Path) -> StoreError:
    """Return the error for a log, or its index, that is no longer under its name while connections are open."""
    return StoreUnreachable(
        f"the log of {path}, or its index, was removed, renamed or replaced while it was open, so nothing was "
        "written; stop all processes that use the store, then start them again, and never touch -wal and -shm files"
    )


def many_names(path: Path, names: int) -> StoreError:
    """Return the error for a file with hard links."""
    return StoreError(
        f"{path} is one of {names} names of the same file (hard links), and SQLite keeps a log for each name: what is "
        "committed under one is lost under the others. Remove the other names, or make them symbolic links"
    )
