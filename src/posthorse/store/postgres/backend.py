"""The store in PostgreSQL 15 to 18, through psycopg 3: one connection that writes, and those of `reads`.

It recognises poolers: if one shares server connections between transactions, nothing is prepared and nothing is set for
a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import partial
from typing import TypeVar

import psycopg
from psycopg import errors as pg_errors
from psycopg.errors import Diagnostic

from posthorse.clock import Clock, monotonic
from posthorse.errors import StoreError
from posthorse.rules.tuning import DEFAULTS, Tuning
from posthorse.store.backend import Capabilities
from posthorse.store.base import AsyncExecute, BoundQuery, Execute, Operation, TryAgain, drive
from posthorse.store.committer import Answer
from posthorse.store.looks import TimeAllowed
from posthorse.store.migrate import Migrator, Tell
from posthorse.store.patience import LONG_WAIT, Retries, pause
from posthorse.store.postgres.connections import (
    LOCAL_SETTINGS,
    AsyncConnection,
    Connection,
    KeptConnection,
    ServerFacts,
    forever,
)
from posthorse.store.postgres.faults import (
    ConnectionLost,
    OperationFailed,
    Unreplicated,
    away,
    cannot_heal,
    explained,
    in_doubt,
    is_collision,
    is_cut_short,
    is_there_already,
    text_of,
    unreplicated,
)
from posthorse.store.postgres.migrator import PostgresMigrator
from posthorse.store.postgres.reads import Reads
from posthorse.store.postgres.statements import Statements, looking_again
from posthorse.store.postgres.transactions import Transactions
from posthorse.store.postgres.watch import PostgresNotifier
from posthorse.store.queries import Query, Value

T = TypeVar("T")

WAITS_FOR_STANDBYS = "SELECT pg_logical_emit_message(true, 'posthorse', '')"
"""Makes a commit wait for synchronous standbys, which only writing commits do. This one may only find what an earlier
commit wrote that no standby confirmed.
"""


class PostgresBackend:
    """Connections to one database."""

    capabilities = Capabilities(
        has_rivals=True,
        keeps_consumed_entries=True,
        notifies_idle_runners=True,
        creates_schema=False,
        may_be_away=True,
        is_file=False,
    )

    def __init__(self, url: str, schema: str, clock: Clock, tuning: Tuning = DEFAULTS) -> None:
        self.schema = schema
        self.notifier = PostgresNotifier()
        self.patience = LONG_WAIT
        """Maximum seconds for which a store that is away is retried; also the deadline of callers without one."""
        self.while_away: Callable[[Exception], None] = lambda error: None
        """Called repeatedly while a commit waits for a store that is away, so that callers in the queue can give up."""
        self._tuning = tuning
        self._statements = Statements(schema, clock)
        self.channel = self._statements.channel
        self.dialect = self._statements.dialect
        self.queries = self._statements.queries
        self._server = ServerFacts(url)
        self._transactions = Transactions(self._server, self._statements)
        self._writer = KeptConnection(partial(self._server.connect_to_write, self._hear), self._statements.execute_on)
        self._reads = Reads(self._server, self._statements, self._left, places=tuning.postgres_looks)
        self._was_cut_short = False
        """Whether the server stopped waiting for a standby at the last commit."""
        self._is_in_doubt = False
        """Whether it is unknown if the last commit happened, and if standbys have it."""

    def commit(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        """Commit all operations in one transaction, except that each one that must go first has its own. A failing one
        fails alone.

        If a broken connection leaves the outcome unknown, the operations run again and find what they wrote. The few
        that are not repeatable fail with OutcomeUnknown. The first try does not look for rows that may be there
        already: the index reports them.
        """
        began = monotonic()
        failed: Exception | None = None
        if len(operations) == 1 and not operations[0].was_sent:
            # Nearly all commits are of one operation and succeed at once; what the others need would cost a tenth more.
            self._writer.patience = partial(self._longest, operations, began)
            try:
                return [(self._commit_group(operations, looks_again=False)[0], None)]
            except Exception as error:
                failed = error
            except BaseException:  # an interruption, perhaps of the wait for a standby
                self._is_in_doubt = True
                raise
            finally:
                self._writer.patience = forever  # else it would keep references to the operations
        return self._commit_in_tries(operations, began, failed)

    def _commit_in_tries(
        self, operations: Sequence[Operation[object]], began: float, failed: Exception | None
    ) -> Sequence[Answer]:
        """Try until each operation has its answer. failed: how the first try ended, if there was one."""
        answers: dict[int, Answer] = {}
        retries = Retries()
        sent = {number for number, operation in enumerate(operations) if operation.was_sent}
        is_there = False
        while len(answers) < len(operations):
            waiting = [number for number in range(len(operations)) if number not in answers]
            left = _together(operations, waiting)
            group = [operations[number] for number in left]
            self._writer.patience = partial(self._longest, group, began)
            first, failed = failed, None
            try:
                if first is not None:
                    raise first
                looks_again = is_there or not sent.isdisjoint(left)
                for place, answer in enumerate(self._commit_group(group, looks_again=looks_again)):
                    answers[left[place]] = (answer, None)
            except OperationFailed as faulty:
                if is_there_already(faulty.error):
                    is_there = True
                    if not retries.looks_once_more():
                        answers[left[faulty.position]] = (None, in_doubt(faulty.error))
                elif not is_collision(faulty.error) or not retries.takes_another_turn():
                    answers[left[faulty.position]] = (None, explained(faulty.error))
            except ConnectionLost as lost:
                if lost.was_sent:
                    self._is_in_doubt = True
                    sent.update(left)
                    answers.update((n, (None, in_doubt(lost.error))) for n in left if not operations[n].is_repeatable)
                seconds = retries.next_pause()
                open_ = [number for number in waiting if number not in answers]
                is_hopeless = cannot_heal(lost.error)
                over = [number for number in open_ if is_hopeless or self._left(operations[number], began) < seconds]
                answers.update((n, (None, (in_doubt if n in sent else away)(lost.error))) for n in over)
                self.while_away(away(lost.error))
                if over:  # these get their results now; the others run again, without them
                    answers.update((n, (None, TryAgain(was_sent=n in sent))) for n in open_ if n not in answers)
                elif open_:
                    others = [operations[number] for number in open_]
                    self._pause(seconds, partial(self._shortest, others, began), away(lost.error))
            except Unreplicated:
                self._is_in_doubt = True
                answers.update((number, (None, unreplicated())) for number in left)
            except psycopg.Error as error:
                # The commit itself was refused. After a collision all run again.
                if not is_collision(error) or not retries.takes_another_turn():
                    answers.update((number, (None, explained(error))) for number in left)
            except BaseException:  # an interruption, perhaps of the wait for a standby
                self._is_in_doubt = True
                raise
        self._writer.patience = forever  # else it would keep references to the operations
        return [answers[number] for number in range(len(operations))]

    def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, beside the writer."""
        return self._reads.read(operation)

    def try_read(self, operation: Operation[T]) -> T:
        """Do the same once. Raises StoreAway if the server is away and the operation's deadline is not over."""
        return self._reads.try_read(operation)

    def look(self, operation: Operation[T], time: TimeAllowed) -> T:
        """Run an operation that reads many rows, on a connection for such reads. Raises TookTooLong."""
        return self._reads.look(operation, time)

    def connect(self) -> Connection:
        """Open a connection in autocommit, with the session as the server has it."""
        return self._server.connect()

    def transaction(self, longest: float) -> AbstractContextManager[tuple[Connection, Execute]]:
        """Begin a transaction on a connection of its own, of `longest` seconds at most."""
        return self._transactions.begin(longest)

    def atransaction(self, longest: float) -> AbstractAsyncContextManager[tuple[AsyncConnection, AsyncExecute]]:
        """Begin a transaction, for a coroutine."""
        return self._transactions.abegin(longest)

    def execute_on(self, connection: Connection) -> Execute:
        """Make a function that runs queries on a connection, for `drive`."""
        return self._statements.execute_on(connection)

    def values_of(self, query: Query, wanted: BoundQuery) -> dict[str, Value]:
        """Return the values that a query takes, with those that the store supplies."""
        return self._statements.values_of(query, wanted)

    @contextmanager
    def migrating(self, tell: Tell) -> Iterator[Migrator]:
        """Yield what migrates the schema. Raises StoreError."""
        migrator = PostgresMigrator(
            self._server, self.schema, self._statements, tell, patience=self._tuning.migration_patience
        )
        try:
            yield migrator
        except pg_errors.InsufficientPrivilege as error:
            raise StoreError(
                f"this role may not make or change the schema {self.schema!r} ({text_of(error)}); grant it CREATE "
                "on the database, or let a role that has it run `posthorse migrate`"
            ) from error
        except psycopg.Error as error:
            raise explained(error) from error
        finally:
            migrator.close()

    async def notifications(self, begin: Callable[[], None]) -> AsyncIterator[str]:
        """Yield notifications on the store's channel, from when `begin` is called; end at once behind a pooler."""
        connection = await self._server.aconnect()
        try:
            if self._server.is_pooled:
                return
            await connection.execute(f'SET idle_session_timeout = 0; LISTEN "{self.channel}"'.encode())
            begin()
            # By hand, because the driver's own iterator wakes up ten times a second.
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

    def compact(self) -> None:
        """Do nothing: autovacuum makes the space of removed rows usable again."""

    def health(self) -> Mapping[str, str | int | float | None]:
        """Return facts about the server for `posthorse doctor`; ages are in seconds."""
        return self._reads.health(self.schema)

    def exists(self) -> bool:
        """Return True: only the server knows, and is asked for the version of the schema."""
        return True

    def prepare(self) -> None:
        """Do nothing: the database must exist."""

    def remember(self) -> None:
        """Do nothing: a server does not make a database by itself."""

    def wait_at_most(self, seconds: float) -> None:
        """Set for how long a call without a deadline waits for a server that is away."""
        self.patience = seconds

    def close(self) -> None:
        """Close all connections."""
        self._writer.close()
        self._reads.close()
        self._transactions.close()

    def _commit_group(self, operations: Sequence[Operation[object]], *, looks_again: bool) -> list[object]:
        """Try once. Raises OperationFailed for one operation, ConnectionLost or Unreplicated for all."""
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
        if len(operations) == 1 and operations[0].is_single and not self._server.is_pooled and not self._is_in_doubt:
            return [_run(0, operations[0], execute)]
        with connection.transaction():
            if self._server.is_pooled:
                connection.execute(LOCAL_SETTINGS)
            if self._is_in_doubt:
                connection.execute(WAITS_FOR_STANDBYS)
            return [_run(position, operation, execute) for position, operation in enumerate(operations)]

    def _left(self, operation: Operation[object], began: float) -> float:
        """Return the seconds for which the caller of an operation still waits for a store that is away."""
        own = began + self.patience - monotonic()
        return own if operation.deadline is None else min(own, operation.deadline.left)

    def _shortest(self, operations: Sequence[Operation[object]], began: float) -> float:
        return min(self._left(operation, began) for operation in operations)

    def _longest(self, operations: Sequence[Operation[object]], began: float) -> float:
        return max(self._left(operation, began) for operation in operations)

    def _pause(self, seconds: float, left: Callable[[], float], error: Exception) -> None:
        """Wait for a store that is away, while callers in the queue may give up."""

        def still() -> float:
            self.while_away(error)
            return left()

        pause(seconds, still)

    def _hear(self, notice: Diagnostic) -> None:
        self._was_cut_short = self._was_cut_short or is_cut_short(notice)


def _together(operations: Sequence[Operation[object]], waiting: list[int]) -> list[int]:
    """Return which of the waiting operations share the next transaction, in order."""
    if len(waiting) == 1:
        return waiting
    first = [number for number in waiting if operations[number].locks_first]
    return first[:1] + [number for number in waiting if not operations[number].locks_first]


def _run(position: int, operation: Operation[object], execute: Execute) -> object:
    try:
        return drive(operation, execute)
    except Exception as error:
        raise OperationFailed(position, error) from error
