"""The end of a process: with its parent, or by itself after the application's exit handlers."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1
AT_EXIT = 3.0
"""Seconds for the functions that the application registered with `atexit`."""


def die_with_parent(parent: int) -> None:
    """Ask the kernel (Linux) to kill this process when its parent dies, for whatever reason."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent had died already


def end_gracefully(code: int) -> NoReturn:
    """End this process after running the functions registered with `atexit`, with which libraries flush what they hold.

    This takes a few seconds at most, and waits for no thread: some may still be inside jobs that were given up.
    """
    threading.Thread(target=_end_after, args=(AT_EXIT, code), name="posthorse-end", daemon=True).start()
    with suppress(BaseException):  # whatever these functions raise, this process ends
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  # no other way but to end, and to wait for threads
    end_at_once(code)


def end_at_once(code: int) -> NoReturn:
    """Flush what was logged and printed, and end this process without doing anything else."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # no stream, no reader, or closed
            stream.flush()
    os._exit(code)


def _end_after(seconds: float, code: int) -> None:
    time.sleep(seconds)
    os._exit(code)


def is_stopped(pid: int) -> bool:
    """Return whether the process is stopped (SIGSTOP, a debugger): it cannot work, whatever its lease says."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("T", "t")


def kill_group(pid: int) -> None:
    """Kill a process that leads a group, and all processes of the group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def exit_in_words(code: int) -> str:
    """Describe for people how a process ended; `code` is its exit code, or minus the signal that killed it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
