"""Tallies: what became of jobs, and how long they waited and ran, as sums and sparse logarithmic histograms.

A histogram has four buckets for each doubling, so a time that is read from it is at most 9.1 % off. Times are in
microseconds. Histograms and sums of parts can be added in any order and grouping; that is what folding relies on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from posthorse.rules.events import Ending
from posthorse.rules.job import State

Histogram = dict[int, int]
"""How many times fell into each bucket; buckets without any are left out."""

BUCKETS_PER_DOUBLING = 4
"""Buckets for each doubling."""

AT_ONCE = -1
"""The bucket of times below a microsecond."""

OTHER = "other"
"""The queue, kind and tenant of what is counted together because there are too many series."""


Happened = Literal["started", "completed", "failed", "retried", "lost", "cancelled"]
"""What a tally counts. All but `started` are ends of attempts or of jobs."""

RAN: frozenset[Happened] = frozenset({"completed", "failed", "retried"})
"""The ends whose times count as how long attempts ran: those that came from the code."""

_ERROR = "error:"
"""What errors of a group are counted as: this and the fingerprint of the group."""

_STOCK = "stock:"
"""What happens at stocks is counted as this and what happened, with the name of the stock in place of a kind."""

_BY_STATE: Mapping[State, Happened] = {
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}


class Measured(NamedTuple):
    """Times of one sort: their sum, and their histogram."""

    total: int
    over: Mapping[int, int]


def tally_of_errors(fingerprint: str) -> str:
    """Return what errors of a group are counted as."""
    return f"{_ERROR}{fingerprint}"


def fingerprint_in(happened: str) -> str | None:
    """Return the fingerprint of the group whose errors are counted; None if a tally is of something else."""
    return happened.removeprefix(_ERROR) if happened.startswith(_ERROR) else None


def tally_of_stock(happened: str) -> str:
    """Return what a happening at a stock is counted as."""
    return f"{_STOCK}{happened}"


def stock_happening_in(happened: str) -> str | None:
    """Return what happened at a stock; None if a tally is of something else."""
    return happened.removeprefix(_STOCK) if happened.startswith(_STOCK) else None


def what_happened(how: Ending, state: State) -> tuple[Happened, ...]:
    """Return what the end of an attempt counts as. A job that is lost for good counts as lost and as failed."""
    final = (_BY_STATE[state],) if state in _BY_STATE else ()
    if how in ("lost", "crashed"):
        return ("lost", *final)
    if how == "raised" and not final:
        return ("retried",)
    return final


def bucket_of(micros: int) -> int:
    """Return the bucket of a time. A negative one, as after a clock was set back, counts as none."""
    return int(BUCKETS_PER_DOUBLING * math.log2(micros)) if micros > 0 else AT_ONCE


def bucket_value(bucket: int) -> float:
    """Return the time that stands for a bucket, in microseconds: the middle of the bucket on a logarithmic scale."""
    return 0.0 if bucket == AT_ONCE else 2.0 ** ((bucket + 0.5) / BUCKETS_PER_DOUBLING)


def add(parts: Iterable[Measured]) -> Measured:
    """Add up times that were measured apart."""
    total, over = 0, Histogram()
    for part in parts:
        total += part.total
        for bucket, count in part.over.items():
            over[bucket] = over.get(bucket, 0) + count
    return Measured(total, over)


def percentile(over: Mapping[int, int], share: float) -> float:
    """Return the time in microseconds that `share` of all do not exceed. Must not be called without any."""
    wanted = max(1, math.ceil(share * sum(over.values())))
    seen = 0
    for bucket in sorted(over):
        seen += over[bucket]
        if seen >= wanted:
            return bucket_value(bucket)
    raise ValueError("an empty histogram has no percentiles")


def encode_histogram(over: Mapping[int, int]) -> str:
    """Return the stored form: JSON, counts by bucket."""
    return _encode(dict(sorted(over.items()))).decode()


decode_histogram = msgspec.json.Decoder(Histogram).decode
_encode = msgspec.json.Encoder().encode
