"""The error of a slice transaction that took too long; its words are the same on every connection, because the size of
the next slice depends on them.
"""

from __future__ import annotations

from posthorse.errors import StoreError
from posthorse.rules.slice_size import TRANSACTION_TIMED_OUT


def overdue(longest: float) -> StoreError:
    """Return the error for a transaction of more than so many seconds."""
    return StoreError(
        f"{TRANSACTION_TIMED_OUT}{longest:.0f} s that it may, a third of the lease, and was rolled back; use smaller "
        "slices"
    )
