"""Giving away: a part that lags gives half of what it has left to a new part, between two slices.

The part itself looks now and then whether places are free, because other parts have ended. What it keeps and the part
that has the rest are one commit, so every item has one owner at any moment.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, cast

from posthorse import ids
from posthorse.clock import monotonic
from posthorse.failpoints import failpoint
from posthorse.rules.cursor import Cursor
from posthorse.rules.loop_state import LoopState
from posthorse.rules.pace import Pace
from posthorse.rules.parts import Part, PartNow, Worth, should_share
from posthorse.rules.ranges import MOST_PARTS, Range
from posthorse.store.base import Operation
from posthorse.store.operations.part_checkpoints import FamilyOfPart, Gift, Given, PartLeft, give_away, parts_left
from posthorse.store.operations.read import arguments
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.splitting import Sharding, as_part, checked_ranges, packed_range, splittable

if TYPE_CHECKING:
    from posthorse.worker.checkpoints.drivers import Driver
    from posthorse.worker.checkpoints.sources import AsyncSource, Source

T = TypeVar("T")
log = logging.getLogger("posthorse.job")

PAUSE_AFTER_FAILURE = 10
"""After a look in vain at a source, the next one comes so many times later."""


class Halves(NamedTuple):
    """What a part has left, cut in two."""

    kept: Range
    given: Range


class PendingGift:
    """A gift that is about to be committed, together with what the part keeps."""

    def __init__(self, journal: Journal, gift: Gift) -> None:
        self._journal = journal
        self._gift = gift
        self.is_taken = False
        """Whether the new part has it now."""

    def commit(self) -> None:
        """Commit it, unless enough parts run by now. Raises Interrupted if the lease is lost."""
        self._begin()
        self._take(self._journal.run(self._giving()))

    async def acommit(self) -> None:
        """Do the same as `commit`, in a coroutine."""
        async with self._journal.turn:
            self._begin()
            self._take(await self._journal.arun(self._giving()))

    def _begin(self) -> None:
        self._journal.begin_commit(None)
        self._journal.be_doubtful(True)  # until it is known whether the rest of the range is another part's
        failpoint("before_share_commit")

    def _giving(self) -> Operation[Given]:
        journal, loop = self._journal, self._loop
        mine = copy(loop)
        self._narrow()
        try:
            kept = journal.state.encode(None, journal.texts)
        finally:
            loop.become(mine)
        return give_away(journal.fence, kept, self._gift, told=journal.watched.submitted)

    def _take(self, given: Given) -> None:
        failpoint("after_share_commit")
        self._journal.be_doubtful(False)
        if given is Given.LOST:
            self._journal.take_reply(None, None)
        if given is Given.HALF:
            self._narrow()
            self.is_taken = True

    def _narrow(self) -> None:
        self._loop.upto, self._loop.total = self._gift.upto, self._gift.total

    @property
    def _loop(self) -> LoopState:
        return self._journal.state.loops[self._gift.part.loop]


class Giving(Generic[T]):
    """What one part gives away in one attempt. whole: its source, before it was reduced to the range of the part."""

    def __init__(
        self, journal: Journal, whole: Source[T] | AsyncSource[T], sharding: Sharding, part: Part, range: Range
    ) -> None:
        self._journal = journal
        self._whole = whole
        self._sharding = sharding
        self._part = part
        self._range = range
        self._interval = journal.tuning.share_interval
        self._looks_at = monotonic() + self._interval

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return monotonic() >= self._looks_at

    def give(self, driver: Driver, state: LoopState) -> Generator[object, object, Source[T] | AsyncSource[T] | None]:
        """Give half of the rest away if that is worth it; return the source of what is kept, None if all is."""
        self._looks_at = monotonic() + self._interval
        wanted = self._part.of
        left = cast(
            "tuple[FamilyOfPart, list[PartLeft]] | None", (yield driver.ask(parts_left(self._journal.job, wanted)))
        )
        if left is None:
            return None
        family, parts = left
        if family.total >= MOST_PARTS:
            return None
        wanted = family.width or wanted
        if should_share(self._standing(parts, state), wanted, self._worth) != self._journal.job:
            return None
        halves = yield from self._halve(driver, cast("Cursor", state.cursor))
        if halves is None:
            return None
        text = cast("str", (yield driver.ask(arguments(self._journal.job))))
        gift = self._gift(halves, state, family, text, wanted)
        pending = PendingGift(self._journal, gift)
        yield driver.commit(pending)
        if not pending.is_taken:
            return None
        self._range = Range(self._range.after, gift.upto, gift.total)
        log.info("job %s: part %d has half of what was left", self._journal.job, gift.part.number)
        return splittable(self._whole).within(self._range)

    @property
    def _worth(self) -> Worth:
        return Worth(self._journal.tuning.shared_seconds, self._journal.tuning.shared_slices)

    def _standing(self, parts: Sequence[PartLeft], state: LoopState) -> dict[str, PartNow]:
        """Return how far the parts are: this one as it is in memory."""
        found = {
            row.job: PartNow(
                done=row.done or 0,
                total=row.total,
                pace=Pace() if row.pace is None else Pace.decode(row.pace),
                is_running=bool(row.is_running),
            )
            for row in parts
        }
        found[self._journal.job] = PartNow(
            done=state.done, total=state.total, pace=self._journal.state.pace, is_running=True
        )
        return found

    def _halve(self, driver: Driver, cursor: Cursor) -> Generator[object, object, Halves | None]:
        """Cut what is left in two; None if the source cannot: giving away is never worth an error."""
        whole = Range(self._range.after if cursor is None else cursor, self._range.upto)
        try:
            found = checked_ranges((yield driver.split(self._whole, 2, whole.after, whole.upto)), whole, 2)
        except Exception as error:
            log.warning("job %s: what is left cannot be cut in two, so it keeps all: %s", self._journal.job, error)
            found = ()
        finally:
            self._whole.close()
        if len(found) < 2:
            self._looks_at = monotonic() + PAUSE_AFTER_FAILURE * self._interval
            return None
        return Halves(*found)

    def _gift(self, halves: Halves, state: LoopState, family: FamilyOfPart, arguments: str, wanted: int) -> Gift:
        job, mine, sharding = ids.new_id(), self._part, self._sharding
        texts = self._journal.texts.of_sibling(job)
        plain = self._journal.texts.unpack(arguments, "arguments")
        part = Part(family.total, mine.loop, packed_range(halves.given, texts), given_by=mine.number, of=mine.of)
        packed = texts.pack(plain, "arguments") if texts.is_on else plain
        new = as_part(job, part, packed, self._journal.lane, sharding.options, sharding.tags, family.job)
        total = None if halves.kept.total is None else state.done + halves.kept.total
        return Gift(part, new, halves.kept.upto, total, wanted)
