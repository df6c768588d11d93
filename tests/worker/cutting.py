"""Cutting sources in tests: the ranges cover the source once and in order, also when one is cut again in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar, cast

import msgspec

from posthorse.rules.cursor import Cursor
from posthorse.rules.ranges import Range, check_ranges
from posthorse.worker.checkpoints.sources import Source, Splittable
from posthorse.worker.checkpoints.sources.base import ReadsPast

T = TypeVar("T")
Make: TypeAlias = Callable[[], object]


def split(make: Make, parts: int, whole: Range | None = None) -> Sequence[Range]:
    """Return checked ranges of a source, as they come back from the store."""
    whole = whole or Range()
    source = cast("Splittable[object]", make())
    assert isinstance(source, Splittable)
    ranges = source.split(parts, whole.after, whole.upto)
    check_ranges(ranges, whole, parts)
    return msgspec.json.decode(msgspec.json.encode(ranges), type=list[Range])


def within(make: Make, part: Range) -> Source[object]:
    return cast("Splittable[object]", make()).within(part)


def met(
    source: Source[object], *, limit: int = 3, cursor: Cursor = None, pages: int = 1_000_000, reads_past: bool = False
) -> tuple[list[object], Cursor]:
    """Return the items of some pages, and the position after them."""
    items: list[object] = []
    read = cast("ReadsPast[object]", source).read_past if reads_past else source.read
    for _ in range(pages):
        chunk = read(cursor, limit)
        items += chunk.items
        items += [each.text for each in chunk.unreadable]
        cursor = json.loads(json.dumps(chunk.cursor))
        if chunk.is_last:
            break
    source.close()
    return items, cursor


def assert_covered(
    make: Make,
    parts: int,
    expected: Sequence[object],
    *,
    look: Callable[[object], object] = lambda item: item,
    limit: int = 3,
    whole: Range | None = None,
    reads_past: bool = False,
    may_be_empty: bool = False,
    again: int = 2,
) -> Sequence[Range]:
    """Assert that each range has its items, all ranges together have all, and that a range can be cut again."""
    ranges = split(make, parts, whole)
    found: list[object] = []
    for each in ranges:
        source = within(make, each)
        items = [look(item) for item in met(source, limit=limit, reads_past=reads_past)[0]]
        assert items or may_be_empty or not expected
        assert each.total in (None, len(items))
        assert source.count() == each.total or each.total is None
        found += items
        if again and items:
            begun, cursor = met(within(make, each), limit=limit, pages=1, reads_past=reads_past)
            assert_covered(
                make,
                2,
                items[len(begun) :],
                look=look,
                limit=limit,
                whole=Range(cursor, each.upto),
                reads_past=reads_past,
                may_be_empty=True,
                again=again - 1,
            )
    assert found == list(expected)
    return ranges
