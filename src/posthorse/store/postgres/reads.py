"""How PostgreSQL is read: one connection for what concerns one job, and some for looks at many rows."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import psycopg
from psycopg import errors as pg_errors

from posthorse.clock import monotonic
from posthorse.errors import StoreError
from posthorse.store.base import BoundQuery, Operation, Rows, StoreAway, drive
from posthorse.store.looks import Places, TimeAllowed
from posthorse.store.patience import Retries, pause
from posthorse.store.postgres.connections import (
    LOCAL_MEANING,
    LOCAL_PLANNING,
    LOCAL_SETTINGS,
    KeptConnection,
    ServerFacts,
)
from posthorse.store.postgres.faults import ConnectionLost, away, cannot_heal, explained, is_collision
from posthorse.store.postgres.health import read_health
from posthorse.store.postgres.statements import Statements

T = TypeVar("T")


class Reads:
    """The connections of one process that only read. Each read is tried again while its caller waits."""

    def __init__(
        self,
        server: ServerFacts,
        statements: Statements,
        left: Callable[[Operation[object], float], float],
        *,
        places: int,
    ) -> None:
        """`left`: tells for how many seconds the caller of an operation still waits for a store that is away."""
        self._server = server
        self._statements = statements
        self._left = left
        self._reader = KeptConnection(server.connect_to_read, statements.execute_on)
        self._reader_lock = threading.Lock()
        self._looks = Places([KeptConnection(server.connect_to_read, statements.execute_on) for _ in range(places)])

    def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, beside the writer."""
        seconds_left = partial(self._left, operation, monotonic())
        return _retried(partial(self._read_once, operation, seconds_left), seconds_left)

    def try_read(self, operation: Operation[T]) -> T:
        """Do the same once. Raises StoreAway if the server is away and the operation's deadline is not over."""
        seconds_left = partial(self._left, operation, monotonic())
        try:
            return _without_collisions(partial(self._read_once, operation, seconds_left))
        except ConnectionLost as lost:
            if cannot_heal(lost.error) or seconds_left() <= 0:
                raise away(lost.error) from lost.error
            raise StoreAway(away(lost.error)) from lost.error

    def look(self, operation: Operation[T], time: TimeAllowed) -> T:
        """Run an operation that reads many rows, on a connection for such reads. Raises TookTooLong."""
        began = monotonic()

        def seconds_left() -> float:
            return min(self._left(operation, began), time.left)

        try:
            return _retried(partial(self._look_once, operation, time, seconds_left), seconds_left)
        except StoreError as error:
            if isinstance(error.__cause__, pg_errors.QueryCanceled) and time.is_over():
                raise time.exceeded() from error
            raise

    def health(self, schema: str) -> Mapping[str, str | int | float | None]:
        """Return facts about the server."""
        with self._reader_lock, self._reader as (connection, _):
            return read_health(connection, schema, is_pooled=self._server.is_pooled)

    def close(self) -> None:
        """Close all connections that read."""
        with self._reader_lock:
            self._reader.close()
        self._looks.empty(KeptConnection.close)

    def _read_once(self, operation: Operation[T], patience: Callable[[], float]) -> T:
        with self._reader_lock:  # not while it waits for a store that is away: others may have less time
            self._reader.patience = patience
            with self._reader as (connection, execute):
                if self._server.may_run_alone:
                    return drive(operation, execute)
                with connection.transaction():
                    connection.execute(LOCAL_SETTINGS)
                    return drive(operation, execute)

    def _look_once(self, operation: Operation[T], time: TimeAllowed, patience: Callable[[], float]) -> T:
        with self._looks.taken(time) as kept:
            kept.patience = patience
            # In a transaction, so that the time limit of its statements holds behind a pooler, too.
            with kept as (connection, execute), connection.transaction():
                if self._server.is_pooled or not self._server.may_run_alone:
                    connection.execute(LOCAL_MEANING)

                def execute_in_time(wanted: BoundQuery) -> Rows:
                    milliseconds = max(1, math.ceil(time.left * 1000))
                    planning = LOCAL_PLANNING if self._statements.queries[wanted.query].goes_by_key else ""
                    settings = f"SET LOCAL statement_timeout = {milliseconds}{planning}"
                    connection.execute(settings.encode(), prepare=False)
                    return execute(wanted)

                return drive(operation, time.within(execute_in_time))


def _retried(read: Callable[[], T], seconds_left: Callable[[], float]) -> T:
    """Read until the store answers, or no time is left."""
    retries = Retries()
    while True:
        try:
            return _without_collisions(read)
        except ConnectionLost as lost:
            seconds = retries.next_pause()
            if cannot_heal(lost.error) or seconds_left() < seconds:
                raise away(lost.error) from lost.error
            pause(seconds, seconds_left)


def _without_collisions(read: Callable[[], T]) -> T:
    """Read until that collides with no other transaction. Raises ConnectionLost."""
    retries = Retries()
    while True:
        try:
            return read()
        except psycopg.Error as error:
            if not is_collision(error) or not retries.takes_another_turn():
                raise explained(error) from error
