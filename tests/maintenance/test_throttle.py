"""The throttle of chores: an interval, and a rest in proportion to what the last turn took."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest

from posthorse.maintenance.chores import base
from posthorse.maintenance.chores.base import REST, ChorePace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(base, "monotonic", lambda: clock.now)
    return clock


def test_a_quick_turn_is_followed_by_another_after_the_interval(clock: SimpleNamespace) -> None:
    throttle = ChorePace()
    assert throttle.due_in(10) == 10
    clock.now += 12
    assert throttle.due_in(10) == -2
    with throttle.turn():
        clock.now += 0.25
    assert throttle.due_in(10) == 9.75


def test_a_slow_turn_is_followed_by_a_rest_of_twenty_times_as_long(clock: SimpleNamespace) -> None:
    throttle = ChorePace()
    with throttle.turn():
        clock.now += 2
    assert throttle.due_in(10) == REST * 2
    assert throttle.due_in(10, rest=10) == 20
    assert throttle.due_in(60) == 58


def test_a_turn_that_failed_slowly_is_tried_again_after_the_interval(clock: SimpleNamespace) -> None:
    throttle = ChorePace()
    with suppress(OSError), throttle.turn():
        clock.now += 5
        raise OSError("away")
    assert throttle.due_in(10) == 5
