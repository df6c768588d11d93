"""Cutting the source of a loop into ranges: whether it can be cut, and whether what it returns covers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar, cast

from posthorse.errors import InvalidSource, UsageError
from posthorse.rules.parts import Part
from posthorse.rules.ranges import Range, check_ranges
from posthorse.worker.checkpoints.sources import AsyncSource, AsyncSplittable, Source, Splittable

T = TypeVar("T")


class Sharding(NamedTuple):
    """How a job is cut. shards: into how many parts. part: which part it is; a part is not cut again."""

    shards: int | None
    part: Part | None


def source_of_part(
    source: Source[T] | AsyncSource[T], part: Part, loop: str, range: Range
) -> Source[T] | AsyncSource[T]:
    """Return the range of a part, in the loop that was cut. Raises InvalidSource for any other loop."""
    if loop != part.loop:
        named = f"loop {part.loop!r}" if part.loop else "its loop"
        raise InvalidSource(
            f"this job was cut into parts in {named}, and each part would run over all of loop {loop!r}, too; a job "
            "with shards= has one loop: make two jobs of it"
        )
    return splittable(source).within(range)


def splittable(source: Source[T] | AsyncSource[T]) -> Splittable[T] | AsyncSplittable[T]:
    """Return the source as one that can be cut. Raises InvalidSource if it lacks the methods for that."""
    if isinstance(source, AsyncSource):
        if isinstance(source, AsyncSplittable):
            return source
    elif isinstance(source, Splittable):
        return source
    a = "a" if isinstance(source, AsyncSource) else ""
    raise InvalidSource(
        f"a {type(source).__qualname__} cannot be cut into parts, because it has no {a}split(parts, after, upto) and "
        "no within(range); write these two methods, or run over it in one loop"
    )


def checked_ranges(ranges: object, whole: Range, parts: int) -> Sequence[Range]:
    """Return what `split` returned, if these are ranges that cover the whole one exactly once. Raises UsageError."""
    given = cast("Sequence[object]", ranges) if isinstance(ranges, Sequence) else ()
    found = [each for each in given if isinstance(each, Range)]
    if not isinstance(ranges, Sequence) or len(found) < len(given):
        raise UsageError(f"split() of the source returned {ranges!r}; it must return a list of ph.Range")
    check_ranges(found, whole, parts)
    return found
