"""The lease of a runner: one that was stopped reads what its supervisor sent meanwhile before it gives the lease up."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from posthorse.processes.control_pipe import ControlPipe
from posthorse.processes.runner import RunnerMain

Ends = tuple[ControlPipe, ControlPipe]


@pytest.fixture
def ends() -> Iterator[Ends]:
    supervisor, socket = ControlPipe.pair()
    runner = ControlPipe(socket)
    yield supervisor, runner
    supervisor.close()
    runner.close()


def frozen_since_its_lease_ended(control_pipe: ControlPipe) -> RunnerMain:
    process = object.__new__(RunnerMain)
    process._control_pipe = control_pipe
    process._until = time.monotonic() - 60
    process._is_taken_away = False
    return process


def test_mail_is_told_until_it_is_read(ends: Ends) -> None:
    supervisor, runner = ends
    assert not runner.has_mail()
    supervisor.send(lease_until=1.5)
    assert runner.has_mail()
    assert runner.receive() == [{"lease_until": 1.5}]
    assert not runner.has_mail()


def test_lease_is_not_judged_before_the_mail_is_read(ends: Ends) -> None:
    supervisor, runner = ends
    process = frozen_since_its_lease_ended(runner)
    supervisor.send(lease_until=time.monotonic() + 10)
    assert not process._is_over()
    runner.receive()
    assert process._is_over()


def test_lease_that_the_mail_renewed_stands(ends: Ends) -> None:
    process = frozen_since_its_lease_ended(ends[1])
    process._until = time.monotonic() + 10
    assert not process._is_over()
