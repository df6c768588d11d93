"""The files of a SQLite store as the system sees them: who may write them, on what disk, and which processes have them
open.

This module opens none of them: closing a file outside SQLite would drop this process's locks on it.
"""

from __future__ import annotations

import os
import pwd
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from posthorse.store.sqlite.side_files import bell_of, gate_of, index_of, log_of, real_name

ROOM = 1024 * 1024
"""Bytes that must fit beside the file."""


class FileFacts(NamedTuple):
    """A file, or the folder, and what this process may do with it."""

    name: str
    owner: str
    mode: int
    is_writable: bool
    is_folder: bool = False


class Holder(NamedTuple):
    """A process that has a file open; `is_stopped` if a signal or a debugger stopped it."""

    pid: int
    command: str
    is_stopped: bool


def facts_of_files(path: Path) -> list[FileFacts]:
    """Return the facts about a store's file, those beside it that belong to it, and their folder."""
    real = Path(real_name(path))
    beside = (Path(name(real)) for name in (log_of, index_of, gate_of, bell_of))
    found: list[FileFacts] = []
    for each in (real, *beside, real.parent):
        with suppress(FileNotFoundError):  # the log comes and goes
            status = each.stat()
            found.append(
                FileFacts(
                    str(each),
                    _user(status.st_uid),
                    status.st_mode & 0o7777,
                    os.access(each, os.R_OK | os.W_OK),
                    each.is_dir(),
                )
            )
    return found


def me() -> str:
    """Return the name of the user that this process runs as."""
    return _user(os.geteuid())


def free_bytes(path: Path) -> int:
    """Return how many bytes are free on the disk of a file. Raises OSError."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def why_no_room(path: Path) -> str | None:
    """Return why nothing more fits beside a file, such as a quota; None if it does. Leaves nothing there."""
    try:
        with tempfile.TemporaryFile(dir=Path(real_name(path)).parent, prefix=".posthorse-doctor-") as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
    except OSError as error:
        return error.strerror or str(error)
    return None


def file_system(path: Path) -> str | None:
    """Return the kind of file system that a file is on; None if it is unknown."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    target = path.resolve()
    best, found = -1, None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if target.is_relative_to(place) and len(place) >= best:
            best, found = len(place), after.split()[0]
    return found


def holders(path: Path) -> Sequence[Holder]:
    """Return the other processes that have a store's files open, as far as this user may know: stopped ones first."""
    name = str(path.resolve())
    found = [holder for holder in _holders(name) if holder.pid != os.getpid()]
    return sorted(found, key=lambda holder: (not holder.is_stopped, holder.pid))


def _holders(name: str) -> Iterator[Holder]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is not ours
            if any(_is_of(name, link) for link in (process / "fd").iterdir()):
                state = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                command = (process / "comm").read_text(errors="replace").strip()
                yield Holder(int(process.name), command, state in "Tt")


def _is_of(name: str, link: Path) -> bool:
    try:
        target = os.readlink(link)
    except OSError:
        return False
    return target == name or target.startswith(f"{name}-")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
