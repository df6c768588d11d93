"""Throttles in the store: tokens for items, which all processes share, and the state of its own server."""

from __future__ import annotations

from typing import NamedTuple

from posthorse.clock import SECOND
from posthorse.rules.gates import GateLedger, Requirement, waits_for_token
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, locking_first, operation, single_operation
from posthorse.store.operations.gates import lock_gates, note_gates
from posthorse.store.queries import shipped_blocks


class ServerState(NamedTuple):
    """What throttles measure of a PostgreSQL server.

    replica_lag, oldest_transaction: in microseconds; None if there is none, or the role may not see it.
    log_position: bytes that were ever written to the write-ahead log; None on a replica.
    may_see: whether the role may see what others do.
    """

    replica_lag: int | None
    log_position: int | None
    oldest_transaction: int | None
    may_see: int


SERVER_STATE = TypedQuery("server_state", ServerState)
DEAD_ROWS = TypedQuery("dead_rows", tuple[int])


@creating_no_work
@locking_first
@operation
def take_items(requirement: Requirement, count: int) -> QuerySteps[float]:
    """Take a token for each of so many items that were done; return the seconds until the taker may go on.

    More tokens are taken than there are, because the items are done: who takes them waits until they have come.
    """
    states, now = yield from lock_gates({requirement.gate: requirement})
    ledger = GateLedger(states, now)
    through, _ = ledger.after(requirement, count)
    if count or ledger.is_changed(requirement):
        yield from note_gates([(requirement, count)], ledger)
    return waits_for_token(through, now, requirement) / SECOND


@single_operation
def server_state() -> QuerySteps[ServerState | None]:
    """Return the state of the store's server; None if it is not PostgreSQL."""
    return next(iter((yield from SERVER_STATE())), None)


@single_operation
def dead_rows(table: str) -> QuerySteps[int | None]:
    """Return how many dead rows a table of the store's database has; None if it has no such table."""
    rows = yield from DEAD_ROWS(name=table)
    return rows[0][0] if rows else None


def server_state_sql() -> str:
    """Return the statement that reads the state of any PostgreSQL server."""
    return shipped_blocks("postgres")["server_state"]


def dead_rows_sql() -> str:
    """Return the statement that counts the dead rows of the table `:name`."""
    return shipped_blocks("postgres")["dead_rows"]
