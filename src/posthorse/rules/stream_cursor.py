"""Places in the stream, and cursors: their form as text. Pure.

A place is what a reader reads next: from row `place` of a tick on, without the first `skip` jobs of that row. Where
there is one writer at a time there are no ticks; then the tick is 0. A cursor also names the life of the stream,
because the numbers of a restored store begin again. Users pass it on as it is.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

_FORM = re.compile(r"([0-9a-z]{1,32})-(\d{1,19})-(\d{1,19})-(\d{1,9})(?:-(\d{1,19}))?")

Why = Literal["too old", "too new", "another store", "not watched"]
"""Why events were missed: a cursor cannot be read from, or the stream was not watched while a reader followed it."""


class StreamPlace(NamedTuple):
    """What a reader reads next. Places of one life are ordered as the stream is."""

    tick: int
    place: int = 0
    skip: int = 0


class StreamCursor(NamedTuple):
    """A place, and the life of the stream that it is in.

    mark: when the row before the place was told; 0 if that is not known. A file that was restored from a backup gives
    the same places again, to other rows.
    """

    life: str
    place: StreamPlace
    mark: int = 0

    def __str__(self) -> str:
        tick, place, skip = self.place
        return f"{self.life}-{tick}-{place}-{skip}" + (f"-{self.mark}" if self.mark else "")


class Kept(NamedTuple):
    """Which part of the stream can be read: from `oldest` on, and `newest` is what comes next."""

    oldest: StreamPlace
    newest: StreamPlace


def as_cursor(text: object) -> StreamCursor:
    """Read the cursor of an event. Raises InvalidOption."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise InvalidOption(
            f"{short(text)} is not a cursor of the stream of events; pass on the `cursor` of an event as it is"
        )
    return StreamCursor(found[1], StreamPlace(int(found[2]), int(found[3]), int(found[4])), int(found[5] or 0))


def why_unreadable(cursor: StreamCursor, life: str, kept: Kept, *, is_other: bool = False) -> Why | None:
    """Return why events after a cursor cannot all be read; None if they can.

    is_other: whether the row before its place is another one than it was.
    """
    if cursor.life != life or is_other:
        return "another store"
    if cursor.place < kept.oldest:
        return "too old"
    if cursor.place > kept.newest:
        return "too new"
    return None
