"""The stage of a demonstration: the worker's processes, what is done to them, and what the audience sees of it.

Every wait has a deadline; if something does not happen in time, the demonstration ends with an error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import posthorse as ph
from examples import begun
from examples.screen import Screen

PROJECT = Path(__file__).parents[1]
PLAYS = ("kill-runner", "kill-worker", "pause", "deploy")
PAUSE = 3.0
LOOK_INTERVAL = 0.05
DRAW_INTERVAL = 0.2


class Failure(Exception):
    """The demonstration did not go as it must."""


class Stage:
    """One worker and one long job, from the rise of the curtain to its fall.

    `application` is `module:app`, with that lease in seconds; `footer` is shown below the job's bar.
    """

    def __init__(
        self,
        application: str,
        url: str,
        folder: Path,
        screen: Screen,
        *,
        lease: float,
        longest: float,
        footer: Callable[[], str] = lambda: "",
    ) -> None:
        self.screen = screen
        self.folder = folder
        self._application = application
        self._url = url
        self._lease = lease
        self._footer = footer
        self._deadline = time.monotonic() + longest
        self._worker: subprocess.Popen[bytes] | None = None
        self._job: ph.Job[object] | None = None
        self._drawn = 0.0

    @contextmanager
    def open(self) -> Iterator[None]:
        """End everything that was started here, at the end of the block."""
        try:
            with self.screen.open():
                yield
        finally:
            for pid in self._processes():
                _kill(pid)
            if self._worker is not None:
                self._worker.wait(timeout=10)

    # ── the worker ───────────────────────────────────────────────────────────────────────────────────

    def start_worker(self) -> None:
        """Start two runner processes, as a service manager would."""
        command = [
            str(Path(sys.executable).with_name("posthorse")), "worker",
            "--app", self._application, "--url", self._url,
            "--processes", "2", "--concurrency", "1",
        ]  # fmt: skip
        with (self.folder / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.screen.say("a worker starts, with two runner processes")

    def kill_runner(self) -> None:
        """Send SIGKILL to the process that runs the job."""
        self._wait_for_a_slice_to_begin()
        runner = self._runner()
        self.screen.say(f"kill -9 {runner}: the runner dies in the midst of a slice", "red")
        _kill(runner)
        self._see_it_go_on(without=runner)

    def kill_worker(self) -> None:
        """Send SIGKILL to the supervisor and its runners, as when the machine loses power."""
        self._wait_for_a_slice_to_begin()
        runner, doomed = self._runner(), self._processes()
        self.screen.say(f"kill -9 {' '.join(map(str, doomed))}: the whole worker is gone", "red")
        for pid in doomed:
            _kill(pid)
        self._wait_for_worker()
        self.start_worker()
        self.screen.say(f"the dead freed nothing; the lease ends {self._lease:g} s after their last heartbeat")
        self._see_it_go_on(without=runner)

    def deploy(self) -> None:
        """Send SIGTERM, wait for an orderly end, and start a new worker."""
        assert self._worker is not None
        runner = self._runner()
        self.screen.say("SIGTERM, as at a deploy: the worker ends its slice and leaves", "yellow")
        self._worker.terminate()
        code = self._wait_for_worker()
        status = self._status()
        if code != 0 or status.state is not ph.State.PENDING:
            raise Failure(f"the worker ended with exit code {code} and left the job {status.state}, not pending")
        self.screen.say(f"exit code 0; the job waits at {status.progress.done:,}, and no attempt was spent")
        self.start_worker()
        self._see_it_go_on(without=runner)

    # ── the job ──────────────────────────────────────────────────────────────────────────────────────

    def follow(self, job: ph.Job[object]) -> None:
        """Show this job on the screen from now on."""
        self._job = job
        self.screen.say(f"{job.id} is enqueued: committed and synced")

    def play(self, names: Sequence[str]) -> None:
        """Let these events happen to the job on its way, evenly spaced."""
        plays = {
            "kill-runner": self.kill_runner,
            "kill-worker": self.kill_worker,
            "pause": lambda: self.pause(PAUSE),
            "deploy": self.deploy,
        }
        for number, name in enumerate(names, 1):
            self.until_share(number / (len(names) + 1))
            plays[name]()

    def until_share(self, share: float) -> None:
        """Watch until this share of the job is done."""
        self._until(lambda status: (status.progress.fraction or 0.0) >= share, f"the job to reach {share:.0%}")

    def pause(self, seconds: float) -> None:
        """Pause the job, and watch it stand still."""
        assert self._job is not None
        self._job.pause()
        self.screen.say("job.pause()", "yellow")
        paused = self._until(lambda status: status.state is ph.State.PAUSED, "the job to pause")
        self.screen.say(f"paused at {paused.progress.done:,}: none of its code runs, its runner is free")
        end = time.monotonic() + seconds
        still = self._until(lambda _: time.monotonic() >= end, "the pause to end")
        if still.progress.done != paused.progress.done:
            raise Failure(f"the job went on from {paused.progress.done:,} to {still.progress.done:,} while paused")
        before = self.slices_begun()
        self._job.resume()
        self.screen.say("job.resume()", "yellow")
        self._until(lambda _: self.slices_begun() > before, "the job to go on")

    def until_done(self) -> ph.Status:
        """Watch until the job is over."""
        return self._until(lambda status: status.state.is_final, "the job to end")

    def stop_worker(self) -> None:
        """Stop the worker in good order."""
        assert self._worker is not None
        self._worker.terminate()
        self._wait_for_worker()

    # ── what is known ────────────────────────────────────────────────────────────────────────────────

    @property
    def seconds_left(self) -> float:
        """Return the seconds until the demonstration counts as failed."""
        return max(1.0, self._deadline - time.monotonic())

    def slices_begun(self) -> int:
        """Return how many slices began, whether or not they were committed."""
        return len(begun.read(self.folder))

    def last_words(self) -> str:
        """Return the end of the worker's log, for a demonstration that failed."""
        log = self.folder / "worker.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-12:]) if log.exists() else ""

    def _runner(self) -> int:
        return begun.read(self.folder)[-1]

    def _status(self) -> ph.Status:
        assert self._job is not None
        return self._job.status()

    def _wait_for_a_slice_to_begin(self) -> None:
        before = self.slices_begun()
        while self.slices_begun() == before:  # look often, because a slice takes only a moment
            if time.monotonic() > self._deadline:
                raise Failure(f"waited in vain for a slice to begin; the job is {self._status().state}")
            time.sleep(0.001)

    def _see_it_go_on(self, *, without: int) -> None:
        committed = self._status().progress.done
        self._until(lambda _: self._runner() != without, "another runner to take the job")
        self.screen.say(f"runner {self._runner()} goes on from {committed:,}, the last committed slice")

    def _until(self, is_so: Callable[[ph.Status], bool], what: str) -> ph.Status:
        while True:
            status = self._status()
            self._draw(status)
            if is_so(status):
                return status
            if status.state is ph.State.FAILED:
                raise Failure(f"the job failed: {status.error}")
            if time.monotonic() > self._deadline:
                raise Failure(f"waited in vain for {what}; the job is {status.state} at {status.progress}")
            if self._worker is not None and self._worker.poll() is not None:
                raise Failure(f"the worker ended by itself with exit code {self._worker.returncode}")
            time.sleep(LOOK_INTERVAL)

    def _wait_for_worker(self) -> int:
        """Watch until the worker has ended; return its exit code."""
        assert self._worker is not None
        while (code := self._worker.poll()) is None:
            if time.monotonic() > self._deadline:
                raise Failure("the worker does not end")
            if self._job is not None:
                self._draw(self._status())
            time.sleep(LOOK_INTERVAL)
        self._worker = None
        return code

    def _draw(self, status: ph.Status) -> None:
        if time.monotonic() - self._drawn >= DRAW_INTERVAL:
            self._drawn = time.monotonic()
            runners = begun.read(self.folder)
            runner = runners[-1] if runners and runners[-1] in self._processes() else None
            self.screen.draw(status, runner, self._footer())

    def _processes(self) -> list[int]:
        """Return the supervisor and its runners, while they live."""
        if self._worker is None or self._worker.poll() is not None:
            return []
        return [self._worker.pid, *_children(self._worker.pid)]


def in_a_shell(url: str, job: str) -> tuple[str, str]:
    """Return what the audience may try itself: the command, and its call for the job."""
    command = Path(sys.executable).with_name("posthorse")
    if command.is_relative_to(Path.cwd()):
        command = command.relative_to(Path.cwd())
    return command.name, f"{command} show {job[-8:]} --url {url}"


def _children(parent: int) -> list[int]:
    linux = Path(f"/proc/{parent}/task/{parent}/children")
    with suppress(OSError):
        return [int(pid) for pid in linux.read_text().split()]
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True, timeout=10)
    pairs = [line.split() for line in listed.stdout.splitlines()]
    return [int(pid) for pid, its_parent in pairs if int(its_parent) == parent]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
