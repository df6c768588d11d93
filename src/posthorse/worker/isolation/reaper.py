"""The reaper: a process between a runner and one child. No process that the child started outlives it.

It runs by its path with `python -I -S`, so it imports only the standard library and stays small. It adopts orphans
below it (Linux: PR_SET_CHILD_SUBREAPER), so processes cannot get away from it, not even by new sessions and double
forks. When the child ends, when the runner requests it or dies, and when a limit is passed, the reaper stops, kills and
reaps everything below; then it reports the exit status of the child, and ends.

The control pipe carries lines. To the reaper: `limit SECONDS BYTES` (0 for none), `check`, `kill`. From it: `clean` if
a check found no process beside the child; any others are killed, and the child with them. The last line is
`ended STATUS CAUSE BYTES LEFT`: the child's wait status; the cause (itself, left, asked, orphaned, time or memory); the
bytes used if memory was the cause; and how many processes could not be killed.

Without /proc (macOS) it kills the child's process group and cannot see more.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOOK_INTERVAL = 0.2
"""Seconds between two looks at memory use, if the job has a limit."""

MAX_END = 10.0
"""Seconds after which processes that cannot be killed, such as those of another user, are left."""

PATIENCE = 0.01
LIKELIER_VICTIM = "300"
"""Added to the child's score when the kernel runs out of memory, so that it kills the child and not the runner."""


class Reaper:
    """The reaper of one child: watches it and cleans up after it."""

    def __init__(self, runner: int, control: int, child: int, wake: int) -> None:
        self._runner = runner
        self._control = control
        self._child = child
        self._wake = wake
        self._status: int | None = None
        self._pending = b""
        self._deadline: float | None = None
        self._memory = 0
        self._held = 0
        self._has_children_files = os.path.exists(f"/proc/self/task/{os.getpid()}/children")

    def keep(self) -> None:
        """Wait until the child ends or must end; then kill everything below and report."""
        cause = self._watch()
        left = self._end_everything()
        status = -1 if self._status is None else self._status
        with suppress(OSError):
            os.write(self._control, b"ended %d %s %d %d\n" % (status, cause.encode(), self._held, left))

    def _watch(self) -> str:
        while True:
            readable, _, _ = select.select([self._control, self._wake], [], [], self._until_next_look())
            if self._wake in readable:
                os.read(self._wake, 4096)
            self._reap()
            if self._status is not None:
                return "itself"
            if os.getppid() != self._runner:
                return "orphaned"
            if self._control in readable and (cause := self._obey()):
                return cause
            if self._deadline is not None and time.monotonic() >= self._deadline:
                return "time"
            if self._memory and self._holds_too_much():
                return "memory"

    def _until_next_look(self) -> float | None:
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        if self._memory:
            return LOOK_INTERVAL if left is None else min(LOOK_INTERVAL, left)
        return left

    def _obey(self) -> str | None:
        """Do what the runner requested; return the cause if the child must end."""
        try:
            heard = os.read(self._control, 4096)
        except OSError:
            heard = b""
        if not heard:
            return "orphaned"
        *lines, self._pending = (self._pending + heard).split(b"\n")
        for line in lines:
            word, *values = line.split()
            if word == b"kill":
                return "asked"
            if word == b"limit":
                seconds, size = float(values[0]), int(values[1])
                self._deadline = time.monotonic() + seconds if seconds else None
                self._memory = size
            elif word == b"check":
                self._deadline, self._memory = None, 0
                if self._has_company():
                    return "left"
                os.write(self._control, b"clean\n")
        return None

    # ── what is below ────────────────────────────────────────────────────────────────────────────────

    def _has_company(self) -> bool:
        # Look at the child first: a process that moves from it to us in between is still seen.
        return bool(self._children_of(self._child)) or self._children_of(os.getpid()) != [self._child]

    def _below(self) -> list[int]:
        """Return all processes below that one look can see; the caller looks again after it acted."""
        if not self._has_children_files:
            return _below_by_parents(os.getpid())
        found, left = list[int](), [os.getpid()]
        while left:
            children = self._children_of(left.pop())
            found += children
            left += children
        return found

    def _children_of(self, pid: int) -> list[int]:
        if not self._has_children_files:
            return [child for child, parent in _parents() if parent == pid] or ([self._child] * (pid == os.getpid()))
        found = list[int]()
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
        return found

    def _holds_too_much(self) -> bool:
        """Compare the quick figure, which counts shared memory once for each process, and then the exact one."""
        below = self._below()
        if _sum(below, "status", (b"RssAnon:", b"RssShmem:")) <= self._memory:
            return False
        self._held = _sum(below, "smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:")) or _sum(below, "status", (b"RssAnon:",))
        return self._held > self._memory

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────

    def _end_everything(self) -> int:
        """Kill until nothing is below; return how many processes could not be killed."""
        with suppress(OSError):
            os.killpg(self._child, signal.SIGKILL)
        until = time.monotonic() + MAX_END
        while not self._reap():
            below = self._stopped()
            for pid in below:
                _signal(pid, signal.SIGKILL)
            if time.monotonic() >= until:
                return len(below)
            select.select([self._wake], [], [], PATIENCE)
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
        return 0

    def _stopped(self) -> set[int]:
        """Stop everything below before it is killed, so that no process can start another meanwhile."""
        stopped = set[int]()
        while fresh := set(self._below()) - stopped:
            for pid in fresh:
                _signal(pid, signal.SIGSTOP)
            stopped |= fresh
        return stopped

    def _reap(self) -> bool:
        """Reap dead processes, orphans included; return True if none is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._child:
                self._status = status


def main(runner: int, control: int, channel: int, command: list[str]) -> None:
    """Start the child and watch it."""
    os.set_inheritable(control, False)
    wake, signalled = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(signalled, False)
    # Handled, not ignored: the child would inherit ignored signals. Only the control pipe ends a reaper.
    for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _wake_up)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
    reaper = os.getpid()
    child = os.fork()
    if child == 0:
        _become(command, reaper)
    os.close(channel)
    Reaper(runner, control, child, wake).keep()
    os._exit(0)


def _become(command: list[str], reaper: int) -> None:
    """Become the child: start a session, ask the kernel to end this process with its reaper, and run the program."""
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(LIKELIER_VICTIM)
        if os.getppid() == reaper:
            os.execv(command[0], command)
    finally:
        os._exit(127)


def _wake_up(number: int, frame: FrameType | None) -> None:
    """Do nothing: the signal has ended the wait."""


def _prctl(option: int, value: int) -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(OSError):
        os.kill(pid, number)


def _below_by_parents(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, left = list[int](), [root]
    while left:
        more = children.get(left.pop(), [])
        found += more
        left += more
    return found


def _parents() -> Iterable[tuple[int, int]]:
    """Yield every process with its parent; nothing without /proc."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit() and (stat := _read(f"/proc/{name}/stat")):
            yield int(name), int(stat.rpartition(b")")[2].split()[1])


def _sum(pids: Iterable[int], file: str, labels: tuple[bytes, ...]) -> int:
    """Add up the bytes under these labels of a file in /proc over all processes."""
    total = 0
    for pid in pids:
        for line in _read(f"/proc/{pid}/{file}").splitlines():
            if line.startswith(labels):
                total += int(line.split()[1]) * 1024
    return total


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
