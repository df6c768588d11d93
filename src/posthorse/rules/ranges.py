"""Ranges: parts of a source between two positions, and where to cut them.

This module knows neither sources nor stores. Only the source knows what a position means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from posthorse.errors import UsageError
from posthorse.rules.cursor import Cursor

MAX_PARTS = 1_000
"""Into how many parts a job can be cut."""

MOST_PARTS = 2 * MAX_PARTS
"""How many parts a job can have at most, with those that other parts gave half of their rest to."""


class Range(msgspec.Struct, frozen=True, omit_defaults=True):
    """The items of a source that come after one position, up to and including another.

    after: the position before the first item; None is the start of the source.
    upto: the position after the last item; None is the end of the source, with all that is added there later.
    total: how many items the range had when it was cut; None if that is unknown.
    """

    after: Cursor = None
    upto: Cursor = None
    total: int | None = None


WHOLE = Range()


class Cut(msgspec.Struct, frozen=True):
    """A position at which a range is cut. `before`: how many items of the range come before it, if that is known."""

    at: Cursor
    before: int | None = None


def even_cuts(items: int, parts: int) -> list[int]:
    """Return after how many of these items to cut, so that at most `parts` even parts remain, none of them empty."""
    parts = max(1, min(parts, items))
    return [items * part // parts for part in range(1, parts)]


def cut_at(whole: Range, cuts: Iterable[Cut]) -> list[Range]:
    """Return the ranges that these cuts, in rising order, make of a whole range."""
    ranges: list[Range] = []
    begin = Cut(whole.after, 0)
    for cut in cuts:
        ranges.append(Range(begin.at, cut.at, _items(begin.before, cut.before)))
        begin = cut
    return [*ranges, Range(begin.at, whole.upto, _items(begin.before, whole.total))]


def check_ranges(ranges: Sequence[Range], whole: Range, parts: int) -> None:
    """Raise UsageError unless these ranges, in this order, cover the whole range without a gap and without overlap."""
    if not 1 <= len(ranges) <= parts:
        raise _wrong(f"{len(ranges):,} ranges for {parts:,} parts", "return from 1 to `parts` of them")
    expected = whole.after
    for number, each in enumerate(ranges):
        if _text(each.after) != _text(expected):
            raise _wrong(
                f"range {number} after {each.after!r}, but what comes before it ends at {expected!r}",
                "let each range begin where the one before ends, and the first one at `after`",
            )
        if each.upto is None and number < len(ranges) - 1:
            raise _wrong(f"range {number} with upto=None, which is the end", "let only the last range go to the end")
        if len(ranges) > 1 and each.upto is not None and _text(each.upto) == _text(each.after):
            raise _wrong(f"range {number} that ends where it begins, at {each.upto!r}", "leave empty ranges out")
        expected = each.upto
    if _text(expected) != _text(whole.upto):
        raise _wrong(f"a last range up to {expected!r} instead of {whole.upto!r}", "let the last range end at `upto`")


def _items(before: int | None, upto: int | None) -> int | None:
    return None if before is None or upto is None else max(0, upto - before)


def _text(cursor: Cursor) -> bytes:
    """Return a position as the store keeps it: in JSON, a tuple and a list are the same."""
    return msgspec.json.encode(cursor)


def _wrong(what: str, instead: str) -> UsageError:
    return UsageError(f"split() of the source returned {what}; {instead}, or items would be lost or come twice")
