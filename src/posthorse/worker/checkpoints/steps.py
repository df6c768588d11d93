"""Steps: named parts of a job whose results are kept, so that no later attempt repeats them; sleeps, and waits.

1. A step that an earlier attempt kept returns its result. 2. Any other one first stops the job here if it was asked to
stop. 3. It calls its function. 4. The result is committed together with the checkpoint, under the fence. What a step
returns is always decoded from what was stored: the first run and a resumed one get values of the same types.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from posthorse.clock import SECOND, moment
from posthorse.errors import EventTimeout, InvalidCall, InvalidOption, StoreError, TooLarge, UsageError
from posthorse.rules.durations import Duration
from posthorse.rules.job import checked_name
from posthorse.rules.outcomes import Snoozed, Waits
from posthorse.rules.retry import Backoff, as_backoff
from posthorse.rules.steering import Steering
from posthorse.rules.topics import Topic
from posthorse.rules.values.kept import decode_kept, encode_kept
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations.steps import StepRow
from posthorse.worker.checkpoints.journal import Journal

MAX_KEPT = 4 * 1024 * 1024
"""Bytes that the steps of a job may take together."""

RESULT, UNTIL, DEADLINE, EVENT, TIMEOUT = "result", "until", "deadline", "event", "timeout"
ADDED, JOINED = "added", "joined"
"""What is kept of a step: the result of a function; the moment at which a sleep, or the wait for an event, ends; the
payload of the event; or that it did not come in time; the first of the children that were added; how many children had
failed when they were joined.
"""

STEP, SLEEP, WAIT, ADD, JOIN = "ctx.step", "ctx.sleep", "ctx.wait_event", "ctx.add", "ctx.join"
_CALLS = {RESULT: STEP, UNTIL: SLEEP, DEADLINE: WAIT, EVENT: WAIT, TIMEOUT: WAIT, ADDED: ADD, JOINED: JOIN}


class AwaitedEvent(NamedTuple):
    """The event that a step waits for, and where it is sent to: `is_own` if that is this job alone."""

    event: str
    topic: Topic
    is_own: bool


NEVER_TRIED_AGAIN = (Steering, StoreError, UsageError)
"""Errors that end a step at once, because they are meant for the job, or would come again."""


class Tries(NamedTuple):
    """How often a step calls its function before it gives up, and how long it waits between two calls."""

    attempts: int
    backoff: Backoff

    @classmethod
    def of(cls, attempts: object, backoff: Backoff | Duration | Sequence[Duration]) -> Tries:
        """Check what the user gives. Raises InvalidOption."""
        if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
            raise InvalidOption(f"attempts of a step is {short(attempts)}; it must be a whole number from 1")
        return cls(attempts, as_backoff(backoff))


class Steps:
    """The steps of one attempt: those that earlier attempts kept, and those that it adds."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._saved = journal.step_journal()
        self._kept = {row.name: row for row in journal.kept_steps}
        self._size = sum(len(row.value.encode()) for row in journal.kept_steps)
        self._begun: set[str] = set()
        self._postponed: list[StepRow] = []
        """Events that did not come in time, and joins of children that failed. That is kept with the next step: if the
        error ends the attempt, the next attempt looks again."""

    def run(self, name: str, call: Callable[[], object], tries: Tries) -> object:
        """Return the result of a step; call its function unless an earlier attempt kept the result."""
        kept = self.begin(name, STEP)
        if kept is not None:
            return decode_kept(kept.value)
        self._journal.stop.raise_if_asked()
        value = self._call(call, tries)
        if inspect.isawaitable(value):
            getattr(value, "close", _nothing)()
            raise InvalidCall(f"the function of step {name!r} must be awaited; write `await ctx.astep({name!r}, …)`")
        row = self._row(name, value)
        self._saved.keep_steps(self.with_postponed(row))
        return self._keep(row)

    async def arun(self, name: str, call: Callable[[], object], tries: Tries) -> object:
        """Do the same as `run`, in a coroutine."""
        kept = self.begin(name, STEP)
        if kept is not None:
            return decode_kept(kept.value)
        self._journal.stop.raise_if_asked()
        row = self._row(name, await self._acall(call, tries))
        await self._saved.akeep_steps(self.with_postponed(row))
        return self._keep(row)

    def _call(self, call: Callable[[], object], tries: Tries) -> object:
        """Call the function of a step until it returns, as often as it may be tried."""
        failures = 0
        while True:
            try:
                return call()
            except Exception as error:
                failures += 1
                if not _is_tried_again(error, failures, tries):
                    raise
            self._journal.stop.wait(self._pause(failures, tries))

    async def _acall(self, call: Callable[[], object], tries: Tries) -> object:
        failures = 0
        while True:
            try:
                value = call()
                return await value if inspect.isawaitable(value) else value
            except Exception as error:
                failures += 1
                if not _is_tried_again(error, failures, tries):
                    raise
            await self._journal.stop.await_(self._pause(failures, tries))

    # ── sleeping ─────────────────────────────────────────────────────────────────────────────────────

    def sleep(self, name: str, span: int) -> None:
        """Let the job sleep for so many microseconds, from when it came here first."""
        kept = self.begin(name, SLEEP)
        if kept is None:
            self._journal.stop.raise_if_asked()
            kept, now = self._saved.begin_wait(name, UNTIL, span, self._postponed)
            self._keep(kept)
        else:
            now = self._saved.store_now()
        seconds = self._left_in_place(name, int(kept.value), now)
        if seconds > 0:
            self._journal.stop.wait(seconds)

    async def asleep(self, name: str, span: int) -> None:
        """Do the same as `sleep`, in a coroutine."""
        kept = self.begin(name, SLEEP)
        if kept is None:
            self._journal.stop.raise_if_asked()
            kept, now = await self._saved.abegin_wait(name, UNTIL, span, self._postponed)
            self._keep(kept)
        else:
            now = await self._saved.astore_now()
        seconds = self._left_in_place(name, int(kept.value), now)
        if seconds > 0:
            await self._journal.stop.await_(seconds)

    def _left_in_place(self, name: str, until: int, now: int) -> float:
        """Return the seconds to wait here. Raises Interrupted for a longer sleep, which ends the attempt."""
        left = (until - now) / SECOND
        if left > max(0.0, self._journal.sleep_in_place):
            self._journal.stop.raise_if_asked()
            asleep = Snoozed(until - now, f"sleeps: {name}", until)
            self._journal.stop.set_aside(asleep, f"the job sleeps until {moment(until):%Y-%m-%d %H:%M:%S} UTC")
        return left

    # ── waiting for events ───────────────────────────────────────────────────────────────────────────

    def wait_event(self, awaited: AwaitedEvent, span: int | None) -> object:
        """Return the payload of an event; wait without a worker, for so many microseconds from the first time on."""
        name = awaited.event
        kept = self.begin(name, WAIT)
        if kept is not None and kept.form != DEADLINE:
            return _outcome_of(kept)
        found = self._saved.heard(awaited.topic, is_own=awaited.is_own)
        if found.payload is not None:
            row = self._checked(StepRow(name, EVENT, found.payload), "its payload")
            self._saved.keep_steps(self.with_postponed(row))
            return self._keep(row)
        self._journal.stop.raise_if_asked()
        now = found.now
        if kept is None and span is not None:
            kept, now = self._saved.begin_wait(name, DEADLINE, span, self._postponed)
            self._keep(kept)
        return self._set_aside(awaited, None if kept is None else int(kept.value), now)

    async def await_event(self, awaited: AwaitedEvent, span: int | None) -> object:
        """Do the same as `wait_event`, in a coroutine."""
        name = awaited.event
        kept = self.begin(name, WAIT)
        if kept is not None and kept.form != DEADLINE:
            return _outcome_of(kept)
        found = await self._saved.aheard(awaited.topic, is_own=awaited.is_own)
        if found.payload is not None:
            row = self._checked(StepRow(name, EVENT, found.payload), "its payload")
            await self._saved.akeep_steps(self.with_postponed(row))
            return self._keep(row)
        self._journal.stop.raise_if_asked()
        now = found.now
        if kept is None and span is not None:
            kept, now = await self._saved.abegin_wait(name, DEADLINE, span, self._postponed)
            self._keep(kept)
        return self._set_aside(awaited, None if kept is None else int(kept.value), now)

    def _set_aside(self, awaited: AwaitedEvent, until: int | None, now: int) -> NoReturn:
        """End the attempt until the event comes. Raises Interrupted; EventTimeout if the time is over."""
        name = awaited.event
        if until is not None and until <= now:
            late = StepRow(name, TIMEOUT, str(until))
            self._postponed.append(late)
            raise _too_late(late)
        waits = Waits(name, awaited.topic, until)
        self._journal.stop.set_aside(waits, f"the job {waits.reason}")

    # ── of all steps ─────────────────────────────────────────────────────────────────────────────────

    def begin(self, name: str, call: str) -> StepRow | None:
        """Begin a step; return what an earlier attempt kept of it. Raises InvalidOption, InvalidCall."""
        checked_name(name, what="the name of a step")
        if name in self._begun:
            raise InvalidOption(
                f"this attempt had a step {name!r} before, and results are found by their names; give each step a name "
                f'of its own, such as ctx.step(f"{name} {{number}}", …)'
            )
        if self._journal.is_called_in_transaction:
            raise InvalidCall(
                f"step {name!r} is inside a transaction, but a step is a commit of its own; take it before the block, "
                "or write in the block without a step: what it writes is committed with the slice"
            )
        self._begun.add(name)
        kept = self._kept.get(name)
        if kept is not None and _CALLS.get(kept.form) != call:
            raise InvalidOption(
                f"step {name!r} is kept from an earlier attempt as one of {_CALLS.get(kept.form, kept.form)}, and now "
                f"the code has it as one of {call}; give the new one a name of its own"
            )
        return kept

    def with_postponed(self, row: StepRow) -> Sequence[StepRow]:
        """Return a step that is about to be kept, after those that are kept with it."""
        return [*self._postponed, row]

    def postpone(self, row: StepRow) -> None:
        """Keep a step with the next one, because the attempt may yet end here."""
        self._postponed.append(row)

    def keep(self, row: StepRow) -> StepRow:
        """Note that a step is kept."""
        self._size += len(row.value.encode())
        self._postponed.clear()
        return row

    def _pause(self, failures: int, tries: Tries) -> float:
        wait = tries.backoff.wait(failures, random.random())
        return wait.total_seconds() * self._journal.step_pause

    def _row(self, name: str, value: object) -> StepRow:
        """Encode a result. Raises UsageError for one that cannot be kept, TooLarge."""
        try:
            text = encode_kept(value)
        except ValueError as error:
            why = str(error).removeprefix("the value cannot be kept: ")
            raise UsageError(
                f"step {name!r} ran, but its result cannot be kept: {why}; let its function return plain data, such as "
                "the key of what it made"
            ) from None
        return self._checked(StepRow(name, RESULT, text), "its result")

    def _checked(self, row: StepRow, what: str) -> StepRow:
        """Return a step, if there is room for it. Raises TooLarge."""
        size = len(row.value.encode())
        if self._size + size > MAX_KEPT:
            raise TooLarge(
                f"step {row.name!r} cannot be kept: {what} takes {size:,} bytes, and the steps of a job may take "
                f"{MAX_KEPT:,} together ({self._size:,} are kept already); write rows or files, and keep their keys"
            )
        return row

    def _keep(self, row: StepRow) -> object:
        return decode_kept(self.keep(row).value)


def _is_tried_again(error: Exception, failures: int, tries: Tries) -> bool:
    return failures < tries.attempts and not isinstance(error, NEVER_TRIED_AGAIN)


def _outcome_of(kept: StepRow) -> object:
    """Return the payload of the event that an earlier attempt kept. Raises EventTimeout if it kept that none came."""
    if kept.form == TIMEOUT:
        raise _too_late(kept)
    return decode_kept(kept.value)


def _too_late(late: StepRow) -> EventTimeout:
    until = moment(int(late.value))
    return EventTimeout(
        f"the event {late.name!r} did not come until {until:%Y-%m-%d %H:%M:%S} UTC; send it with app.send_event() and "
        "retry the job, or catch ph.EventTimeout and go on without"
    )


def _nothing() -> None:
    """Do nothing: a future has nothing to close."""
