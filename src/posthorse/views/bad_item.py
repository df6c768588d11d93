"""How a bad item is shown: an item that a long job tolerated, with its error."""

from __future__ import annotations

from datetime import datetime
from typing import Self

import msgspec

from posthorse.rules.job import BadItem, JobError
from posthorse.views.base import View


class BadItemView(View, frozen=True, kw_only=True):
    """An item that a job tolerated; one that has no form in JSON is shown as Python writes it."""

    loop: str
    number: int
    at: datetime
    item: msgspec.Raw
    is_retryable: bool
    error: JobError
    shard: int | None = None
    """The part that met it, if the job was cut into parts."""

    @classmethod
    def of(cls, bad: BadItem) -> Self:
        """Show a bad item."""
        return cls(
            loop=bad.loop,
            number=bad.number,
            at=bad.at,
            item=msgspec.Raw(item_as_json(bad)),
            is_retryable=bad.is_retryable,
            error=bad.error,
            shard=bad.shard,
        )


def item_as_json(bad: BadItem) -> bytes:
    """Encode the item itself, or what Python writes for it."""
    try:
        return msgspec.json.encode(bad.item)
    except (TypeError, ValueError, OverflowError):
        return msgspec.json.encode(repr(bad.item))
