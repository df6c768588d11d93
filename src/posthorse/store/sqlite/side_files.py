"""The files beside a store: their names, who may open them, and what they remember.

They are beside the file itself, wherever a symbolic link to it is, because two names must not mean two locks. This
module knows no SQL.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from posthorse.errors import StoreError, StoreUnreachable

OWNER_ALONE = 0o600
_CLASSES = (0o600, 0o060, 0o006)
_MEMORY = (
    "A store of Posthorse was made in {name}. Should that file be missing, no empty one takes its place\n"
    "while this one is here: to begin with an empty store, stop all processes and remove this file, too.\n"
)


def real_name(path: Path | str) -> str:
    """Return the name of the file itself if the path is a symbolic link to it."""
    return os.path.realpath(path)


def gate_of(path: Path | str) -> str:
    """Return the lock that the next writer holds; it also remembers that there is a store."""
    return f"{real_name(path)}-gate"


def bell_of(path: Path | str) -> str:
    """Return the lock of the current writer, which is written to when there may be work."""
    return f"{real_name(path)}-turnstile"


def log_of(path: Path | str) -> str:
    """Return the write-ahead log, SQLite's own."""
    return f"{real_name(path)}-wal"


def index_of(path: Path | str) -> str:
    """Return the index of the log that processes share, SQLite's own."""
    return f"{real_name(path)}-shm"


def open_lock(path: str, store: Path | str) -> int:
    """Open a lock file, with access only for accounts that may write to the store.

    An account that can open a lock can hold it. Raises StoreError.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, OWNER_ALONE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreError(f"{path} is a symbolic link, and a lock file of Posthorse never is; remove it") from error
        raise StoreError(
            f"cannot open {path} ({error.strerror}); Posthorse keeps lock files beside the SQLite store, so its folder "
            "must be writable, and where several accounts share the store, they must share these files, too "
            f"(chmod g+rw {store}*)"
        ) from error
    with suppress(OSError):
        _share_like(descriptor, os.stat(store))
    return descriptor


def remember(path: Path) -> None:
    """Note in a file beside the store that it exists, for later processes."""
    # Best effort: with a full disk the store works on, and the next process notes it.
    with suppress(OSError, StoreError):
        descriptor = open_lock(gate_of(path), path)
        try:
            if os.fstat(descriptor).st_size == 0:
                os.pwrite(descriptor, _MEMORY.format(name=path.name).encode(errors="surrogateescape"), 0)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def raise_if_lost(path: Path) -> None:
    """Raise StoreUnreachable if there was a store; for a path without a file, or with an empty one."""
    log = log_of(path)
    if _size(log):
        raise StoreUnreachable(
            f"{path} is missing, and its log {log} is there: the file was removed or renamed, and jobs that were "
            "accepted are in it and in the log. Put the file back; to begin with an empty store, stop all processes "
            f"and remove {log} and {gate_of(path)}"
        )
    if is_remembered(path):
        raise StoreUnreachable(
            f"{path} is missing: it was removed or renamed, and the jobs that were accepted are in it. Put the file "
            f"back; to begin with an empty store, stop all processes and remove {gate_of(path)}, too"
        )


def raise_if_replaced(path: Path) -> None:
    """Raise StoreUnreachable if there was a store; for a file without our tables."""
    if is_remembered(path):
        raise StoreUnreachable(
            f"{path} has no tables of Posthorse, and a store was kept there: another file took its place. Put the "
            f"right one back; to begin with an empty store in this one, stop all processes and remove {gate_of(path)}"
        )


def is_remembered(path: Path) -> bool:
    """Return True if a store was made there, even if it is gone."""
    return bool(_size(gate_of(path)))


def exposed(path: Path) -> list[str]:
    """Return the names of the store's files that every account of this machine may open."""
    real = Path(real_name(path))
    if not all(_mode(folder) & stat.S_IXOTH for folder in real.parents):
        return []
    names = (str(real), log_of(path), index_of(path), gate_of(path), bell_of(path))
    return [Path(name).name for name in names if _mode(name) & stat.S_IRWXO]


def _mode(path: Path | str) -> int:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0


def _share_like(descriptor: int, store: os.stat_result) -> None:
    """Give a lock file to the accounts that may write to the store."""
    found = os.fstat(descriptor)
    wanted = sum(bits for bits in _CLASSES if store.st_mode & bits & 0o222)
    is_root = os.geteuid() == 0
    if is_root or found.st_uid == os.geteuid():
        owner = store.st_uid if is_root else -1
        if found.st_gid != store.st_gid or owner not in (-1, found.st_uid):
            with suppress(OSError):  # not a member of that group
                os.fchown(descriptor, owner, store.st_gid)
        if stat.S_IMODE(found.st_mode) != wanted:
            os.fchmod(descriptor, wanted)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
