"""Cursors: the last committed position of a long loop, as a value that JSON can hold; and keys as cursors.

This module knows no source and no store. Only the source knows what a position means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast
from uuid import UUID

from posthorse.errors import UsageError

if TYPE_CHECKING:
    Cursor: TypeAlias = "bool | int | float | str | Sequence[Cursor] | Mapping[str, Cursor] | None"
    """A position: None at the start, otherwise a value that survives JSON unchanged."""
else:
    Cursor = object  # decoders evaluate annotations and cannot follow the recursion


class _Form(NamedTuple):
    """How a type that JSON lacks is written; `read` inverts `write`."""

    kind: type[object]
    write: Callable[[object], str]
    read: Callable[[str], object]


def _iso(key: object) -> str:
    return cast("date", key).isoformat()


def _hex(key: object) -> str:
    return cast("bytes", key).hex()


_FORMS = {  # a datetime is a date too, so it comes first
    "datetime": _Form(datetime, _iso, datetime.fromisoformat),
    "date": _Form(date, _iso, date.fromisoformat),
    "uuid": _Form(UUID, str, UUID),
    "decimal": _Form(Decimal, str, Decimal),
    "bytes": _Form(bytes, _hex, bytes.fromhex),
    "int": _Form(int, str, int),
}
_JSON_INTEGERS = range(-(2**63), 2**64)  # some JSON readers lose larger ones, so these are tagged


def cursor_of_key(key: object) -> Cursor:
    """Convert a key to a cursor: JSON's own scalars unchanged, other types tagged, as in {"uuid": "…"}.

    Accepts int, float, str, datetime, date, UUID, Decimal, bytes, and tuples of these. Raises UsageError for anything
    else, and for values that would not come back equal.
    """
    if isinstance(key, tuple):
        return [cursor_of_key(part) for part in cast("tuple[object, ...]", key)]
    if type(key) is int and key in _JSON_INTEGERS:
        return key
    if isinstance(key, str):
        return str.__str__(key)  # of an enumeration too, only the text
    if isinstance(key, float) and isfinite(key):
        return float(key)
    tag = next((tag for tag, form in _FORMS.items() if isinstance(key, form.kind)), None)
    if tag is not None and not isinstance(key, bool):
        text = _FORMS[tag].write(key)
        if in_utc(key_of_cursor({tag: text})) == in_utc(key):
            return {tag: text}
    raise UsageError(
        f"a row's key is {key!r} ({type(key).__qualname__}), which a cursor cannot hold without loss; "
        "let key= return an int, float, str, datetime, date, UUID, Decimal, bytes or a tuple of these"
    )


def in_utc(key: object) -> object:
    """Convert local times in a key to UTC, so that keys compare as moments.

    Python compares times of one zone by wall time, which goes back once a year. It also treats a time in the repeated
    hour as unequal to any time of another zone.
    """
    if isinstance(key, tuple):
        return tuple(in_utc(part) for part in cast("tuple[object, ...]", key))
    if isinstance(key, datetime) and key.tzinfo is not None:
        try:
            return key.astimezone(UTC)
        except OverflowError:  # at the edge of the calendar; clocks are not put back there
            return key
    return key


def key_of_cursor(cursor: Cursor) -> object:
    """Return the key that `cursor_of_key` converted."""
    if isinstance(cursor, str | int | float):
        return cursor
    if isinstance(cursor, Sequence):
        return tuple(key_of_cursor(part) for part in cursor)
    if isinstance(cursor, Mapping) and len(cursor) == 1:
        [(tag, text)] = cursor.items()
        if tag in _FORMS and isinstance(text, str):
            return _FORMS[tag].read(text)
    raise UsageError(f"the saved position {cursor!r} is not a key; was the loop changed since the job began?")
