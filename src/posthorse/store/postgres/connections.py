"""Connections to PostgreSQL: how they are asked for, tuned, kept and replaced, and whether a pooler stands between."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from types import TracebackType

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import Diagnostic
from psycopg.pq import Conninfo, TransactionStatus
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import TextLoader

from posthorse.errors import InvalidSettings, StoreUnreachable
from posthorse.store.address import UNREADABLE
from posthorse.store.base import Execute
from posthorse.store.postgres.faults import CONNECTION_ENDS, ConnectionLost, Faulty, unreachable

Connection = psycopg.Connection[tuple[object, ...]]
AsyncConnection = psycopg.AsyncConnection[tuple[object, ...]]

_INSTEAD = {
    "schema": 'leave it out and give ph.Posthorse(url, schema="…") or POSTHORSE_SCHEMA',
    "pgbouncer": "leave it out: a pooler is recognised without it",
}

_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "application_name": "posthorse",
}
"""What the address may say otherwise. A server that vanished without a word is noticed within 25 s."""

# Every statement starts from what it was given and reaches rows by key: a generic plan is right at every
# size, and the planner must not be led astray by statistics of tables that fill and empty all day.
SESSION = (
    "SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off; "
    "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off; SET enable_sort = off"
)

LOCAL_SETTINGS = (
    "SELECT set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true), "
    "set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), "
    "set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)"
)
"""The same behind a pooler, where only a transaction may be tuned; nothing is prepared there."""


def conninfo(url: str) -> str:
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # What libpq says may quote the password.
        raise InvalidSettings(_unknown_option(url) or UNREADABLE) from None
    return make_conninfo("", **{**_DEFAULTS, **given})


def _unknown_option(url: str) -> str | None:
    """What is wrong with an address that has an option of another library; None when it is something else."""
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    for option in url.partition("?")[2].split("&"):
        name, equals, value = option.partition("=")
        if equals and name.isidentifier() and name not in known and "@" not in value:
            return (
                f"the address of the PostgreSQL store has the option {name!r}, which is not one of PostgreSQL's; "
                f"{_INSTEAD.get(name, 'leave it out')}"
            )
    return None


def channel_of(schema: str) -> str:
    """A channel for each schema, within the 63 bytes that PostgreSQL allows and safe to quote."""
    if re.fullmatch(r"\w{1,50}", schema, re.ASCII):
        return f"posthorse_{schema}"
    return f"posthorse_{hashlib.sha256(schema.encode()).hexdigest()[:32]}"


def is_pooled(connection: Connection) -> bool:
    """True behind a pooler: the backend that answers is not the one that the connection was told of."""
    row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    return row is not None and row[0] != connection.info.backend_pid


class Server:
    """A server, or the pooler before it, and how we connect to it. Raises InvalidSettings for an unreadable address."""

    def __init__(self, url: str) -> None:
        self.is_pooled = False
        """True when the last connection was one of a pooler's: nothing may be prepared or set for longer than a
        transaction."""
        self._conninfo = conninfo(url)

    def connect(self) -> Connection:
        """A connection in autocommit, as it comes from the server. Raises StoreUnreachable."""
        return self._connect()

    def connect_tuned(self, hear: Callable[[Diagnostic], None]) -> Connection:
        """One whose session is made for our statements, if it has one; `hear` is told what the server notes."""
        return self._connect(hear)

    async def aconnect(self) -> AsyncConnection:
        """A connection for a coroutine, as it comes from the server. Raises StoreUnreachable."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise unreachable(error) from error
        _adapt(connection)
        if self.is_pooled:
            connection.prepare_threshold = None
        return connection

    def _connect(self, hear: Callable[[Diagnostic], None] | None = None) -> Connection:
        connection = None
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True)
            _adapt(connection)
            self.is_pooled = is_pooled(connection)
            if self.is_pooled:
                connection.prepare_threshold = None
            elif hear:
                connection.execute(SESSION)
            if hear:
                connection.add_notice_handler(hear)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if connection is not None:
                connection.close()
            raise unreachable(error) from error
        return connection


def _adapt(connection: Connection | AsyncConnection) -> None:
    connection.adapters.register_loader("uuid", TextLoader)
    connection.adapters.register_dumper(int, Int8Dumper)


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
