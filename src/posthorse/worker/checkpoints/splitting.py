"""Cutting the source of a loop into ranges: whether it can be cut, and whether what it returns covers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar, cast

import msgspec
from msgspec.structs import replace

from posthorse.errors import InvalidSource, UsageError
from posthorse.rules.job import Lane, NewJob, Options
from posthorse.rules.packing import JobTexts
from posthorse.rules.parts import Part
from posthorse.rules.ranges import Range, check_ranges
from posthorse.worker.checkpoints.sources import AsyncSource, AsyncSplittable, Source, Splittable

T = TypeVar("T")


class Sharding(NamedTuple):
    """How a job is cut. shards: into how many parts. part: which part it is. options: those of the job, and tags: its
    own, or those of its kind; parts that it gives away have them, too.
    """

    shards: int | None
    part: Part | None
    options: Options
    tags: Sequence[str]


def as_part(
    job: str, part: Part, arguments: str, lane: Lane, options: Options, tags: Sequence[str], parent: str | None
) -> NewJob:
    """Return a part, to be stored: it has the arguments and options of its job, and a range of its own.

    Keys, uniqueness, sequences, callbacks and the time in which it must begin stay with the job.
    """
    own = replace(options, shards=None, key=None, unique=None, sequence=None, expires=None, part=part)
    if own.flow is not None:  # its inputs are among the arguments already
        own = replace(own, flow=replace(own.flow, inputs=None))
    return NewJob(
        id=job,
        lane=replace(lane, solo=False, keyed=False),
        arguments=arguments,
        options=own.encode(),
        tenant=options.tenant or lane.tenant or None,
        tags=msgspec.json.encode(tags).decode() if tags else None,
        parent=parent,
    )


def packed_range(range: Range, texts: JobTexts) -> Range:
    """Return a range with its positions packed, as it is stored."""
    if not texts.is_on:
        return range
    return replace(range, after=texts.pack_cursor(range.after), upto=texts.pack_cursor(range.upto))


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
