"""Repeated steps without an end: the first are kept as they are, the rest are counted."""

from __future__ import annotations

import msgspec
import pytest

from posthorse.rules.lifecycle import MAX_UNFIT_WAIT, Policy, Spent, decide
from posthorse.rules.outcomes import Stopped, Unfit
from posthorse.rules.repeated_events import KEPT_APART, YIELDED, EventStep, is_endless, next_event, times_in_a_row
from posthorse.rules.tuning import DEFAULTS

YIELD = msgspec.json.encode({"detail": YIELDED, "worker": "w"}).decode()


def test_a_series_has_a_bounded_number_of_steps_and_counts_all() -> None:
    steps: list[EventStep] = []
    for version in range(1, 1001):
        written = next_event("unfit", '{"worker":"w"}', steps[-1] if steps else None)
        if written.instead_of is not None:
            assert steps.pop().version == written.instead_of
        steps.append(EventStep(version, "unfit", written.detail))
    assert len(steps) == KEPT_APART
    assert times_in_a_row("unfit", steps[-1]) == 1000
    assert msgspec.json.decode(steps[-1].detail or "") == {"worker": "w", "times": 1000}


def test_another_step_begins_a_new_series() -> None:
    last = EventStep(7, "snoozed", '{"times":40}')
    assert times_in_a_row("unfit", last) == 0
    assert next_event("unfit", "{}", last) == ("{}", None)
    assert next_event("snoozed", "{}", last) == ('{"times":41}', 7)


@pytest.mark.parametrize(
    ("name", "detail", "endless"),
    [
        ("unfit", None, True),
        ("snoozed", "{}", True),
        ("released", YIELD, True),
        ("released", '{"worker":"w"}', False),  # a deploy
        ("lost", "{}", False),
        ("attempt_failed", "no JSON", False),
        ("released", "no JSON", False),
    ],
)
def test_what_has_a_budget_or_an_end_is_kept_step_by_step(name: str, detail: str | None, endless: bool) -> None:
    assert is_endless(name, detail) is endless


def test_a_release_by_a_deploy_does_not_continue_time_boxes() -> None:
    assert times_in_a_row("released", EventStep(3, "released", '{"worker":"w"}')) == 0


def test_a_time_box_is_told_by_its_reason() -> None:
    assert decide(Spent(), Stopped("yield"), Policy()).reason == YIELDED


def test_what_does_not_fit_is_tried_later_and_later() -> None:
    waits = [decide(Spent(), Unfit("no", times), Policy()).wait or 0 for times in (1, 2, 3, 6, 100, 10**9)]
    assert waits == [DEFAULTS.unfit_wait, 2 * DEFAULTS.unfit_wait, 4 * DEFAULTS.unfit_wait, *[MAX_UNFIT_WAIT] * 3]
    by_chance = decide(Spent(), Unfit("no", 9), Policy(), chance=0.999).wait or 0
    assert 0.7 * MAX_UNFIT_WAIT < by_chance < MAX_UNFIT_WAIT
