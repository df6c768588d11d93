"""The figures of a process family are those of all members, and a member that ends meanwhile does not spoil them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from bench.processes import family, open_files, processor_time, proportional_size

PARENT = """
import signal, subprocess, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE) as child:
    sys.stdin.read()
"""
CHILD = """
import os, sys
held = bytearray(b"x") * 50_000_000
while sum(os.times()[:2]) < 0.3:
    pass
sys.stdout.write("ready")
sys.stdout.close()
sys.stdin.read()
"""


@pytest.fixture
def parent() -> Iterator[int]:
    """Start a process that does nothing, with a child that worked for 0.3 s and uses 50 MB."""
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == "ready"
        yield process.pid


def test_a_family_is_a_process_and_all_below_it(parent: int) -> None:
    processes = family(os.getpid())
    assert processes[0].pid == os.getpid()
    assert [process.ppid() for process in processes if process.pid == parent] == [os.getpid()]
    assert parent in [process.ppid() for process in processes]


def test_figures_are_of_parent_and_child(parent: int) -> None:
    both = family(parent)
    assert len(both) == 2
    assert processor_time(both) >= 0.3
    assert proportional_size(both) > 50_000_000
    assert open_files(both) == open_files(both[:1]) + open_files(both[1:]) > 4


def test_a_process_that_ended_counts_nothing_and_takes_nothing_from_others(parent: int) -> None:
    one, other = family(parent)
    other.kill()
    other.wait()
    for figure in (processor_time, proportional_size, open_files):
        assert figure([other]) == 0
        assert figure([other, one]) == pytest.approx(figure([one]), rel=0.1)


def test_what_may_not_be_looked_into_counts_nothing(parent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: psutil.Process) -> int:
        raise psutil.AccessDenied(process.pid)  # only root may look at a process that has ended and was not reaped

    monkeypatch.setattr(psutil.Process, "num_fds", refuse)
    assert open_files(family(parent)) == 0
