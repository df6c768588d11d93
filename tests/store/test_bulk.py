"""A job that changed between the look and the lock is skipped, as on a store that others write to meanwhile."""

from __future__ import annotations

import pytest

from posthorse.rules.job import State
from posthorse.store.operations.bulk import Steered, steer
from posthorse.store.operations.one_job import LockedJob
from posthorse.store.queries import Row

JOB = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


@pytest.mark.parametrize(
    ("wanted", "stored", "lease"),
    [
        (State.FAILED, "cancelled", []),  # if it was retried, it would come back against a user's wish
        (State.PENDING, "pending", [(1, "a runner")]),  # it has started: cancelling waiting jobs does not mean it
        (State.PROCESSING, "pending", []),
    ],
)
def test_a_job_that_is_no_more_as_it_was_found_is_passed_over(wanted: State, stored: str, lease: list[Row]) -> None:
    answers: dict[str, list[Row]] = {
        "lock_family": [],
        "lock_job": [LockedJob(stored, 1, 1, None, 0, "default", "work", 0, 0, "", 0)],
        "held_lease": lease,
    }
    steps = steer([JOB], wanted, "retry").start()
    asked = next(steps)
    for _ in range(2):
        asked = steps.send(answers[asked.query])
    with pytest.raises(StopIteration) as stop:
        steps.send(answers[asked.query])
    assert stop.value.value == Steered(0, 0)
