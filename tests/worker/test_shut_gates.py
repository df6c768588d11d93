"""Shut gates: a lane before one is left out until it may open, and no longer."""

from __future__ import annotations

from math import inf

from posthorse.rules.job import Lane
from posthorse.worker.claiming.shut_gates import ShutGates

LANES = [(number, Lane("mail", "letter", number)) for number in (1, 2, 3)]


def passable(gates: ShutGates, now: float) -> list[int]:
    return [number for number, _ in gates.passable(LANES, now)]


def test_a_lane_is_left_out_until_its_gate_may_open() -> None:
    gates = ShutGates()
    gates.shut([1], until=10.5)
    gates.shut([3], until=10.2)
    assert passable(gates, 10.1) == [2]
    assert passable(gates, 10.2) == [2, 3]
    assert passable(gates, 10.5) == [1, 2, 3]


def test_the_runner_looks_again_when_the_first_may_open() -> None:
    gates = ShutGates()
    assert (gates.opens_at(), bool(gates)) == (inf, False)
    gates.shut([1], until=10.5)
    gates.shut([3], until=10.2)
    assert (gates.opens_at(), bool(gates)) == (10.2, True)
    assert [number in gates for number in (1, 2, 3)] == [True, False, True]


def test_once_a_job_left_a_gate_all_lanes_are_looked_into() -> None:
    gates = ShutGates()
    gates.shut([1, 2, 3], until=99.0)
    assert passable(gates, 10.0) == []
    gates.reopen()
    assert passable(gates, 10.0) == [1, 2, 3]
    assert gates.opens_at() == inf
