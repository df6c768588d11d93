"""Cursors: the last committed position of a long loop, as a value that JSON can hold; and keys as cursors.

It knows no source and no store: what a position means, its source knows.
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
    """A position: None at the start, otherwise what JSON gives back as it was."""
else:
    Cursor = object  # decoders look at annotations and could not follow the recursion


class _Form(NamedTuple):
    """How a type that JSON lacks is written; `read` gives back what `write` took."""

    kind: type[object]
    write: Callable[[object], str]
    read: Callable[[str], object]


def _iso(key: object) -> str:
    return cast("date", key).isoformat()


def _hex(key: object) -> str:
    return cast("bytes", key).hex()


_FORMS = {  # a datetime is a date too: it stands first
    "datetime": _Form(datetime, _iso, datetime.fromisoformat),
    "date": _Form(date, _iso, date.fromisoformat),
    "uuid": _Form(UUID, str, UUID),
    "decimal": _Form(Decimal, str, Decimal),
    "bytes": _Form(bytes, _hex, bytes.fromhex),
    "int": _Form(int, str, int),
}
_JSON_INTEGERS = range(-(2**63), 2**64)  # others do not survive every reader of JSON and are tagged


def cursor_of_key(key: object) -> Cursor:
    """A key as a cursor: JSON's own scalars as they are, other types tagged, as in {"uuid": "…"}.

    Known are int, float, str, datetime, date, UUID, Decimal, bytes, and tuples of these. Anything else, and
    what would not come back equal, is refused with a UsageError.
    """
    if isinstance(key, tuple):
        return [cursor_of_key(part) for part in cast("tuple[object, ...]", key)]
    if type(key) is int and key in _JSON_INTEGERS:
        return key
    if isinstance(key, str):
        return str.__str__(key)  # of an enumeration too, the text alone
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
    """The key with its local times in UTC, so that keys compare as the moments that they are.

    Python compares times of one zone by what the clock on the wall shows, which goes back once a year; and says that a
    time of the hour that is repeated equals no time of another zone.
    """
    if isinstance(key, tuple):
        return tuple(in_utc(part) for part in cast("tuple[object, ...]", key))
    if isinstance(key, datetime) and key.tzinfo is not None:
        try:
            return key.astimezone(UTC)
        except OverflowError:  # at the edge of the calendar no clock is put back
            return key
    return key


def key_of_cursor(cursor: Cursor) -> object:
    """The key that was written as this cursor."""
    if isinstance(cursor, str | int | float):
        return cursor
    if isinstance(cursor, Sequence):
        return tuple(key_of_cursor(part) for part in cursor)
    if isinstance(cursor, Mapping) and len(cursor) == 1:
        [(tag, text)] = cursor.items()
        if tag in _FORMS and isinstance(text, str):
            return _FORMS[tag].read(text)
    raise UsageError(f"the saved position {cursor!r} is not a key; was the loop changed since the job began?")
