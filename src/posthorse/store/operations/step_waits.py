"""The waits of steps, for a sleep or for an event: their end is decided by the store's clock, and noted as a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from posthorse.store.base import QuerySteps, creating_no_work, operation
from posthorse.store.operations.checkpoints import Checkpoint, Saved, checkpoint
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.steps import StepRow
from posthorse.store.operations.store_facts import now


class BegunWait(NamedTuple):
    """A wait that began: the step that notes its end, and the store's clock, in microseconds."""

    saved: Saved
    step: StepRow
    now: int


@creating_no_work
@operation
def begin_wait(
    attempt: Fence, at: Checkpoint, name: str, form: str, span: int, steps: Sequence[StepRow]
) -> QuerySteps[BegunWait | None]:
    """Keep the moment at which a wait of so many microseconds ends, and other steps; None if the lease has ended."""
    moment = yield from now()
    step = StepRow(name, form, str(moment + span))
    saved = yield from checkpoint(attempt, at, steps=[*steps, step]).start()
    return None if saved is None else BegunWait(saved, step, moment)
