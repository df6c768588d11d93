"""Launch: the command and sockets with which a worker starts its own processes. No secret is on the command line."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

ENTRY = Path(__file__).with_name("entry.py")


def current_folder() -> str | None:
    """Return the current folder; None if it was removed."""
    with suppress(OSError):
        return os.getcwd()
    return None


STARTED_IN = current_folder()
"""Where the worker was started, whatever the application does to the current folder of this process."""


def command(module: str, descriptor: int) -> list[str]:
    """Return the command of a process that runs `module.main(descriptor)`."""
    return [sys.executable, "-P", str(ENTRY), module, str(descriptor)]


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected sockets that block, even if the application called `socket.setdefaulttimeout`."""
    ours, theirs = socket.socketpair()
    ours.setblocking(True)
    theirs.setblocking(True)
    return ours, theirs


def inherited_socket(descriptor: int) -> socket.socket:
    """Take over a socket from the parent; processes that jobs start do not inherit it."""
    end = socket.socket(fileno=descriptor)
    end.setblocking(True)
    end.set_inheritable(False)
    return end


def import_before_the_project(backend: str) -> None:
    """Import what is needed later: once the project's folder is on the path, its files may hide modules of Python."""
    for module in (backend, "posthorse.worker.checkpoints.sources"):
        with suppress(ImportError):  # a backend in the project itself is found later
            importlib.import_module(module)
