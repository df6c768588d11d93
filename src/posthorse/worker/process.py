"""What the processes of a worker share: they log alike, a child dies with its parent, and one may be stopped."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1


def configure_logging(level: str | int) -> None:
    """One line a record, on stderr, from this level on: its name or its number."""
    logging.basicConfig(
        level=level.upper() if isinstance(level, str) else level,
        format="%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s",
        stream=sys.stderr,
    )


def die_with_parent(parent: int) -> None:
    """Asks the kernel (Linux) to kill this process when its parent dies, however that happens."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before we asked


def is_stopped(pid: int) -> bool:
    """True when the process is stopped (SIGSTOP, a debugger): it cannot work, whatever its lease says."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def kill_group(pid: int) -> None:
    """Kills a process that leads a group, and all that it left in it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def described(code: int) -> str:
    """How a process ended, for people: by its exit code, or minus the signal that killed it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
