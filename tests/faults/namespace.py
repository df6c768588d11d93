"""A network namespace: a machine of its own as far as the network is concerned, on a cable that can be pulled.

It needs Linux and root.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_CLONE_NEWNET = 0x40000000
# The namespace and its cable vanish with its only process, which ends when its input does, and so with these tests.
_HOLDER = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready; read -r _"]


class Namespace:
    """`address` is this machine's, as seen from inside; `network` is what to let in."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cable = f"ph{pid}"
        prefix = f"10.231.{pid % 251}"
        self.address = f"{prefix}.1"
        self.network = f"{prefix}.0/30"
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _run("ip", "address", "add", f"{prefix}.1/30", "dev", self._cable)
        _run("nsenter", "-t", str(pid), "-n", "ip", "address", "add", f"{prefix}.2/30", "dev", "eth0")
        _run("nsenter", "-t", str(pid), "-n", "ip", "link", "set", "eth0", "up")
        self.plug_in()

    def pull_the_cable(self) -> None:
        """Let nothing pass from now on, without notice."""
        _run("ip", "link", "set", self._cable, "down")

    def plug_in(self) -> None:
        """Let everything pass."""
        _run("ip", "link", "set", self._cable, "up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let processes that this thread starts in the block live there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(home)
            os.close(there)
            os.close(home)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace with a cable to this machine. Skip the test if that is not possible."""
    try:
        holder = subprocess.Popen(
            _HOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except FileNotFoundError as missing:
        pytest.skip(f"a network namespace needs {missing.filename}")
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        said = holder.stdout.readline()
        if said != "ready\n":
            pytest.skip(f"a network namespace needs iproute2, and root: {said.strip()}")
        try:
            made = Namespace(holder.pid)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            holder.stdin.close()
            pytest.skip(f"a cable between namespaces cannot be had: {error} {getattr(error, 'stderr', '')}".strip())
        try:
            yield made
        finally:
            holder.stdin.close()


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
