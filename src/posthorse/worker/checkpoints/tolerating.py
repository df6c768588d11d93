"""Tolerating bad items: those of one slice are recorded within the budget of their loop; what they wrote is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType

import msgspec

from posthorse.errors import Interrupted, StoreError, ToleranceExceeded
from posthorse.rules.loop_state import LoopState
from posthorse.rules.steering import Steering, leaves
from posthorse.rules.tolerance import Others, Tolerance
from posthorse.rules.values.kept import encode_kept
from posthorse.rules.values.texts import storable
from posthorse.store.operations.bad_items import BadItemRow, keep, mark, undo
from posthorse.worker.base.evidence import evidence_of
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.sources.base import AsyncFindable, Findable, Unreadable

NEVER = (
    Interrupted,
    Steering,
    asyncio.CancelledError,
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    StoreError,
    ToleranceExceeded,
)
"""Errors for which no item is to blame."""

MAX_ITEM = 256 * 1024
MAX_TEXT = 1_000
MAX_TRACEBACK = 4_000


class SliceBadItems:
    """The bad items of one slice."""

    def __init__(
        self,
        loop: str,
        state: LoopState,
        tolerance: Tolerance,
        source: object,
        items: Sequence[object],
        *,
        is_last: bool,
        numbers: Sequence[int] | None,
        is_of_part: bool = False,
    ) -> None:
        self._loop = loop
        self._state = state
        self._tolerance = tolerance
        self._source = source
        self._items = items
        self._is_last = is_last
        self._numbers = numbers
        self._is_of_part = is_of_part
        self._bad: dict[int, BadItemRow] = {}
        self._unreadable = 0
        self.excess: Sequence[BadItemRow] = ()
        """The bad items if there are too many, until they are stored; none in a retry, which has stored ones."""

    @property
    def bad(self) -> Sequence[BadItemRow]:
        """The bad items so far."""
        return tuple(self._bad.values()) if self._bad else ()

    @property
    def mended(self) -> Sequence[int]:
        """The numbers of the items that a retry no longer found bad."""
        return tuple(number for number in self._numbers or () if number not in self._bad)

    @property
    def _bad_so_far(self) -> int:
        """How many bad items the loop has, with those of this slice."""
        return self._state.bad + len(self._bad)

    def mark(self) -> dict[int, BadItemRow]:
        """Return what `undo` needs."""
        return dict(self._bad)

    def undo(self, marked: dict[int, BadItemRow]) -> None:
        """Forget the bad items that were noted since a mark."""
        self._bad = marked

    def note(self, item: object, error: BaseException) -> None:
        """Record a bad item. Raises ToleranceExceeded if it is one too many."""
        place = self._place_of(item)
        if self._numbers is not None and place is not None:
            number = self._numbers[place]
        else:
            number = self._state.numbered + 1 + sum(1 for known in self._bad if known > self._state.numbered)
        form, text = self._stored(item) if place is not None else ("text", _shown(item))
        trace = None if error.__traceback__ is None else error.__traceback__.tb_next or error.__traceback__
        told = evidence_of(error, trace, longest_traceback=MAX_TRACEBACK)
        self._bad[number] = BadItemRow(self._loop, number, 0, form, text, told.type, told.message, told.traceback)
        self.judge(error)

    def note_unreadable(self, records: Sequence[Unreadable]) -> None:
        """Record what the source skipped; the commit judges whether that was too much."""
        self._unreadable = len(records)
        for number, record in enumerate(records, self._state.numbered + 1):
            text, error = storable(record.text[:MAX_TEXT], MAX_TEXT), evidence_of(record.error, None)
            self._bad[number] = BadItemRow(self._loop, number, 0, "text", text, error.type, error.message, None)

    def judge(self, cause: BaseException | None = None) -> None:
        """Raise ToleranceExceeded if there are too many by now."""
        if not (self._bad or self._state.bad):
            return
        if self._is_of_part and self._tolerance.share is not None:
            return  # a share of all parts together
        if self._numbers is None:
            bad = self._bad_so_far
            done = self._state.done + len(self._items) + self._unreadable
        else:  # they were counted when they were first found bad
            bad, done = self._state.bad, self._state.done
        try:
            judge(self._loop, self._tolerance, bad, done, is_over=self._is_last, cause=cause)
        except ToleranceExceeded:
            self.excess = self.bad if self._numbers is None else ()
            raise

    def judge_of_all(self) -> Callable[[Others], None] | None:
        """Return what judges the bad items of all parts, to be called in the commit; None if they are not too many."""
        bad = self._bad_so_far
        if not (bad or self._is_last) if self._tolerance.share is not None else not self._bad:
            return None
        done = self._state.done + len(self._items) + self._unreadable
        return partial(judge_all, self._loop, self._tolerance, bad, done, self._is_last)

    def refuse(self) -> None:
        """Note that the bad items were too many together with those of other parts."""
        self.excess = self.bad

    def keep_excess(self, journal: Journal) -> None:
        """Store the bad items if there were too many: the attempt fails, and its slice is not committed."""
        if self.excess and not journal.is_in_transaction:
            journal.keep_bad(self._loop, self.excess)
            self.excess = ()

    async def akeep_excess(self, journal: Journal) -> None:
        """Do the same as `keep_excess`, in a coroutine."""
        if self.excess and not journal.is_in_transaction:
            await journal.akeep_bad(self._loop, self.excess)
            self.excess = ()

    def _place_of(self, item: object) -> int | None:
        for place, other in enumerate(self._items):
            if other is item and (self._numbers is None or self._numbers[place] not in self._bad):
                return place
        for place, other in enumerate(self._items):
            try:
                if other == item and (self._numbers is None or self._numbers[place] not in self._bad):
                    return place
            except Exception:  # the user's classes may raise anything when compared
                return None
        return None

    def _stored(self, item: object) -> tuple[str, str]:
        """Return how to store an item, as form and text: by the key of its source, by its value, or as its repr."""
        try:
            if isinstance(self._source, Findable | AsyncFindable):
                return "key", msgspec.json.encode(self._source.key_of(item)).decode()
            value = encode_kept(item)
        except Exception:  # a bad item may raise anything
            return "text", _shown(item)
        return ("value", value) if len(value) <= MAX_ITEM else ("text", _shown(item))


class Tolerating:
    """The context manager that `batch.tolerate(…)` returns, for `with` and `async with`."""

    def __init__(
        self, journal: Journal, bad_items: SliceBadItems, item: object, errors: tuple[type[BaseException], ...]
    ) -> None:
        self._journal = journal
        self._bad_items = bad_items
        self._item = item
        self._errors = errors
        self._is_marked = False

    def __enter__(self) -> None:
        if self._journal.is_in_transaction:
            self._journal.run(mark())
            self._is_marked = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        is_tolerated = self._tolerates(error)
        if self._is_marked and (error is None or is_tolerated):
            if error is not None:
                self._journal.run(undo())
            self._journal.run(keep())
        if error is not None and is_tolerated:
            try:
                self._bad_items.note(self._item, error)
            except ToleranceExceeded:
                self._bad_items.keep_excess(self._journal)
                raise
        return is_tolerated

    async def __aenter__(self) -> None:
        if self._journal.is_in_transaction:
            await self._journal.arun(mark())
            self._is_marked = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        is_tolerated = self._tolerates(error)
        if self._is_marked and (error is None or is_tolerated):
            if error is not None:
                await self._journal.arun(undo())
            await self._journal.arun(keep())
        if error is not None and is_tolerated:
            try:
                self._bad_items.note(self._item, error)
            except ToleranceExceeded:
                await self._bad_items.akeep_excess(self._journal)
                raise
        return is_tolerated

    def _tolerates(self, error: BaseException | None) -> bool:
        if not isinstance(error, self._errors) or any(isinstance(part, NEVER) for part in leaves(error)):
            return False
        return not (isinstance(error, TimeoutError) and self._journal.stop.is_overdue)


def judge_all(loop: str, tolerance: Tolerance, bad: int, done: int, is_last: bool, others: Others) -> None:
    """Raise ToleranceExceeded if the bad items of a part and of all others are too many together."""
    judge(loop, tolerance, bad + others.bad, done + others.done, is_over=is_last and others.are_over, where="all parts")


def judge(
    loop: str,
    tolerance: Tolerance,
    bad: int,
    done: int,
    *,
    is_over: bool,
    cause: BaseException | None = None,
    where: str = "",
) -> None:
    """Raise ToleranceExceeded if these are too many bad items among those done."""
    if not tolerance.is_exceeded(bad, done, is_over=is_over):
        return
    where = (f" of loop {loop!r}" if loop else "") + (f" in {where}" if where else "")
    last = "" if cause is None else f"; the last error: {evidence_of(cause, None).type}: {_told(cause)}"
    items, are, them = ("item", "is", "it") if bad == 1 else ("items", "are", "them")
    raise ToleranceExceeded(
        f"{bad:,} bad {items} of {done:,}{where} {are} more than the {tolerance} that it tolerates{last}; mend what "
        f"makes {them} bad and retry the job, or raise tolerate="
    ) from cause


def _told(error: BaseException) -> str:
    return evidence_of(error, None).message[:500]


def _shown(item: object) -> str:
    try:
        return storable(repr(item)[:MAX_TEXT], MAX_TEXT)
    except Exception as broken:
        return f"<an item that cannot be shown: {type(broken).__name__}>"
