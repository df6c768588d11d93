"""Whether a value came back from JSON as it was, also where Python's own comparison does not tell.

A local time in an hour that a clock skips or repeats equals no time with another kind of zone, not even itself in UTC.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from datetime import datetime, time
from typing import cast

from posthorse.rules.values.classes import Model, field_names, fields_of, is_model
from posthorse.rules.values.wire import encode_in_order


def is_same(before: object, after: object) -> bool:
    """True when they are equal; with times in such hours, when they are written alike, by their offsets from UTC."""
    if before == after:
        return True
    if not any(isinstance(part, datetime) and _is_ambiguous(part) for part in clock_parts(before)):
        return False
    return encode_in_order(before) == encode_in_order(after)


def clock_parts(value: object) -> Iterator[datetime | time]:
    """All times of day, with and without their date, that a value holds."""
    if isinstance(value, datetime | time):
        yield value
    else:
        for part in _parts(value):
            yield from clock_parts(part)


def _is_ambiguous(moment: datetime) -> bool:
    return moment.utcoffset() != moment.replace(fold=not moment.fold).utcoffset()


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        mapping = cast("dict[object, object]", value)
        return (*mapping.keys(), *mapping.values())
    if is_model(type(value)):
        return (part for _, part in cast("Model", value))
    if (names := field_names(type(value))) is not None:
        return (part for _, part in fields_of(value, names))
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return cast("Iterable[object]", value)
    return ()
