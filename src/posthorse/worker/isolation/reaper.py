"""The reaper: stands between a runner and one child, and sees to it that nothing the child started outlives it.

Run by its path with `python -I -S`, so it imports the standard library alone and stays small. It adopts what loses
its parent below it (Linux: PR_SET_CHILD_SUBREAPER), so whatever the child's code does to get away, sessions and
double forks included, stays below the reaper. When the child ends, when the runner says so or dies, and when a limit
is passed, everything below is stopped, killed and reaped; then the reaper tells what became of the child, and ends.

Its control pipe brings it lines: `limit SECONDS BYTES` (0 for none), `check`, `kill`. It writes `clean` when a
check finds the child alone; what else a check finds dies, the child with it. Its last line is
`ended STATUS CAUSE BYTES LEFT`: the child's wait status; itself, left, asked, orphaned, time or memory; what was held
when memory was the cause; and how many processes could not be killed.

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
"""Seconds between two looks at the memory, while a job has a limit."""

MAX_END = 10.0
"""Seconds after which what cannot be killed, as a process of another user, is left."""

PATIENCE = 0.01
LIKELIER_VICTIM = "300"
"""Added to what the kernel counts against the child when memory runs out: the runner is to be spared."""


class Reaper:
    """Keeps one child."""

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
        """Until the child ends or is to end; then ends everything and tells."""
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
        """Does as it is told; answers with the cause of the end, if this is the end."""
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
        # The child first: what moves from it to us in between is still seen.
        return bool(self._children_of(self._child)) or self._children_of(os.getpid()) != [self._child]

    def _below(self) -> list[int]:
        """Everything below, as far as one look can see: whoever acts on it looks again."""
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
        """By the quick figure, which counts shared memory at each of its users, and then by the exact one."""
        below = self._below()
        if _sum(below, "status", (b"RssAnon:", b"RssShmem:")) <= self._memory:
            return False
        self._held = _sum(below, "smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:")) or _sum(below, "status", (b"RssAnon:",))
        return self._held > self._memory

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────

    def _end_everything(self) -> int:
        """Kills until nothing is below; answers with the number of those that would not die."""
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
        """Everything below, stopped first: while one is killed no other may take its place."""
        stopped = set[int]()
        while fresh := set(self._below()) - stopped:
            for pid in fresh:
                _signal(pid, signal.SIGSTOP)
            stopped |= fresh
        return stopped

    def _reap(self) -> bool:
        """Buries the dead; true when nobody is left. Whoever is below and loses its parent becomes our child."""
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
    """Starts the child and keeps it."""
    os.set_inheritable(control, False)
    wake, signalled = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(signalled, False)
    # Not ignored, which the child and all below it would inherit. Only the control pipe ends a reaper.
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
    """The child, before its own program starts: in a session of its own, and dead as soon as its reaper is."""
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
    """Signals only end the wait."""


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
    """Every process and its parent; nothing without /proc."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return
    for name in names:
        if name.isdigit() and (stat := _read(f"/proc/{name}/stat")):
            yield int(name), int(stat.rpartition(b")")[2].split()[1])


def _sum(pids: Iterable[int], file: str, labels: tuple[bytes, ...]) -> int:
    """Bytes under these labels of a file in /proc, over all processes."""
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
