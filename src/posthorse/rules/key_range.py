"""Keys between two keys, for types in which one can count: numbers, dates, times and UUIDs.

This module knows no data: even cuts of the keys are even cuts of the items only where keys are spread evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias
from uuid import UUID

from posthorse.rules.cursor import in_utc

_At: TypeAlias = Callable[[Fraction], Any]
"""The key at a fraction of the way between two keys."""

_MICROSECOND = timedelta(microseconds=1)


def keys_between(after: object, upto: object, parts: int) -> list[object] | None:
    """Return keys that cut the way between two keys into at most `parts` even parts, in rising order.

    None if these keys cannot be counted, as texts and tuples.
    """
    key_at = _counted(after, upto)
    if key_at is None:
        return None
    return list(_strictly_between(after, upto, _found(key_at, parts)))


def _found(key_at: _At, parts: int) -> Iterator[object]:
    for part in range(1, parts):
        with suppress(OverflowError):  # beyond the calendar, or beyond what a float can hold
            yield key_at(Fraction(part, parts))


def _strictly_between(after: Any, upto: Any, keys: Iterable[Any]) -> Iterator[object]:  # noqa: ANN401 - of one type
    last, end = in_utc(after), in_utc(upto)
    for key in keys:
        moment: Any = in_utc(key)
        if last < moment < end:
            last = moment
            yield key


def _counted(after: object, upto: object) -> _At | None:
    match after, upto:
        case (bool(), _) | (_, bool()):
            return None
        case int(), int():
            return lambda share: after + int((upto - after) * share)
        case int() | Decimal(), int() | Decimal():
            return lambda share: _decimal(Fraction(after) + (Fraction(upto) - Fraction(after)) * share)
        case int() | float(), int() | float():
            return lambda share: float(after) * float(1 - share) + float(upto) * float(share)
        case UUID(), UUID():
            return lambda share: UUID(int=after.int + int((upto.int - after.int) * share))
        case datetime(), datetime():
            return _times(after, upto)
        case (datetime(), _) | (_, datetime()):
            return None
        case date(), date():
            return lambda share: after + timedelta(int((upto - after).days * share))
        case _:
            return None


def _times(after: datetime, upto: datetime) -> _At | None:
    offset = after.utcoffset()
    if (offset is None) != (upto.utcoffset() is None):
        return None
    # With a fixed offset, times are added as moments; in a zone, as wall time, which goes back once a year.
    begin = after if offset is None else after.replace(tzinfo=timezone(offset), fold=0)
    microseconds = (upto - begin) // _MICROSECOND
    return lambda share: begin + int(microseconds * share) * _MICROSECOND


def _decimal(number: Fraction) -> Decimal:
    return Decimal(number.numerator) / Decimal(number.denominator)
