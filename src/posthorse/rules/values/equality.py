"""Whether a value came back from JSON unchanged, even if Python's own comparison cannot tell.

Python treats a local time in a skipped or repeated hour as unequal to any time in another zone, even itself in UTC.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from datetime import datetime, time
from typing import cast

from posthorse.rules.values.classes import Model, field_names, fields_of, is_model
from posthorse.rules.values.msgspec_json import encode_in_order


def is_same(before: object, after: object) -> bool:
    """Return True if they are equal; times in such hours are compared by their text and their offsets from UTC."""
    if before == after:
        return True
    if not any(isinstance(part, datetime) and _is_ambiguous(part) for part in clock_parts(before)):
        return False
    return encode_in_order(before) == encode_in_order(after)


def clock_parts(value: object) -> Iterator[datetime | time]:
    """Yield all times of day in a value, with and without their date."""
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
