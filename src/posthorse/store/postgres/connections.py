"""Connections to PostgreSQL: how they are asked for, tuned, kept and replaced, and whether a pooler stands between."""

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
"""What the address may say otherwise. A server that vanished without a word is noticed within 25 s."""

MIN_CONNECT = 2.0
"""Seconds in which a connection may be made, however little time there is: the driver takes no less."""

# What a role, a database, the server, PGOPTIONS or the address may have set, and what our statements are written for. A
# transaction of ours that stands still in its midst, with its process, is ended for the sake of those who wait for it.
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

# Every statement starts from what it was given and reaches rows by key: a generic plan is right at every
# size, and the planner must not be led astray by statistics of tables that fill and empty all day.
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
"""What is acknowledged is on the disk; where a commit waits for more than that, it goes on doing so."""

_MODE = "ISOLATION LEVEL read committed READ WRITE NOT DEFERRABLE; "
_BEGIN = f"BEGIN {_MODE}"
SET_MODE = f"SET TRANSACTION {_MODE}"
"""The first thing in a transaction that is begun as the server would have it."""

_PROBE = (
    _BEGIN + "SELECT pg_backend_pid(), current_setting('default_transaction_isolation') = 'read committed'; END"
).encode()
"""Which backend answers, and whether a statement alone runs as ours have to. In a transaction that waits for nothing,
whatever the defaults are."""


def session_settings(server_version: int, *, is_planned: bool) -> bytes:
    """What makes a session ours, in one round trip; `is_planned`: with a planner made for our statements."""
    settings = {**_MEANING, "transaction_timeout": "0"} if server_version >= 170_000 else _MEANING
    sets = "; ".join(f"SET {name} = '{value}'" for name, value in settings.items())
    planning = f"{SESSION}; " if is_planned else ""
    return f"{_BEGIN}{sets}; {planning}SELECT {DURABLE.format('false')}; END".encode()


_OF_A_TRANSACTION = {
    name: value
    for name, value in {**_MEANING, **_PLANNING}.items()
    if not name.startswith("default_transaction") and name != "idle_session_timeout"
}
LOCAL_SETTINGS = "".join(
    (
        f"{SET_MODE}SELECT ",
        *(f"set_config('{name}', '{value}', true), " for name, value in _OF_A_TRANSACTION.items()),
        DURABLE.format("true"),
    )
).encode()
"""The same behind a pooler, where only a transaction may be tuned; nothing is prepared there."""


def conninfo(url: str) -> str:
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # What libpq says may quote the password.
        raise InvalidSettings(_unknown_option(url) or UNREADABLE) from None
    # Texts go out and come back as UTF-8, whatever a role, the server or the environment would have.
    return make_conninfo("", **{**_DEFAULTS, **given, "client_encoding": "UTF8"})


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


class Server:
    """A server, or the pooler before it, and how we connect to it. Raises InvalidSettings for an unreadable address."""

    def __init__(self, url: str) -> None:
        self.is_pooled = False
        """True when the last connection was one of a pooler's: nothing may be prepared or set for longer than a
        transaction."""
        self.may_run_alone = True
        """True when a statement alone runs as ours have to; otherwise it needs a transaction around it."""
        self._conninfo = conninfo(url)
        self._longest = int(conninfo_to_dict(self._conninfo)["connect_timeout"] or 0)

    def connect(self, patience: float = math.inf) -> Connection:
        """A connection in autocommit for statements of users beside ours: its session stays as the server has it.

        `patience`: seconds after which nobody needs it any more. Raises StoreUnreachable.
        """
        return self._connect(patience)

    def connect_to_read(self, patience: float = math.inf) -> Connection:
        """One in whose session our statements mean what they say. Raises StoreUnreachable."""
        return self._connect(patience, is_planned=False)

    def connect_to_write(self, hear: Callable[[Diagnostic], None], patience: float = math.inf) -> Connection:
        """The same, with a planner made for our statements; `hear` is told what the server notes."""
        connection = self._connect(patience, is_planned=True)
        connection.add_notice_handler(hear)
        return connection

    async def aconnect(self) -> AsyncConnection:
        """As `connect`, for a coroutine. Raises StoreUnreachable."""
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
        """With no more time to connect than there is, but for what a connection needs at least."""
        if self._longest > 0 and patience >= self._longest:
            return self._conninfo
        longest = self._longest if self._longest > 0 else math.inf
        seconds = min(longest, max(MIN_CONNECT, patience))
        if math.isinf(seconds):
            return self._conninfo
        return make_conninfo(self._conninfo, connect_timeout=math.ceil(seconds))

    def _probe(self, connection: Connection) -> None:
        cursor = connection.execute(_PROBE, prepare=False)
        cursor.nextset()  # past BEGIN
        backend, may_run_alone = cursor.fetchall()[0]
        self.is_pooled = backend != connection.info.backend_pid
        self.may_run_alone = bool(may_run_alone) or not self.is_pooled


def _adapt(connection: Connection | AsyncConnection) -> None:
    connection.adapters.register_loader("uuid", TextLoader)
    connection.adapters.register_dumper(int, Int8Dumper)


def forever() -> float:
    """The seconds of a caller without a deadline."""
    return math.inf


class KeptConnection:
    """A connection that is used again and again, and replaced when it broke: a context manager, for one at a time."""

    def __init__(self, connect: Callable[[float], Connection], execute_on: Callable[[Connection], Execute]) -> None:
        self.patience: Callable[[], float] = forever
        """Tells the seconds that whoever enters next waits for a connection, if one has to be made."""
        self._connect = connect
        self._execute_on = execute_on
        self._kept: tuple[Connection, Execute] | None = None

    def __enter__(self) -> tuple[Connection, Execute]:
        """The connection and what runs queries on it, or new ones. Raises ConnectionLost when none can be had."""
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
        """One that is broken, or not at rest after an error, is thrown away. Raises ConnectionLost where it broke."""
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
        """Closes the connection; the next use opens another."""
        if self._kept is not None:
            self._kept[0].close()
        self._kept = None
