"""Connections to PostgreSQL: how they are opened, configured, kept and replaced, and whether a pooler is in between."""

from __future__ import annotations

import hashlib
import math
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
from posthorse.store.postgres.faults import CONNECTION_ENDS, ConnectionLost, OperationFailed, unreachable

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
"""Defaults that the address may override. A server that vanished without a word is noticed within 25 s."""

MIN_CONNECT = 2.0
"""Minimum seconds for opening a connection, however little time is left: the driver accepts no less."""

# A role, a database, the server, PGOPTIONS or the address may have set these otherwise; our statements rely on them.
# The server ends a transaction of ours that hangs with its process, because others wait for it.
_MEANING = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "30s",
    "idle_session_timeout": "0",
    "row_security": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
}

# Every statement starts from given values and reaches rows by key, so a generic plan is right at every size. Statistics
# of tables that fill and empty all day must not mislead the planner.
_PLANNING = {
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
}
SESSION = "SET plan_cache_mode = force_generic_plan; " + "; ".join(
    f"SET {name} = {value}" for name, value in _PLANNING.items()
)

DURABLE = (
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit') "
    "WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, {})"
)
"""Makes acknowledged commits durable on disk; a commit that waits for more than that still does so."""

_MODE = "ISOLATION LEVEL read committed READ WRITE NOT DEFERRABLE; "
_BEGIN = f"BEGIN {_MODE}"
SET_MODE = f"SET TRANSACTION {_MODE}"
"""The first statement in a transaction that begins with the server's defaults."""

_PROBE = (
    _BEGIN + "SELECT pg_backend_pid(), current_setting('default_transaction_isolation') = 'read committed'; END"
).encode()
"""Asks which backend replies, and whether a single statement has the settings that ours need. It runs in a transaction
that waits for nothing, whatever the defaults are.
"""


def session_settings(server_version: int, *, is_planned: bool) -> bytes:
    """Return the settings of our sessions, set in one round trip; `is_planned`: configure the planner for our
    statements, too.
    """
    settings = {**_MEANING, "transaction_timeout": "0"} if server_version >= 170_000 else _MEANING
    sets = "; ".join(f"SET {name} = '{value}'" for name, value in settings.items())
    planning = f"{SESSION}; " if is_planned else ""
    return f"{_BEGIN}{sets}; {planning}SELECT {DURABLE.format('false')}; END".encode()


def _local(settings: dict[str, str]) -> bytes:
    """Return a statement that sets the settings for one transaction."""
    sets = "".join(
        f"set_config('{name}', '{value}', true), "
        for name, value in settings.items()
        if not name.startswith("default_transaction") and name != "idle_session_timeout"
    )
    return f"{SET_MODE}SELECT {sets}{DURABLE.format('true')}".encode()


LOCAL_SETTINGS = _local({**_MEANING, **_PLANNING})
"""The settings of our sessions for one transaction, behind a pooler, where nothing is prepared."""

LOCAL_MEANING = _local(_MEANING)
"""The same without those of the planner, for looks."""

LOCAL_PLANNING = "; SET LOCAL plan_cache_mode = force_generic_plan" + "".join(
    f"; SET LOCAL {name} = {value}" for name, value in _PLANNING.items()
)
"""Added to another statement: configures the planner for the rest of a transaction."""


def conninfo(url: str) -> str:
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq's message may quote the password.
        raise InvalidSettings(_unknown_option(url) or UNREADABLE) from None
    # Exchange texts as UTF-8, whatever a role, the server or the environment says.
    return make_conninfo("", **{**_DEFAULTS, **given, "client_encoding": "UTF8"})


def _unknown_option(url: str) -> str | None:
    """Explain that an address has an option of another library; None if something else is wrong."""
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
    """Return a channel for each schema, within the 63 bytes that PostgreSQL allows, and safe to quote."""
    if re.fullmatch(r"\w{1,50}", schema, re.ASCII):
        return f"posthorse_{schema}"
    return f"posthorse_{hashlib.sha256(schema.encode()).hexdigest()[:32]}"


class ServerFacts:
    """A server, or the pooler before it, and how to connect to it. Raises InvalidSettings for an unreadable address."""

    def __init__(self, url: str) -> None:
        self.is_pooled = False
        """Whether the last connection was a pooler's, where nothing may be prepared or set for longer than a
        transaction.
        """
        self.may_run_alone = True
        """Whether a single statement has the settings that ours need; otherwise it needs a transaction around it."""
        self._conninfo = conninfo(url)
        self._longest = int(conninfo_to_dict(self._conninfo)["connect_timeout"] or 0)

    def connect(self, patience: float = math.inf) -> Connection:
        """Open a connection in autocommit for users' statements beside ours; its session stays as the server has it.

        patience: seconds after which the caller gives up. Raises StoreUnreachable.
        """
        return self._connect(patience)

    def connect_to_read(self, patience: float = math.inf) -> Connection:
        """Open a connection whose session has the settings that our statements rely on. Raises StoreUnreachable."""
        return self._connect(patience, is_planned=False)

    def connect_to_write(self, hear: Callable[[Diagnostic], None], patience: float = math.inf) -> Connection:
        """Open one with the planner configured for our statements, too; `hear` receives the server's notices."""
        connection = self._connect(patience, is_planned=True)
        connection.add_notice_handler(hear)
        return connection

    async def aconnect(self) -> AsyncConnection:
        """Open a connection as `connect` does, for a coroutine. Raises StoreUnreachable."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise unreachable(error) from error
        _adapt(connection)
        if self.is_pooled:
            connection.prepare_threshold = None
        return connection

    def _connect(self, patience: float, *, is_planned: bool | None = None) -> Connection:
        try:
            connection = psycopg.connect(self._conninfo_within(patience), autocommit=True)
        except psycopg.OperationalError as error:
            raise unreachable(error) from error
        try:
            _adapt(connection)
            self._probe(connection)
            if self.is_pooled:
                connection.prepare_threshold = None
            elif is_planned is not None:
                connection.execute(session_settings(connection.info.server_version, is_planned=is_planned))
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
                raise unreachable(error) from error
            raise
        return connection

    def _conninfo_within(self, patience: float) -> str:
        """Limit the time to connect to what is left, but not below the driver's minimum."""
        if self._longest > 0 and patience >= self._longest:
            return self._conninfo
        longest = self._longest if self._longest > 0 else math.inf
        seconds = min(longest, max(MIN_CONNECT, patience))
        if math.isinf(seconds):
            return self._conninfo
        return make_conninfo(self._conninfo, connect_timeout=math.ceil(seconds))

    def _probe(self, connection: Connection) -> None:
        cursor = connection.execute(_PROBE, prepare=False)
        cursor.nextset()  # skip BEGIN
        backend, may_run_alone = cursor.fetchall()[0]
        self.is_pooled = backend != connection.info.backend_pid
        self.may_run_alone = bool(may_run_alone) or not self.is_pooled


def _adapt(connection: Connection | AsyncConnection) -> None:
    connection.adapters.register_loader("uuid", TextLoader)
    connection.adapters.register_dumper(int, Int8Dumper)


def forever() -> float:
    """Return the seconds of a caller without a deadline."""
    return math.inf


class KeptConnection:
    """A connection that is reused, and replaced when it broke: a context manager, for one user at a time."""

    def __init__(self, connect: Callable[[float], Connection], execute_on: Callable[[Connection], Execute]) -> None:
        self.patience: Callable[[], float] = forever
        """Returns the seconds that the next user waits for a new connection, if one must be opened."""
        self._connect = connect
        self._execute_on = execute_on
        self._kept: tuple[Connection, Execute] | None = None

    def __enter__(self) -> tuple[Connection, Execute]:
        """Return the connection and what runs queries on it; open new ones if needed. Raises ConnectionLost."""
        if self._kept is None or self._kept[0].closed:
            try:
                connection = self._connect(self.patience())
            except StoreUnreachable as error:
                raise ConnectionLost(error, was_sent=False) from error
            self._kept = connection, self._execute_on(connection)
        return self._kept

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop a connection that is broken, or not idle after an error. Raises ConnectionLost if it broke."""
        if error is None or self._kept is None:
            return
        connection, _ = self._kept
        cause = error.error if isinstance(error, OperationFailed) else error
        is_broken = connection.closed or isinstance(cause, CONNECTION_ENDS)
        if is_broken or connection.info.transaction_status != TransactionStatus.IDLE:
            self.close()
        if is_broken and isinstance(cause, psycopg.Error):
            raise ConnectionLost(cause, was_sent=True) from error

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        if self._kept is not None:
            self._kept[0].close()
        self._kept = None
