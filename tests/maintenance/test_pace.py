"""The pace of chores: an interval, and a rest in proportion to what the last turn took."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest

from posthorse.maintenance.chores import base
from posthorse.maintenance.chores.base import REST, Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(base, "monotonic", lambda: clock.now)
    return clock


def test_a_quick_turn_is_followed_by_another_after_the_interval(clock: SimpleNamespace) -> None:
    pace = Pace()
    assert pace.due_in(10) == 10
    clock.now += 12
    assert pace.due_in(10) == -2
    with pace.turn():
        clock.now += 0.25
    assert pace.due_in(10) == 9.75


def test_a_slow_turn_is_followed_by_a_rest_of_twenty_times_as_long(clock: SimpleNamespace) -> None:
    pace = Pace()
    with pace.turn():
        clock.now += 2
    assert pace.due_in(10) == REST * 2
    assert pace.due_in(10, rest=10) == 20
    assert pace.due_in(60) == 58


def test_a_turn_that_failed_slowly_is_tried_again_after_the_interval(clock: SimpleNamespace) -> None:
    pace = Pace()
    with suppress(OSError), pace.turn():
        clock.now += 5
        raise OSError("away")
    assert pace.due_in(10) == 5
