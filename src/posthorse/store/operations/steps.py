"""Steps of jobs: named results, stored beside the checkpoint, so that no later attempt repeats them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from posthorse.store.base import QuerySteps, TypedQuery, query_rows


class StepRow(NamedTuple):
    """A step as stored. `form` says what `value` holds: "result", or "until", the moment at which a sleep ends."""

    name: str
    form: str
    value: str


STEPS = TypedQuery("steps", StepRow)


def keep_steps(job: str, epoch: int, steps: Sequence[StepRow]) -> QuerySteps[None]:
    """Write steps as a part of the commit of a checkpoint, which holds the lease of the attempt."""
    yield query_rows("keep_steps", [(job, step.name, epoch, step.form, step.value) for step in steps])
