"""What an application can be told of: the events of `app.on(…)`, as the functions that observe them receive them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec


class DeadLettersGrew(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs of a queue died, more than usual. Times are aware, in UTC, on the store's clock.

    queue, count: how many jobs of which queue; `is_at_least` is true when there were more than could be counted.
    since, until: when the first of them died, and the last.
    kinds: how many of each kind. errors: how many of each error, by its class; the most frequent five.
    jobs: the ids of the first five that died.
    """

    queue: str
    count: int
    since: datetime
    until: datetime
    kinds: Mapping[str, int]
    errors: Mapping[str, int]
    jobs: Sequence[str]
    is_at_least: bool = False
