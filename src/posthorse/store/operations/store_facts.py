"""The store itself: its clock, schema and identity, as operations read them."""

from __future__ import annotations

from posthorse.store.base import QuerySteps, TypedQuery, single_operation

HAS_SCHEMA = TypedQuery("has_schema", tuple[int])
SCHEMA_VERSION = TypedQuery("schema_version", tuple[str])
MIGRATION = TypedQuery("migration", tuple[str])
STORE_IDENTITY = TypedQuery("store_identity", tuple[str])
NOW = TypedQuery("now", tuple[int])
FACT = TypedQuery("fact", tuple[str])
"""What the store knows about itself, by name."""


def now() -> QuerySteps[int]:
    """Return the store's clock, in microseconds since the epoch."""
    [(moment,)] = yield from NOW()
    return moment


@single_operation
def store_now() -> QuerySteps[int]:
    """Return the same, as an operation of its own."""
    return (yield from now())
