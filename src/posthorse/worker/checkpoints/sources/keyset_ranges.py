"""Where a key set is cut: at keys that its owner names, or at even distances between its first and its last key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, cast

from posthorse.errors import InvalidSource, UsageError
from posthorse.rules.cursor import cursor_of_key, in_utc
from posthorse.rules.key_range import keys_between
from posthorse.rules.ranges import Cut, Range, cut_at

K = TypeVar("K")


def middle_keys(first: K, last: K | None, parts: int) -> Iterable[K]:
    """Return keys at even distances. Raises InvalidSource if that is not possible between these two."""
    keys = None if first is None or last is None else keys_between(first, last, parts)
    if keys is not None:
        return cast("list[K]", keys)
    missing = [name for name, key in (("start", first), ("stop", last)) if key is None]
    why = f"it has no {' and no '.join(missing)}" if missing else f"nothing is known between {first!r} and {last!r}"
    raise InvalidSource(
        f"this key set cannot be cut into parts: {why}; pass split=, a function (after, upto, parts) that returns keys "
        "to cut at, or start= and stop= that are both numbers, dates, times or UUIDs"
    )


def keyset_ranges(whole: Range, first: object, last: object, keys: Iterable[object], parts: int) -> Sequence[Range]:
    """Return the ranges between these keys. Raises UsageError for keys that do not rise, or are not within `whole`."""
    found = list(keys)
    if len(found) >= parts:
        raise UsageError(
            f"split returned {len(found):,} keys for {parts:,} parts; it must return fewer keys than parts, because "
            "each key ends one part and begins the next"
        )
    return cut_at(whole, (Cut(cursor_of_key(key)) for key in _rising(first, last, found)))


def _rising(first: object, last: object, keys: Sequence[object]) -> Iterator[object]:
    before, end = in_utc(first), in_utc(last)
    for key in keys:
        moment = in_utc(key)
        if moment in (before, end):
            continue  # several cuts at one key are one
        if (before is not None and not _is_less(before, moment)) or (end is not None and not _is_less(moment, end)):
            raise UsageError(
                f"split returned key {key!r} after {before!r}, within keys up to {end!r}: the keys must rise, and be "
                "between the two that it was called with; text is compared by code point"
            )
        before = moment
        yield key


def _is_less(earlier: object, later: object) -> bool:
    try:
        return cast("bool", earlier < later)  # type: ignore[operator]  # keys of one kind; others end below
    except TypeError:
        raise UsageError(
            f"split returned a key that cannot be compared: {earlier!r} and {later!r}; it must return keys of the type "
            "that key= returns"
        ) from None
