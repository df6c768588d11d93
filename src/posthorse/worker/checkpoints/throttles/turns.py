"""The turns of one loop under throttles: before each slice it waits until all is calm, after it takes tokens for its
items.

A short wait is spent with the worker, in pieces that hear a stop. For a longer one the job leaves, with the reason.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from posthorse.clock import SECOND, monotonic
from posthorse.errors import InvalidOption
from posthorse.rules.outcomes import Snoozed
from posthorse.rules.throttle import (
    Ceiling,
    Leave,
    Reading,
    Throttle,
    ThrottleFunction,
    Wait,
    busy,
    in_words,
    nap_or_leave,
    requirement_of_items,
    wait_for_items,
    wait_of_answer,
)
from posthorse.store.operations.throttles import take_items
from posthorse.worker.checkpoints.throttles.drivers import FunctionFailed, WaitCalls
from posthorse.worker.checkpoints.throttles.measuring import AwaitedReading, Measurement

if TYPE_CHECKING:
    from posthorse.rules.gates import Requirement
    from posthorse.worker.checkpoints.journal import Journal

Steps = Generator[object, object, None]


class ThrottledTurns:
    """The turns of one loop. `own`: the throttle of the loop, beside that of its queue, which may change meanwhile."""

    def __init__(
        self, journal: Journal, own: Throttle | ThrottleFunction | None, loop: str, waiting: WaitCalls
    ) -> None:
        self._journal = journal
        self._own = own
        self._loop = loop
        self._do = waiting
        self._goes_on_at: dict[str, float] = {}
        """When the items that were done have their tokens, by gate, in monotonic seconds."""

    def begin(self) -> Steps:
        """Wait before a slice. Raises Interrupted if the job leaves, or must stop."""
        waited = 0.0
        while (wait := (yield from self._wait())) is not None:
            tuning = self._journal.tuning
            step = nap_or_leave(
                wait, waited, chance=random.random(), in_place=tuning.throttle_in_place, away=tuning.throttle_away
            )
            if isinstance(step, Leave):
                why = in_words(wait)
                self._journal.stop.set_aside(Snoozed(round(step.seconds * SECOND), why), why)
            yield self._do.sleep(step.seconds)
            if step.is_enough:
                return
            waited += step.seconds

    def took(self, items: int) -> Steps:
        """Take tokens for the items of a slice that was committed."""
        for throttle, scope in self._throttles():
            if isinstance(throttle, Throttle) and throttle.rate is not None and items:
                yield from self._take(requirement_of_items(throttle.rate, *scope), items)

    def _throttles(self) -> Iterator[tuple[Throttle | ThrottleFunction, Sequence[str]]]:
        """Yield the throttles that hold now, each with what its items are counted for."""
        lane = self._journal.lane
        of_queue = self._journal.queue_throttle
        if of_queue is not None:
            yield of_queue, ("queue", lane.queue)
        if self._own is not None:
            yield self._own, ("kind", lane.kind, *((self._loop,) if self._loop else ()))

    def _wait(self) -> Generator[object, object, Wait | None]:
        """Return why to wait: the first cause whose end is not known, or the longest of the others."""
        longest: Wait | None = None
        for throttle, scope in self._throttles():
            if isinstance(throttle, Throttle):
                wait = yield from self._of_throttle(throttle, scope)
            else:
                wait = yield from self._of_function(throttle)
            if wait is None:
                continue
            if wait.seconds is None:
                return wait
            if longest is None or wait.seconds > cast("float", longest.seconds):
                longest = wait
        return longest

    def _of_throttle(self, throttle: Throttle, scope: Sequence[str]) -> Generator[object, object, Wait | None]:
        if throttle.ceilings:
            wait = busy(throttle, (yield from self._readings(throttle)))
            if wait is not None:
                return wait
        if throttle.rate is None:
            return None
        requirement = requirement_of_items(throttle.rate, *scope)
        if requirement.gate not in self._goes_on_at:  # the first turn: others may have used all tokens
            yield from self._take(requirement, 0)
        return wait_for_items(throttle.rate, self._goes_on_at[requirement.gate] - monotonic())

    def _readings(self, throttle: Throttle) -> Generator[object, object, dict[Ceiling, Reading]]:
        found: Sequence[tuple[Ceiling, Measurement]] = self._journal.measuring.of(throttle)
        now = monotonic()
        awaited: list[AwaitedReading] = [one for _, each in found if (one := each.refresh(now)) is not None]
        if awaited:
            yield self._do.settle(awaited)
        now = monotonic()
        return {ceiling: each.reading(now) for ceiling, each in found}

    def _of_function(self, function: ThrottleFunction) -> Generator[object, object, Wait | None]:
        answer = yield self._do.call(function)
        try:
            wait = None if isinstance(answer, FunctionFailed) else wait_of_answer(answer)
        except InvalidOption as error:
            answer = FunctionFailed(error)
            wait = None
        if isinstance(answer, FunctionFailed):
            self._journal.measuring.note_failure(function, answer.error)
        else:
            self._journal.measuring.note_success(function)
        return wait

    def _take(self, requirement: Requirement, items: int) -> Steps:
        seconds = cast("float", (yield self._do.write(take_items(requirement, items))))
        self._goes_on_at[requirement.gate] = monotonic() + seconds
