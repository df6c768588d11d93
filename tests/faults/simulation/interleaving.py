"""Interleaving: operations mixed statement by statement on a real PostgreSQL, in an order that a seed decides.

Each operation has a connection and a transaction of its own. Before each statement, chance decides whose turn it is. An
operation that waits for a lock is left to wait, and the others go on; the server ends a deadlock, and the operation
starts again, as in the store. So a race that threads meet once in a million times is met on purpose, and again with the
same seed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import psycopg
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import TextLoader

from posthorse.store.base import BoundQuery, Operation, Rows, adrive
from posthorse.store.postgres.backend import PostgresBackend
from posthorse.store.postgres.connections import SESSION, AsyncConnection
from posthorse.store.postgres.faults import is_collision

AT_ONCE = 0.002
"""Seconds in which most statements return; for one that does not, the server is asked whether it waits for a lock."""

MAX_TRIES = 10


class Interleaving:
    """Connections to one database, on which operations run together."""

    def __init__(self, backend: PostgresBackend, url: str) -> None:
        self._backend = backend
        self._url = url
        self._connections: list[AsyncConnection] = []
        self.turns = 0
        self.waits = 0
        """How often an operation waited for a lock."""
        self.repeats = 0
        """How often an operation started again, after a deadlock or a lease race."""

    async def open(self, count: int) -> None:
        """Open this many connections, and one that watches."""
        self._observer = await self._connect()
        self._connections = [await self._connect() for _ in range(count)]

    async def close(self) -> None:
        """Close them."""
        for connection in (*self._connections, self._observer):
            await connection.close()

    async def run(self, operations: Sequence[Operation[object]], chance: random.Random) -> tuple[list[object], str]:
        """Run all operations to their ends; return the result or error of each, and who took turns."""
        acts = [
            _Act(self._backend, connection, operation)
            for operation, connection in zip(operations, self._connections, strict=False)
        ]
        for act in acts:
            await self._comes_back(act)  # to its first turn
        order: list[str] = []
        waiting: list[_Act] = []
        while any(not act.is_over for act in acts):
            ready = [act for act in acts if not act.is_over and act not in waiting]
            if ready:
                act = chance.choice(ready)
                self.turns += 1
                order.append(str(acts.index(act)))
                act.take_turn()
                if not await self._comes_back(act):
                    self.waits += 1
                    order.append("…")
                    waiting.append(act)
            # They are in the order in which they began to wait. If all of them wait, the server ends the deadlock.
            waiting = [act for act in waiting if not await self._comes_back(act, may_wait=bool(ready))]
        self.repeats += sum(act.repeats for act in acts)
        return [act.answer for act in acts], "".join(order)

    async def _comes_back(self, act: _Act, *, may_wait: bool = True) -> bool:
        """Return whether an operation is at its next turn, or over; False if it waits for a lock that another one
        holds."""
        while not await act.has_come_back():
            if may_wait and await self._is_blocked(act.pid):
                return False
        return True

    async def _is_blocked(self, pid: int) -> bool:
        found = await self._observer.execute("SELECT cardinality(pg_blocking_pids(%s::int)) > 0", [pid])
        row = await found.fetchone()
        return row is not None and bool(row[0])

    async def _connect(self) -> AsyncConnection:
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        connection.adapters.register_loader("uuid", TextLoader)
        connection.adapters.register_dumper(int, Int8Dumper)
        await connection.execute(SESSION)
        await connection.execute("SET deadlock_timeout = '20ms'; SET synchronous_commit = off")
        return connection


class _Act:
    """One operation on its way. It stops before each statement, and before its commit, until it is given a turn."""

    def __init__(self, backend: PostgresBackend, connection: AsyncConnection, operation: Operation[object]) -> None:
        self.pid = connection.info.backend_pid
        self.repeats = 0
        self._backend = backend
        self._connection = connection
        self._cursor = psycopg.AsyncRawCursor(connection)
        self._operation = operation
        self._turn = asyncio.Event()
        self._came_back = asyncio.Event()
        self._task = asyncio.create_task(self._go_through())

    @property
    def is_over(self) -> bool:
        return self._task.done()

    @property
    def answer(self) -> object:
        """Its result or its error."""
        return self._task.exception() or self._task.result()

    def take_turn(self) -> None:
        """Let it do one thing."""
        self._came_back.clear()
        self._turn.set()

    async def has_come_back(self) -> bool:
        """Return whether it has done that."""
        with suppress(TimeoutError):
            async with asyncio.timeout(AT_ONCE):
                await self._came_back.wait()
        return self._came_back.is_set()

    async def _go_through(self) -> object:
        try:
            while True:
                try:
                    async with self._connection.transaction():
                        answer = await adrive(self._operation, self._execute)
                        await self._wait_for_turn()
                    return answer
                except Exception as error:
                    if not is_collision(error) or self.repeats >= MAX_TRIES:
                        raise
                    self.repeats += 1
        finally:
            self._came_back.set()

    async def _execute(self, wanted: BoundQuery) -> Rows:
        await self._wait_for_turn()
        query = self._backend.queries[wanted.query]
        values = self._backend.values_of(query, wanted)
        for statement in query.statements:
            given = statement.parameters(values)
            await self._cursor.execute(statement.sql.encode(), given, prepare=True)
        return cast("Rows", await self._cursor.fetchall()) if self._cursor.description else []

    async def _wait_for_turn(self) -> None:
        self._came_back.set()
        await self._turn.wait()
        self._turn.clear()
