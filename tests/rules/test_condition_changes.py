"""When conditions begin and are over: decided from what a look found, and from what was reported before."""

from __future__ import annotations

import pytest

from posthorse.clock import SECOND, micros_of
from posthorse.errors import InvalidOption
from posthorse.rules.condition_changes import (
    UNATTENDED_AFTER,
    ConditionChange,
    jobs_behind,
    queues_late,
    schedules_unattended,
)
from posthorse.rules.condition_events import JobBehind, QueueLate
from posthorse.rules.conditions import JobBehindRule, LaneWait, LongJob, QueueLateRule, ScheduleSeen, checked_limit
from posthorse.rules.pace import Pace
from posthorse.rules.schedules import Policies
from posthorse.rules.timing import Timing

MINUTE = 60 * SECOND
NOW = 1_000_000 * MINUTE
LATE = QueueLateRule("tell", 5 * MINUTE)
BEHIND = JobBehindRule("tell", 60 * MINUTE, kinds=frozenset({"convert"}))


def waits(*minutes: float, queue: str = "mail") -> list[LaneWait]:
    return [LaneWait(queue, f"job {minute}", NOW - round(minute * MINUTE), NOW) for minute in minutes]


def brief(changes: list[ConditionChange]) -> list[tuple[str, bool]]:
    return [(change.subject, change.is_over) for change in changes]


@pytest.mark.parametrize(
    ("minutes", "is_open", "expected"),
    [
        ((5,), False, []),
        ((5.1,), False, [("mail", False)]),
        ((1, 9, 2), False, [("mail", False)]),
        ((5.1,), True, []),
        ((4,), True, []),
        ((2.5,), True, []),
        ((2.4,), True, [("mail", True)]),
        ((), True, [("mail", True)]),
        ((), False, []),
    ],
)
def test_a_queue_is_late_beyond_its_limit_and_in_time_below_half_of_it(
    minutes: tuple[float, ...], expected: list[tuple[str, bool]], *, is_open: bool
) -> None:
    open = {"mail": NOW - MINUTE} if is_open else {}
    found = [*queues_late(LATE, waits(*minutes), open, NOW)]
    assert brief(found) == expected
    for change in found:
        event = change.event
        assert isinstance(event, QueueLate)
        assert micros_of(event.since) == change.since
        assert event.is_over == is_open


def test_a_rule_that_no_longer_counts_a_queue_ends_its_condition() -> None:
    other = QueueLateRule("tell", 5 * MINUTE, frozenset({"photos"}))
    assert brief([*queues_late(other, waits(9), {"mail": NOW}, NOW)]) == [("mail", True)]


def long_job(state: str = "processing", *, minutes: int = 30, done: int = 10, kind: str = "convert") -> LongJob:
    """Return a job that began so many minutes ago and was as quick all the time, of a hundred items."""
    pace = Pace()
    for _ in range(done):
        pace = pace.observe(1, minutes * 60 / done)
    return LongJob("job", state, kind, "q", None, NOW - minutes * MINUTE, done, 100, pace.encode(), NOW, NOW)


def test_a_job_is_behind_by_its_forecast_and_in_time_if_even_the_latest_is() -> None:
    [change] = jobs_behind(BEHIND, [long_job(done=10)], {}, NOW)
    assert isinstance(change.event, JobBehind)
    assert change.event.eta is not None
    assert 4 * 60 < (change.event.eta - change.event.at).total_seconds() / 60 < 5 * 60
    assert [*jobs_behind(BEHIND, [long_job(done=90)], {}, NOW)] == []
    assert brief([*jobs_behind(BEHIND, [long_job(done=99)], {"job": NOW}, NOW)]) == [("job", True)]
    assert [*jobs_behind(BEHIND, [long_job(minutes=55, done=92)], {"job": NOW}, NOW)] == [], "it may still be late"


def test_a_job_without_a_forecast_is_behind_when_its_time_is_over() -> None:
    def unknown(minutes: int) -> LongJob:
        return long_job(minutes=minutes)._replace(done=None, total=None, pace=None, updated_at=None)

    assert [*jobs_behind(BEHIND, [unknown(60)], {}, NOW)] == []
    [change] = jobs_behind(BEHIND, [unknown(61)], {}, NOW)
    assert isinstance(change.event, JobBehind)
    assert change.event.eta is None


@pytest.mark.parametrize(
    ("state", "is_over"), [("paused", False), ("pending", False), ("completed", True), ("failed", True)]
)
def test_a_job_that_waits_to_go_on_stays_behind(state: str, *, is_over: bool) -> None:
    assert bool(jobs_behind(BEHIND, [long_job(state)], {"job": NOW}, NOW)) == is_over
    assert [*jobs_behind(BEHIND, [long_job(state)], {}, NOW)] == []


def test_a_job_that_is_gone_is_over_in_silence_and_others_do_not_count() -> None:
    assert [*jobs_behind(BEHIND, [], {"job": 7}, NOW)] == [ConditionChange("tell", "job", 7, NOW, True, None)]
    assert [*jobs_behind(BEHIND, [long_job(kind="other")], {}, NOW)] == []


def test_a_schedule_is_unattended_after_its_grace_and_a_while() -> None:
    hourly = ScheduleSeen("hourly", Timing(every=60 * MINUTE), Policies(grace=MINUTE), NOW)
    due = hourly.timing.next_after(NOW)
    assert due is not None
    edge = due + MINUTE + UNATTENDED_AFTER
    assert [*schedules_unattended("tell", [hourly], {}, edge)] == []
    [change] = schedules_unattended("tell", [hourly], {}, edge + 1)
    assert [*schedules_unattended("tell", [hourly], {change.subject: due}, edge + 1)] == []
    assert brief([*schedules_unattended("tell", [], {change.subject: due}, edge)]) == [(change.subject, True)]


def test_limits_are_between_a_second_and_a_year() -> None:
    assert checked_limit("5m", name="after") == 5 * MINUTE
    for wrong in ("0.5s", "366d"):
        with pytest.raises(InvalidOption, match=r"after is .*; it must lie between 1s and 365d"):
            checked_limit(wrong, name="after")
