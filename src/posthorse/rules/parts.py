"""Parts of a job that runs over ranges of its source side by side: their order, their progress as one, and which of
them should give away half of what it has left.

Pure: it is told where each part is, and knows neither stores nor clocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

import msgspec

from posthorse.rules.durations import MAX_DURATION
from posthorse.rules.pace import Pace
from posthorse.rules.progress import Progress, progress_at
from posthorse.rules.ranges import Range

T = TypeVar("T")


class Worth(NamedTuple):
    """What a part must have left to give half of it away: cutting, and starting another part, must be worth it."""

    seconds: float
    slices: float


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job is a part of: the range that it began with, in which loop.

    number: counts the parts of one job in the order in which they were made.
    given_by: the number of the part that gave this range away; None for those that were cut first.
    of: into how many parts the job was cut first; so many should run side by side.
    """

    number: int
    loop: str
    range: Range
    given_by: int | None = None
    of: int = 0


class PartNow(msgspec.Struct, frozen=True, kw_only=True):
    """How far one part is. `since`: when its running slice began."""

    done: int
    total: int | None
    pace: Pace
    is_running: bool = False
    is_over: bool = False
    since: datetime | None = None


def in_range_order(parts: Mapping[int, int | None]) -> list[int]:
    """Return the numbers of parts in the order of their ranges. `parts`: by which part each was given away, by number.

    What a part gives away is the end of what it has then. So it comes right after the part, and after what the part
    gave away later.
    """
    given: dict[int | None, list[int]] = {}
    for number, giver in parts.items():
        given.setdefault(giver, []).append(number)
    ordered: list[int] = []
    waiting = sorted(given.get(None, ()), reverse=True)
    while waiting:
        number = waiting.pop()
        ordered.append(number)
        waiting += sorted(given.get(number, ()))  # the latest is taken from the end first
    return ordered


def progress_of_parts(
    parts: Sequence[PartNow], now: datetime, *, total: int | None = None, note: str | None = None
) -> Progress:
    """Return the progress of all parts as one: sums, and the end of the last part.

    total: the items of all parts, as far as that is known while the ranges do not tell.
    """
    done = sum(part.done for part in parts)
    totals = [part.total for part in parts]
    whole = total if None in totals else sum(part for part in totals if part is not None)
    each = [_progress(part, now) for part in parts]
    rates = [part.rate for part, where in zip(each, parts, strict=True) if part.rate is not None and not where.is_over]
    rate = sum(rates) if rates else None
    counted = Progress(done, whole, rate, note=note)
    if whole is None:
        return counted
    if all(part.is_over for part in parts) and done >= whole:
        return Progress(done, whole, rate, timedelta(0), now, (now, now), note)
    going = [part for part, where in zip(each, parts, strict=True) if not where.is_over]
    known = [part.remaining for part in going if part.remaining is not None]
    if not rate or not known:
        return counted
    # Parts that wait begin when others end, so the whole takes at least as long as its rest at the pace of all.
    at_least = timedelta(seconds=min(max(0, whole - done - _left_behind(parts)) / rate, MAX_DURATION.total_seconds()))
    remaining = max(at_least, *known)
    ends = [part.eta_range for part in going if part.eta_range is not None]
    if not ends:
        return Progress(done, whole, rate, remaining, note=note)
    low = max(low for low, _ in ends)
    high = max(high for _, high in ends)
    eta = _later(now, remaining)
    return Progress(
        done, whole, rate, remaining, eta, (min(max(low, _later(now, at_least)), eta), max(high, eta)), note
    )


def should_share(parts: Mapping[T, PartNow], wanted: int, worth: Worth) -> T | None:
    """Return the part that should give away half of what it has left; None if all is well.

    wanted: how many parts should run side by side. As long as that many are not over, or some wait for their turn, none
    gives anything away: those that wait come first.
    """
    going = [part for part in parts.values() if not part.is_over]
    if len(going) >= wanted or not all(part.is_running for part in going):
        return None
    left = {key: seconds for key, part in parts.items() if not part.is_over and (seconds := _to_share(part, worth))}
    return max(left, key=lambda key: left[key], default=None)


def _to_share(part: PartNow, worth: Worth) -> float:
    """Return how long a part has left, by its own pace; 0 if that is not worth sharing, or not known.

    Of a part that does not know how many items it has, it is assumed that as many are left as are done.
    """
    pace = part.pace
    if not pace.recent_slices or not pace.rate:
        return 0.0
    items = part.done if part.total is None else part.total - part.done
    seconds, slices = items / pace.rate, items / (pace.recent_items / pace.recent_slices)
    return seconds if seconds > worth.seconds and slices > worth.slices else 0.0


def _left_behind(parts: Iterable[PartNow]) -> int:
    """Return how many items the parts left that failed or were cancelled."""
    return sum(max(0, part.total - part.done) for part in parts if part.is_over and part.total is not None)


def _progress(part: PartNow, now: datetime) -> Progress:
    return progress_at(part.done, part.total, part.pace, now, since=part.since, running=part.is_running)


def _later(now: datetime, wait: timedelta) -> datetime:
    try:
        return now + wait
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)


def numbers_of(parts: Iterable[Part]) -> Mapping[int, int | None]:
    """Return by which part each was given away, for `in_range_order`."""
    return {part.number: part.given_by for part in parts}
