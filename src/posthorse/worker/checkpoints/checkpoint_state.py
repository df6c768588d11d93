"""The checkpoint state of a job: cursors of its loops, kept values and progress, in memory between two checkpoints.

It knows how a checkpoint is encoded, and not where it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from posthorse.rules.cursor import Cursor
from posthorse.rules.loop_state import STEPS, LoopState, decode_loops, encode_loops
from posthorse.rules.packing import JobTexts
from posthorse.rules.progress import Pace
from posthorse.rules.slice_size import SliceSize
from posthorse.rules.tolerance import Others
from posthorse.store.operations.bad_items import BadItemRow
from posthorse.store.operations.checkpoints import BadItemChanges, Checkpoint
from posthorse.worker.checkpoints.kept_values import KeptValues


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What one slice adds to the state."""

    loop: str
    cursor: Cursor
    items: int
    """Items done for the first time; 0 for a retry of bad items."""
    seconds: float
    is_over: bool
    size: SliceSize | None
    """The size of the next slice."""
    bad: Sequence[BadItemRow] = ()
    mended: Sequence[int] = ()
    retried: int | None = None
    """The number of the last bad item that a retry has reached; None for a slice of the source."""
    judge: Callable[[Others], None] | None = None
    """Raises ToleranceExceeded if there are too many bad items in all parts together; None if that cannot be."""

    @property
    def changes(self) -> BadItemChanges | None:
        """The changes to the bad items of the loop; None if there are none."""
        return BadItemChanges(self.loop, self.bad, self.mended) if self.bad or self.mended else None


class CheckpointState:
    """Everything that a checkpoint saves."""

    def __init__(self) -> None:
        self.loops: dict[str, LoopState] = {}
        self.kept = KeptValues()
        self.pace = Pace()
        self.note: str | None = None
        self.declared: set[str] = set()
        """Loops that the code has opened in this attempt so far."""
        self.failed = 0
        """Attempts that failed before this one."""
        self._told: tuple[int, int | None] | None = None

    @classmethod
    def restore(cls, checkpoint: Checkpoint, texts: JobTexts) -> CheckpointState:
        """Restore the state from the last checkpoint. Raises CodecError."""
        state = cls()
        state.loops = decode_loops(checkpoint.cursors)
        for loop in state.loops.values():
            loop.cursor = texts.unpack_cursor(loop.cursor)
            loop.upto = texts.unpack_cursor(loop.upto)
        state.kept = KeptValues(texts.unpack(checkpoint.kept, "kept values"))
        state.pace = Pace.decode(checkpoint.pace)
        state.note = None if checkpoint.note is None else texts.unpack_free(checkpoint.note, "note")
        if not state.loops and (checkpoint.done or checkpoint.total is not None):  # otherwise nothing was reported
            state._told = (checkpoint.done, checkpoint.total)
        return state

    @property
    def done(self) -> int:
        """Items done, in all loops together, or as the job reported."""
        if self._told:
            return self._told[0]
        done = 0
        for loop in self.loops.values():
            if not loop.is_missing:
                done += loop.done
        return done

    @property
    def total(self) -> int | None:
        """Items in total, if all loops that have begun know their own."""
        if self._told:
            return self._told[1]
        total = None
        for loop in self.loops.values():
            if loop.is_missing:
                continue
            if loop.total is None:
                return None
            total = loop.total + (total or 0)
        return total

    def declare(self, name: str) -> None:
        """Note that the code has a loop of this name."""
        self.declared.add(name)
        if name in self.loops:
            self.loops[name].is_missing = False

    def begin_loop(self, name: str) -> tuple[LoopState, list[str]]:
        """Return the state of a loop, and the unfinished loops that the code seems to have dropped or renamed.

        A loop seems dropped if this one is new and the code has not opened the other again. From now on such loops do
        not count as progress.
        """
        if name in self.loops:
            return self.loops[name], []
        missing = [] if self.kept.is_in_slice else self.unfinished()
        for each in missing:
            self.loops[each].is_missing = True
        self.loops[name] = LoopState()
        return self.loops[name], missing

    def unfinished(self) -> list[str]:
        """Return loops that earlier attempts did not finish and that this attempt has not opened."""
        return [
            name
            for name, loop in self.loops.items()
            if not (loop.is_over or loop.is_missing or name in self.declared) and loop.done
        ]

    def tell(self, done: int, total: int | None, note: str | None) -> None:
        """Set the progress as the job itself counts it."""
        self._told = (done, total)
        self.note = note

    def advance(self, done: Slice) -> None:
        """Add a finished slice to the state of its loop."""
        state = self.loops[done.loop]
        state.cursor = done.cursor
        state.done += done.items
        state.is_over = done.is_over
        state.size = done.size
        state.failed = self.failed
        for bad in done.bad:
            state.numbered = max(state.numbered, bad.number)
        if done.retried is None:
            state.bad += len(done.bad)
            self.pace = self.pace.observe(done.items, done.seconds)
        else:
            state.bad -= len(done.mended)
            state.retried = done.retried
            if done.retried >= state.retry_upto:
                state.retried = state.retry_upto = 0

    def forgive(self) -> None:
        """Note that a step of this attempt is kept: it is progress, so earlier failures no longer count."""
        if self.failed:
            self.loops[STEPS] = LoopState(is_missing=True, failed=self.failed)

    def encode(self, loop: str | None, texts: JobTexts) -> Checkpoint:
        """Encode the state, with a slice of this loop or without one. Raises TooLarge, UsageError, CodecError."""
        kept, over = self.kept.to_save(loop)
        for name in over:
            self.loops[name].is_over = True
        note = None if self.note is None else texts.pack_free(self.note, "note")
        loops = self.loops
        if texts.is_on:
            loops = {name: _packed_loop(one, texts) for name, one in loops.items()}
            kept = texts.pack(kept, "kept values")
        return Checkpoint(self.done, self.total, self.pace.encode(), note, encode_loops(loops), kept)


def packed_bad_items(bad: Sequence[BadItemRow], texts: JobTexts) -> Sequence[BadItemRow]:
    """Return bad items as they are stored; the class of an error stays readable. Raises CodecError."""
    return [_packed_bad_item(row, texts) for row in bad]


def _packed_bad_item(row: BadItemRow, texts: JobTexts) -> BadItemRow:
    pack = texts.pack_free if row.form == "text" else texts.pack
    return row._replace(
        item=pack(row.item, "bad item"),
        message=texts.pack_free(row.message, "bad item"),
        traceback=None if row.traceback is None else texts.pack_free(row.traceback, "bad item"),
    )


def _packed_loop(loop: LoopState, texts: JobTexts) -> LoopState:
    if loop.cursor is None and loop.upto is None:
        return loop
    return msgspec.structs.replace(loop, cursor=texts.pack_cursor(loop.cursor), upto=texts.pack_cursor(loop.upto))
