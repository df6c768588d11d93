"""Locks and rights that keep workers from writing although the server responds; for `posthorse doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from posthorse.store.postgres.backend import PostgresBackend

# The modes that conflict with the ROW EXCLUSIVE of every write. This queries the catalog, never our tables, which would
# wait for the very lock.
_HELD = """
    SELECT l.pid, c.relname, l.mode, extract(epoch FROM clock_timestamp() - a.xact_start)::float8, a.state,
        a.application_name, pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool,
        NOT EXISTS (
            SELECT FROM pg_class ours JOIN pg_namespace theirs ON theirs.oid = ours.relnamespace AND theirs.nspname = %s
            WHERE ours.relkind IN ('r', 'p') AND NOT (
                has_table_privilege(ours.oid, 'SELECT') AND has_table_privilege(ours.oid, 'INSERT')
                AND has_table_privilege(ours.oid, 'UPDATE') AND has_table_privilege(ours.oid, 'DELETE')))
    FROM (SELECT 1) AS one LEFT JOIN (
        pg_locks l
        JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = %s
    ) ON l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.pid IS DISTINCT FROM pg_backend_pid()
        AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    ORDER BY a.xact_start NULLS LAST LIMIT 1
"""


class HeldLock(NamedTuple):
    """A lock on one of our tables that keeps every worker from writing; `pid` is None for a prepared transaction.

    The last three fields are None if the role may not see them.
    """

    pid: int | None
    table: str
    mode: str
    seconds: float | None
    state: str | None
    program: str | None


class WriteObstacles(NamedTuple):
    """What prevents writes."""

    lock: HeldLock | None
    is_read_only: bool
    may_write: bool
    """Whether the role has the rights on our tables, or there are none yet."""


def write_obstacles(backend: PostgresBackend) -> WriteObstacles:
    """Query the catalog, on a connection of its own. Raises StoreUnreachable."""
    connection = backend.connect()
    try:
        row = connection.execute(_HELD, [backend.schema, backend.schema], prepare=False).fetchone()
    finally:
        connection.close()
    assert row is not None
    held = HeldLock._make(row[:6])
    return WriteObstacles(None if row[1] is None else held, is_read_only=bool(row[6]), may_write=bool(row[7]))
