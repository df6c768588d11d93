"""The error of a slice transaction that took too long, in the same words on every kind of connection: the size of the
next slice follows from them."""

from __future__ import annotations

from posthorse.errors import StoreError
from posthorse.rules.slice_size import TRANSACTION_TIMED_OUT


def overdue(longest: float) -> StoreError:
    """The transaction took more than so many seconds."""
    return StoreError(
        f"{TRANSACTION_TIMED_OUT}{longest:.0f} s that it may, a third of the lease, and was rolled back; use smaller "
        "slices"
    )
