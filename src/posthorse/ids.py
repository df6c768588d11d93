"""Job ids: UUIDv7 (RFC 9562), made by the process that enqueues, growing within a process.

Time-ordered ids keep inserts at the right edge of every index, and allow a retry after a lost reply.
"""

from __future__ import annotations

import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# The clock of an enqueuing process may be wrong by hours; beyond a day its ids would be where old rows are dropped.
CLOCK_TOLERANCE = 24 * 3600 * 1_000_000

SET_BACK = CLOCK_TOLERANCE // 2_000 << 12
"""How far this machine's clock may be behind the last id while order is kept, in 4096ths of a millisecond."""

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_lock = threading.RLock()
"""Reentrant, because a signal handler may make an id while another is made. If both take the same stamp, the random
bits after it still make the ids different.
"""
_followed: Callable[[], int] | None = None
"""The clock of a test that moves time."""

_last = 0  # the last stamp of this process: milliseconds << 12 | 4096ths of a millisecond


def new_id() -> str:
    """Return a new id, larger than every earlier id of this process, unless the clock was set back since.

    The 12 bits after the milliseconds are 4096ths of one (RFC 9562 section 6.2, method 3); 60 random bits follow.
    """
    text = (_stamp().to_bytes(8, "big") + os.urandom(8)).hex()
    return f"{text[1:9]}-{text[9:13]}-7{text[13:16]}-8{text[17:20]}-{text[20:]}"


def new_ids(count: int) -> list[str]:
    """Return `count` new ids in growing order.

    They share one stamp. The 30 bits after it start at random in the lower half and count up, as in RFC 9562 section
    6.2 (method 1); 32 random bits follow.
    """
    if count == 1:
        return [new_id()]
    entropy = os.urandom(4 + 4 * count)
    start = _stamp() << 30 | int.from_bytes(entropy[:4], "big") >> 3
    tails = _tails(range(start, start + count), entropy[4:])
    fresh: list[str] = []
    while len(fresh) < count:
        number = start + len(fresh)
        head, alike = _head(number), 0x10000 - (number & 0xFFFF)
        fresh += [head + tail for tail in tails[len(fresh) : len(fresh) + alike]]
    return fresh


def moved_to(job_id: str, moment: int) -> str:
    """Return the same id as if made at a moment (microseconds), for a caller that knows a better clock than this
    machine's.
    """
    head = f"{moment // 1000:012x}"
    return f"{head[:8]}-{head[8:]}{job_id[13:]}"


def first_of(moment: int) -> str:
    """Return the smallest text that sorts like an id of a moment (microseconds since the epoch)."""
    head = f"{max(0, moment) // 1000:012x}"
    return f"{head[:8]}-{head[8:]}-0000-0000-000000000000"


def wall() -> int:
    """Return the time by which ids are made, in nanoseconds since the epoch."""
    return time.time_ns() if _followed is None else _followed()


@contextmanager
def following(clock: Callable[[], int]) -> Iterator[None]:
    """Make ids by another clock inside the block, in nanoseconds since the epoch: for tests that move a store's."""
    global _followed, _last
    before = _followed, _last
    _followed, _last = clock, 0
    try:
        yield
    finally:
        _followed, _last = before


def is_id(text: str) -> bool:
    """Return True if the text is a job id in canonical form."""
    return _CANONICAL.fullmatch(text) is not None


def milliseconds_of(job_id: str) -> int:
    """Return the moment in an id, in milliseconds since the epoch."""
    return int(job_id[:8] + job_id[9:13], 16)


def _stamp() -> int:
    """Return a moment that no other id of this process has, in 4096ths of a millisecond."""
    global _last
    with _lock:
        stamp = (wall() << 9) // 125_000
        # Time wins over order, because a store refuses ids that are days ahead.
        if stamp <= _last < stamp + SET_BACK:
            stamp = _last + 1
        _last = stamp
    return stamp


def _head(number: int) -> str:
    """Return everything before the last 16 bits of the counter."""
    text = f"{number >> 30:015x}"
    return f"{text[:8]}-{text[8:12]}-7{text[12:]}-{0x8000 | (number >> 16) & 0x3FFF:04x}-"


def _tails(numbers: range, entropy: bytes) -> list[str]:
    """Return the last 16 bits of the counter and 32 random ones, for each; formatting all at once is faster."""
    tails = bytearray(6 * len(numbers))
    counters = struct.pack(f">{len(numbers)}H", *map((0xFFFF).__and__, numbers))
    tails[0::6], tails[1::6] = counters[0::2], counters[1::2]
    for place in range(4):
        tails[2 + place :: 6] = entropy[place::4]
    return tails.hex(" ", 6).split()
