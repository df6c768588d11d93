"""Figures of a PostgreSQL server: the store's, or that of an SQLAlchemy engine.

A role that may not see what others do is told so once, and such a figure counts as calm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from posthorse.clock import SECOND, monotonic
from posthorse.rules.throttle import Name
from posthorse.store.operations.throttles import ServerState, dead_rows, dead_rows_sql, server_state, server_state_sql
from posthorse.store.store import Store

log = logging.getLogger("posthorse.worker")


class Server(Protocol):
    """A server that may be asked."""

    def state(self) -> ServerState | None:
        """Return its state; None if it is not PostgreSQL."""
        ...

    def dead_rows(self, table: str) -> int | None:
        """Return how many dead rows a table has; None if there is no such table."""
        ...


class ServerOfStore:
    """The server of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def state(self) -> ServerState | None:
        return self._store.read(server_state())

    def dead_rows(self, table: str) -> int | None:
        return self._store.read(dead_rows(table))


class ServerOfEngine:
    """The server of an SQLAlchemy engine, which is not asked inside a transaction of the user's."""

    def __init__(self, engine: object) -> None:
        self._engine = cast("Any", engine)

    def state(self) -> ServerState | None:
        if self._engine.dialect.name != "postgresql":
            return None
        [row] = self._rows(server_state_sql())
        return ServerState(*row)

    def dead_rows(self, table: str) -> int | None:
        if self._engine.dialect.name != "postgresql":
            return None
        rows = self._rows(dead_rows_sql(), name=table)
        return int(rows[0][0]) if rows else None

    def _rows(self, sql: str, **values: object) -> list[tuple[Any, ...]]:
        from sqlalchemy import text  # the user's dependency: there is an engine

        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(sql), values)]


def server_measures(server: Server) -> Mapping[Name, Callable[[str], float | None]]:
    """Return how to measure the figures of a server."""
    measures = _Measures(server)
    return {
        "replica_lag": measures.replica_lag,
        "wal_rate": measures.wal_rate,
        "dead_rows": measures.dead_rows,
        "oldest_transaction": measures.oldest_transaction,
    }


class _Measures:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._told: set[str] = set()
        self._log_before: tuple[int, float] | None = None
        """The position in the write-ahead log at the last measurement, in bytes, and when that was."""

    def replica_lag(self, _of: str) -> float | None:
        state = self._state("replica_lag")
        if state is None or not self._may_see(state, "replica_lag"):
            return None
        return (state.replica_lag or 0) / SECOND

    def oldest_transaction(self, _of: str) -> float | None:
        state = self._state("oldest_transaction")
        if state is None or not self._may_see(state, "oldest_transaction"):
            return None
        return (state.oldest_transaction or 0) / SECOND

    def wal_rate(self, _of: str) -> float | None:
        state = self._state("wal_rate")
        if state is None or state.log_position is None:
            return None
        now = monotonic()
        before, self._log_before = self._log_before, (state.log_position, now)
        if before is None or now <= before[1]:
            return None
        return max(0.0, (state.log_position - before[0]) / (now - before[1]))

    def dead_rows(self, table: str) -> float | None:
        rows = self._server.dead_rows(table)
        if rows is None:
            self._tell_once(f"dead_rows of {table}", f"the server has no table {table!r}, or is not PostgreSQL")
        return rows

    def _state(self, figure: str) -> ServerState | None:
        state = self._server.state()
        if state is None:
            self._tell_once(figure, "the server is not PostgreSQL; give on=engine to a throttle of another database")
        return state

    def _may_see(self, state: ServerState, figure: str) -> bool:
        if not state.may_see:
            self._tell_once(figure, "the role may not see it; GRANT pg_read_all_stats to it")
        return bool(state.may_see)

    def _tell_once(self, figure: str, why: str) -> None:
        if figure not in self._told:
            self._told.add(figure)
            log.warning("a throttle cannot measure %s, which counts as calm: %s", figure, why)
