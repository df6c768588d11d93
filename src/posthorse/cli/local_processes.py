"""The processes of this machine, as far as a probe asks: whether one runs, and which others it started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from posthorse.rules.health import Process
from posthorse.worker.base.process import is_stopped

MAX_DEPTH = 64


def look_at_process(pid: int) -> Process:
    """Return whether a process runs; one that ended and was not collected by its parent is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return Process.GONE
    except PermissionError:
        pass  # another user's, but it is there
    if is_stopped(pid):
        return Process.STOPPED
    return Process.GONE if _has_ended(pid) else Process.RUNNING


def belongs_to(pid: int, ancestor: int) -> bool:
    """Return whether a process is another one, or was started by it or by one that it started.

    Without /proc only the process itself and its parent-to-be are known: then it is enough that both run.
    """
    if not Path("/proc/self/stat").exists():
        return look_at_process(pid) is not Process.GONE
    return ancestor in _line_of(pid)


def _line_of(pid: int) -> Iterator[int]:
    """Yield a process and its ancestors; none if it is gone."""
    for _ in range(MAX_DEPTH):
        fields = _stat(pid)
        if not fields:
            return
        yield pid
        pid = int(fields[1])


def _has_ended(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] in ("Z", "X")


def _stat(pid: int) -> list[str]:
    """Return what the kernel says of a process behind its name: state, parent and so on; nothing if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return []
