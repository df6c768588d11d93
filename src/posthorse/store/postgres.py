"""The store in PostgreSQL 15 to 18, through psycopg 3: one connection that writes, one that reads.

Knows about poolers: behind one that shares server connections between transactions, nothing is prepared and
nothing is set for a session.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TypeVar, cast
from weakref import WeakKeyDictionary, finalize

import psycopg
from psycopg import errors as pg_errors
from psycopg.errors import Diagnostic
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import TextLoader

from posthorse.clock import Clock
from posthorse.errors import StoreError
from posthorse.store.base import AsyncExecute, Execute, Operation, drive
from posthorse.store.committer import Answer
from posthorse.store.patience import Patience
from posthorse.store.postgres_connections import (
    AsyncConnection,
    Connection,
    KeptConnection,
    conninfo,
    is_pooled,
)
from posthorse.store.postgres_faults import (
    ConnectionLost,
    Faulty,
    Unreplicated,
    away,
    explained,
    in_doubt,
    is_collision,
    is_cut_short,
    is_there_already,
    raise_if_gone,
    text_of,
    unreachable,
    unreplicated,
)
from posthorse.store.postgres_statements import NO_BOOT, Statements, looking_again

T = TypeVar("T")

# Every statement starts from what it was given and reaches rows by key: a generic plan is right at every
# size, and the planner must not be led astray by statistics of tables that fill and empty all day.
SESSION = (
    "SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off; "
    "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_bitmapscan = off; SET enable_sort = off"
)

_LIMITS = (
    "SELECT set_config('idle_in_transaction_session_timeout', %s, true), set_config('statement_timeout', %s, true)"
)

LOCAL_SETTINGS = (
    "SELECT set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true), "
    "set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), "
    "set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)"
)
"""The same behind a pooler, where only a transaction may be tuned; nothing is prepared there."""

_HEALTH = """
    SELECT current_setting('server_version'),
        (SELECT extract(epoch FROM clock_timestamp() - min(xact_start))::float8 FROM pg_stat_activity
         WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'),
        (SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE schemaname = %s),
        (SELECT coalesce(sum(n_live_tup), 0)::bigint FROM pg_stat_user_tables WHERE schemaname = %s),
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        current_setting('max_connections')::bigint, current_setting('fsync'), current_setting('synchronous_commit')
"""
WAITS_FOR_STANDBYS = "SELECT pg_logical_emit_message(true, 'posthorse', '')"
"""Makes a commit wait for synchronous standbys, as only those do that wrote something, though it may only find what an
earlier one wrote that no standby confirmed."""

MIGRATION_SECONDS = 3600.0
PATIENCE = 30.0
"""Seconds for which a store that went away is asked again before its callers hear of it."""


class PostgresBackend:
    """Connections to one database."""

    boot = NO_BOOT

    def __init__(self, url: str, schema: str, clock: Clock) -> None:
        self.schema = schema
        self.patience = PATIENCE
        self._statements = Statements(schema, clock)
        self.channel = self._statements.channel
        self.dialect = self._statements.dialect
        self.queries = self._statements.queries
        self.execute_on = self._statements.execute_on
        self.values_of = self._statements.values_of
        self._conninfo = conninfo(url)
        self._writer = KeptConnection(partial(self._connect, tuned=True), self.execute_on)
        self._reader = KeptConnection(self.connect, self.execute_on)
        self._reader_lock = threading.Lock()
        self._is_pooled = False
        self._was_cut_short = False
        """True when the server said so of the last commit."""
        self._is_in_doubt = False
        """True after a commit of which nobody knows whether it happened, and whether standbys have it."""
        self._spares: list[Connection] = []
        self._async_spares: WeakKeyDictionary[asyncio.AbstractEventLoop, list[AsyncConnection]] = WeakKeyDictionary()

    def commit(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        """All operations in one transaction, but for those that have to go first: one of them in each. One that is at
        fault fails alone.

        What a broken connection left in doubt is asked for again: each operation finds what it wrote. The few
        that cannot (they are not repeatable) fail with OutcomeUnknown. The first try does not look for what may be
        there already: that it is, the index says.
        """
        answers: dict[int, Answer] = {}
        patience = Patience(self.patience)
        was_sent = is_there = False
        while waiting := [number for number in range(len(operations)) if number not in answers]:
            left = _together(operations, waiting)
            try:
                group = [operations[number] for number in left]
                for number, answer in zip(left, self._commit_group(group, was_sent or is_there), strict=True):
                    answers[number] = (answer, None)
            except Faulty as faulty:
                if is_there_already(faulty.error):
                    is_there = True
                    if not patience.looks_once_more():
                        answers[left[faulty.position]] = (None, in_doubt(faulty.error))
                elif not is_collision(faulty.error) or not patience.takes_another_turn():
                    answers[left[faulty.position]] = (None, explained(faulty.error))
            except ConnectionLost as lost:
                was_sent = was_sent or lost.was_sent
                self._is_in_doubt = self._is_in_doubt or lost.was_sent
                for number in left:
                    if lost.was_sent and not operations[number].is_repeatable:
                        answers[number] = (None, in_doubt(lost.error))
                if not patience.waits():
                    error = in_doubt(lost.error) if was_sent else away(lost.error)
                    answers.update((number, (None, error)) for number in left if number not in answers)
            except Unreplicated:
                self._is_in_doubt = True
                answers.update((number, (None, unreplicated())) for number in left)
            except psycopg.Error as error:
                answers.update((number, (None, explained(error))) for number in left)
            except BaseException:  # an interruption, perhaps of the wait for a standby
                self._is_in_doubt = True
                raise
        return [answers[number] for number in range(len(operations))]

    def read(self, operation: Operation[object]) -> object:
        """Runs an operation that only reads, beside the writer."""
        patience = Patience(self.patience)
        with self._reader_lock:
            while True:
                try:
                    return self._read_once(operation)
                except ConnectionLost as lost:
                    if not patience.waits():
                        raise away(lost.error) from lost.error
                except psycopg.Error as error:
                    raise explained(error) from error

    def ring(self) -> None:
        """Nothing: statements notify by themselves."""

    def connect(self) -> Connection:
        """A connection in autocommit, as it comes from the server."""
        return self._connect(tuned=False)

    def _connect(self, *, tuned: bool) -> Connection:
        connection = None
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True)
            connection.adapters.register_loader("uuid", TextLoader)
            connection.adapters.register_dumper(int, Int8Dumper)
            self._is_pooled = is_pooled(connection)
            if self._is_pooled:
                connection.prepare_threshold = None
            elif tuned:
                connection.execute(SESSION)
            if tuned:
                connection.add_notice_handler(self._hear)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if connection is not None:
                connection.close()
            raise unreachable(error) from error
        return connection

    @contextmanager
    def transaction(self, longest: float) -> Iterator[tuple[Connection, Execute]]:
        """A transaction on a connection of its own, with the search path of the database.

        The server ends it when it takes more than `longest` seconds.
        """
        connection = self._spare() or self.connect()
        began = time.monotonic()
        try:
            with connection.transaction():
                connection.execute(_LIMITS, [f"{longest:.3f}s"] * 2)
                yield connection, self.execute_on(connection)
                _raise_if_overdue(began, longest)
        except BaseException as error:
            is_broken = connection.closed
            connection.close()
            _raise_if_overdue(began, longest, error)
            raise_if_gone(error, is_broken=is_broken)
            raise
        self._spares.append(connection)

    @asynccontextmanager
    async def atransaction(self, longest: float) -> AsyncIterator[tuple[AsyncConnection, AsyncExecute]]:
        """The same for a coroutine."""
        spares = self._spares_of(asyncio.get_running_loop())
        connection = spares.pop() if spares else await self._aconnect()
        began = time.monotonic()
        try:
            async with connection.transaction():
                await connection.execute(_LIMITS, [f"{longest:.3f}s"] * 2)
                yield connection, self._statements.aexecute_on(connection)
                _raise_if_overdue(began, longest)
        except BaseException as error:
            is_broken = connection.closed
            await connection.close()
            _raise_if_overdue(began, longest, error)
            raise_if_gone(error, is_broken=is_broken)
            raise
        spares.append(connection)

    @contextmanager
    def migrating(self) -> Iterator[tuple[Execute, Callable[[str], None]]]:
        """A transaction that nobody else migrates in: what runs queries, and what runs files."""
        try:
            with self.transaction(MIGRATION_SECONDS) as (connection, execute):
                connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [self.channel])
                yield execute, partial(self._run_script, connection)
            self._spares.remove(connection)  # migrating is rare
            connection.close()
        except pg_errors.InsufficientPrivilege as error:
            raise StoreError(
                f"this role may not make or change the schema {self.schema!r} ({text_of(error)}); grant it CREATE "
                "on the database, or let a role that has it run `posthorse migrate`"
            ) from error
        except psycopg.Error as error:
            raise explained(error) from error

    async def notifications(self, begin: Callable[[], None]) -> AsyncIterator[str]:
        """What other sessions tell on our channel, from when `begin` is called; ends at once behind a pooler."""
        connection = await self._aconnect()
        try:
            if self._is_pooled:
                return
            await connection.execute(f'LISTEN "{self.channel}"'.encode())
            begin()
            # By hand, for the driver's own iterator wakes up ten times a second to see whether it should go on.
            readable = asyncio.Event()
            loop = asyncio.get_running_loop()
            descriptor = connection.fileno()
            loop.add_reader(descriptor, readable.set)
            try:
                while await readable.wait():
                    readable.clear()
                    connection.pgconn.consume_input()
                    while (notification := connection.pgconn.notifies()) is not None:
                        yield notification.extra.decode()
            finally:
                loop.remove_reader(descriptor)
        finally:
            await connection.close()

    async def _aconnect(self) -> AsyncConnection:
        try:
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise unreachable(error) from error
        connection.adapters.register_loader("uuid", TextLoader)
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.prepare_threshold = None if self._is_pooled else connection.prepare_threshold
        return connection

    def _spares_of(self, loop: asyncio.AbstractEventLoop) -> list[AsyncConnection]:
        """Connections that wait for their next use; they belong to their loop, and end with it."""
        spares = self._async_spares.get(loop)
        if spares is None:
            spares = self._async_spares[loop] = []
            finalize(loop, _finish, spares)
        return spares

    def _spare(self) -> Connection | None:
        """A connection left by an earlier transaction, if the server still answers on it."""
        while self._spares:
            connection = self._spares.pop()
            with suppress(psycopg.Error):
                connection.execute("")
                return connection
            connection.close()
        return None

    def _run_script(self, connection: Connection, text: str) -> None:
        # Looked up first: IF NOT EXISTS needs the right to create schemas even when there is nothing to create.
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [self.schema]).fetchone()
        if found is None:
            connection.execute(f"CREATE SCHEMA {self.dialect.table('').removesuffix('.')}".encode())
        for statement in self._statements.script(text):
            connection.execute(statement)

    def health(self) -> Mapping[str, str | int | float | None]:
        """What `posthorse doctor` says about the server; ages are in seconds."""
        with self._reader_lock, self._reader as (connection, _):
            row = connection.execute(_HEALTH, [self.schema, self.schema]).fetchone()
        assert row is not None
        version, oldest, dead, live, connections, most, fsync, commits = cast(
            "tuple[str, float | None, int, int, int, int, str, str]", row
        )
        return {
            "server": version,
            "oldest_transaction_seconds": oldest,
            "dead_rows": dead,
            "live_rows": live,
            "connections": connections,
            "most_connections": most,
            "pooled": int(self._is_pooled),
            "fsync": fsync,
            "synchronous_commit": commits,
        }

    def close(self) -> None:
        """Closes all connections."""
        self._writer.close()
        with self._reader_lock:
            self._reader.close()
        while self._spares:
            self._spares.pop().close()
        for spares in list(self._async_spares.values()):
            _finish(spares)

    def _commit_group(self, operations: Sequence[Operation[object]], looks_again: bool) -> list[object]:
        """One try. Raises Faulty when one operation failed, ConnectionLost or Unreplicated when nobody is to blame."""
        with self._writer as (connection, execute):
            self._was_cut_short = False
            answers = self._run_group(connection, looking_again(execute) if looks_again else execute, operations)
            if self._was_cut_short:
                raise Unreplicated
            self._is_in_doubt = False
            return answers

    def _run_group(
        self, connection: Connection, execute: Execute, operations: Sequence[Operation[object]]
    ) -> list[object]:
        if len(operations) == 1 and operations[0].is_single and not self._is_pooled and not self._is_in_doubt:
            return [_run(0, operations[0], execute)]
        with connection.transaction():
            if self._is_pooled:
                connection.execute(LOCAL_SETTINGS)
            if self._is_in_doubt:
                connection.execute(WAITS_FOR_STANDBYS)
            return [_run(position, operation, execute) for position, operation in enumerate(operations)]

    def _hear(self, notice: Diagnostic) -> None:
        self._was_cut_short = self._was_cut_short or is_cut_short(notice)

    def _read_once(self, operation: Operation[object]) -> object:
        with self._reader as (_, execute):
            return drive(operation, execute)


def _together(operations: Sequence[Operation[object]], waiting: Sequence[int]) -> list[int]:
    """Which of those that wait share the next transaction, in which order."""
    first = [number for number in waiting if operations[number].goes_first]
    return first[:1] + [number for number in waiting if not operations[number].goes_first]


def _raise_if_overdue(began: float, longest: float, error: BaseException | None = None) -> None:
    """Says why a transaction ended that took too long: the server words it in its own way, or not at all."""
    is_ours = error is None or isinstance(error, psycopg.Error)
    if is_ours and time.monotonic() - began > longest:
        raise StoreError(
            f"the transaction took more than the {longest:.0f} s that it may, a third of the lease, and was rolled "
            "back; use smaller slices"
        ) from error


def _finish(connections: list[AsyncConnection]) -> None:
    """Closes connections whose loop is over, or at rest: nobody awaits them."""
    while connections:
        connection = connections.pop()
        connection.pgconn.finish()


def _run(position: int, operation: Operation[object], execute: Execute) -> object:
    try:
        return drive(operation, execute)
    except Exception as error:
        raise Faulty(position, error) from error
