"""How a worker starts its own processes: the command line, which contains no secret, and the folder."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

ENTRY = Path(__file__).with_name("entry.py")


def current_folder() -> str | None:
    """Return the current folder; None when it is gone."""
    with suppress(OSError):
        return os.getcwd()
    return None


STARTED_IN = current_folder()
"""In a process that a worker started: where it began, whatever the application does to the current folder."""


def command(module: str, descriptor: int) -> list[str]:
    """Return the command of a process that runs `module.main(descriptor)`."""
    return [sys.executable, "-P", str(ENTRY), module, str(descriptor)]


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected sockets that block, whatever `socket.setdefaulttimeout` the application has called."""
    ours, theirs = socket.socketpair()
    ours.setblocking(True)
    theirs.setblocking(True)
    return ours, theirs


def inherited_socket(descriptor: int) -> socket.socket:
    """Take over a socket from the parent; what jobs start does not inherit it again."""
    end = socket.socket(fileno=descriptor)
    end.setblocking(True)
    end.set_inheritable(False)
    return end


def import_before_the_project(backend: str) -> None:
    """Import what is needed later: with the project's folder on the path, its files may hide modules of Python."""
    for module in (backend, "posthorse.worker.checkpoints.sources"):
        with suppress(ImportError):  # what the project itself brings is found later
            importlib.import_module(module)
