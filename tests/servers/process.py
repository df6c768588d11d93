"""The process of a private server: how it is started, guarded and ended. It does not know what the server does.

Servers refuse to run as root, so root starts them under the account `nobody`. A guardian shell holds the other end of a
pipe: if the starting process dies in any way, the guardian ends the server and removes its directory, so that a killed
test run leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

STARTUP_SECONDS = 90.0
SHUTDOWN_SECONDS = 30.0
POLL_SECONDS = 0.005

_NOBODY = 65534
_ACCOUNT = _NOBODY if os.geteuid() == 0 else None
_GROUPS: list[int] | None = [] if _ACCOUNT else None

# $0 is the server's pid, $1 its directory. Normally the guardian is killed before its input ends.
_GUARDIAN = 'read -r _; kill -QUIT "$0" 2>/dev/null; sleep 1; rm -rf "$1"'


class ServerMissing(Exception):
    """This machine lacks the server; the message says what to install."""


class ServerDidNotStart(Exception):
    """The server ended, or was silent, before it was ready; the message contains the end of its log."""


def free_port() -> int:
    """Return a loopback port on which nothing listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def private_directory(name: str) -> Iterator[Path]:
    """Yield a temporary directory that the server's account owns; its path is short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix=f"posthorse-{name}-"))
    try:
        give_to_server(directory)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def give_to_server(path: Path) -> None:
    """Make the server's account own `path`; needed, and possible, for root only."""
    if _ACCOUNT is not None:
        os.chown(path, _ACCOUNT, _ACCOUNT)


def is_reachable_by_server(program: Path) -> bool:
    """Return whether the server's account has access to `program`; it has none below root's own home."""
    program = program.resolve()
    return _ACCOUNT is None or all(step.stat().st_mode & 0o001 for step in (program, *program.parents))


def run_as_server(command: Sequence[str]) -> None:
    """Run a program to its end under the server's account; raise `ServerDidNotStart` if it fails."""
    done = subprocess.run(
        command, user=_ACCOUNT, group=_ACCOUNT, extra_groups=_GROUPS, cwd="/", capture_output=True, text=True
    )
    if done.returncode != 0:
        raise ServerDidNotStart(f"{command[0]} failed with exit code {done.returncode}:\n{done.stderr}")


class ServerProcess:
    """One running server process and its guardian."""

    def __init__(self, command: Sequence[str], *, directory: Path) -> None:
        self.log = directory / "log"
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(
                command,
                user=_ACCOUNT,
                group=_ACCOUNT,
                extra_groups=_GROUPS,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the tests; they end the server in their own order
            )
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDIAN, str(self.pid), str(directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Return as soon as the server is ready; raise `ServerDidNotStart` after ending it otherwise."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.end(signal.SIGKILL)
                raise ServerDidNotStart(f"{self._process.args!r} did not become ready:\n{self._read_log()}")
            time.sleep(POLL_SECONDS)

    def end(self, wish: signal.Signals) -> None:
        """Send `wish`, wait, and kill the server if it ignores that. Ending it twice is fine."""
        self._guardian.kill()
        self._guardian.communicate()
        self._process.send_signal(wish)
        try:
            self._process.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill_with_children(self) -> None:
        """SIGKILL the server and the processes that it started, none of which can clean up."""
        self._process.send_signal(signal.SIGSTOP)  # so that it starts no child while they are counted
        children: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children()
        self.end(signal.SIGKILL)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def _read_log(self) -> str:
        return self.log.read_bytes()[self._log_begins :].decode(errors="replace")
