"""Which watch fits a store."""

from __future__ import annotations

from posthorse.store.postgres.watch import PostgresWatch
from posthorse.store.sqlite.watch import SqliteWatch
from posthorse.store.store import Store
from posthorse.store.watch import BlindWatch, Watch


def make_watch(store: Store, runner: str) -> Watch:
    """Wakes a runner that waits for jobs that may run now."""
    return SqliteWatch(store) if store.is_sqlite else PostgresWatch(store, runner)


def make_watch_of_writes(store: Store, *, closest: float, blind: float) -> Watch:
    """Wakes for whatever was written, at most so often; on PostgreSQL, where jobs that wait for their time tell nobody,
    it can only look again."""
    return SqliteWatch(store, closest=closest, blind=blind) if store.is_sqlite else BlindWatch(blind=blind)
