"""Connections to PostgreSQL: how they are asked for, kept and replaced, and whether a pooler stands between."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from types import TracebackType

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from posthorse.errors import InvalidSettings, StoreUnreachable
from posthorse.store.base import Execute
from posthorse.store.postgres_faults import CONNECTION_ENDS, ConnectionLost, Faulty

Connection = psycopg.Connection[tuple[object, ...]]
AsyncConnection = psycopg.AsyncConnection[tuple[object, ...]]

_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "application_name": "posthorse",
}
"""What the address may say otherwise. A server that vanished without a word is noticed within 25 s."""


def conninfo(url: str) -> str:
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise InvalidSettings(
            "the address of the PostgreSQL store cannot be read; write postgresql://user:password@host/database, with "
            "%40 for an @ and %2F for a / inside the password"
        ) from None  # what libpq says may quote the password
    return make_conninfo("", **{**_DEFAULTS, **given})


def channel_of(schema: str) -> str:
    """A channel for each schema, within the 63 bytes that PostgreSQL allows and safe to quote."""
    if re.fullmatch(r"\w{1,50}", schema, re.ASCII):
        return f"posthorse_{schema}"
    return f"posthorse_{hashlib.sha256(schema.encode()).hexdigest()[:32]}"


def is_pooled(connection: Connection) -> bool:
    """True behind a pooler: the backend that answers is not the one that the connection was told of."""
    row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    return row is not None and row[0] != connection.info.backend_pid


class KeptConnection:
    """A connection that is used again and again, and replaced when it broke: a context manager, for one at a time."""

    def __init__(self, connect: Callable[[], Connection], execute_on: Callable[[Connection], Execute]) -> None:
        self._connect = connect
        self._execute_on = execute_on
        self._kept: tuple[Connection, Execute] | None = None

    def __enter__(self) -> tuple[Connection, Execute]:
        """The connection and what runs queries on it, or new ones. Raises ConnectionLost when none can be had."""
        if self._kept is None or self._kept[0].closed:
            try:
                connection = self._connect()
            except StoreUnreachable as error:
                raise ConnectionLost(error, was_sent=False) from error
            self._kept = connection, self._execute_on(connection)
        return self._kept

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """One that is broken, or not at rest after an error, is thrown away. Raises ConnectionLost where it broke."""
        if error is None or self._kept is None:
            return
        connection, _ = self._kept
        cause = error.error if isinstance(error, Faulty) else error
        is_broken = connection.closed or isinstance(cause, CONNECTION_ENDS)
        if is_broken or connection.info.transaction_status != TransactionStatus.IDLE:
            self.close()
        if is_broken and isinstance(cause, psycopg.Error):
            raise ConnectionLost(cause, was_sent=True) from error

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        if self._kept is not None:
            self._kept[0].close()
        self._kept = None
