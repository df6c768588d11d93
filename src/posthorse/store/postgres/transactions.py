"""Transactions of slices: each on a connection of its own, with the search path of the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from weakref import WeakKeyDictionary, finalize

import psycopg

from posthorse.clock import monotonic
from posthorse.store.base import AsyncExecute, Execute
from posthorse.store.overdue import overdue
from posthorse.store.postgres.connections import DURABLE, SET_MODE, AsyncConnection, Connection, Server
from posthorse.store.postgres.faults import raise_if_gone
from posthorse.store.postgres.statements import Statements


def _opening(longest: float) -> bytes:
    """The first statements of a slice's transaction: its limits of time, and what our statements in it rely on."""
    milliseconds = f"'{longest * 1000:.0f}ms'"
    return (
        f"{SET_MODE}SELECT set_config('idle_in_transaction_session_timeout', {milliseconds}, true), "
        f"set_config('statement_timeout', {milliseconds}, true), {DURABLE.format('true')}"
    ).encode()


class Transactions:
    """Begins and ends them, and keeps their connections for the next ones."""

    def __init__(self, server: Server, statements: Statements) -> None:
        self._server = server
        self._statements = statements
        self._spares: list[Connection] = []
        self._async_spares: WeakKeyDictionary[asyncio.AbstractEventLoop, list[AsyncConnection]] = WeakKeyDictionary()

    @contextmanager
    def begin(self, longest: float) -> Iterator[tuple[Connection, Execute]]:
        """A connection and what runs our queries on it; committed at the end of the block.

        The server ends it when it takes more than `longest` seconds.
        """
        connection = self._spare() or self._server.connect()
        began = monotonic()
        try:
            with connection.transaction():
                connection.execute(_opening(longest))
                yield connection, self._statements.execute_on(connection)
                _raise_if_overdue(began, longest)
        except BaseException as error:
            is_broken = connection.closed
            connection.close()
            _raise_if_overdue(began, longest, error)
            raise_if_gone(error, is_broken=is_broken)
            raise
        self._spares.append(connection)

    @asynccontextmanager
    async def abegin(self, longest: float) -> AsyncIterator[tuple[AsyncConnection, AsyncExecute]]:
        """The same for a coroutine."""
        spares = self._spares_of(asyncio.get_running_loop())
        connection = spares.pop() if spares else await self._server.aconnect()
        began = monotonic()
        try:
            async with connection.transaction():
                await connection.execute(_opening(longest))
                yield connection, self._statements.aexecute_on(connection)
                _raise_if_overdue(began, longest)
        except BaseException as error:
            is_broken = connection.closed
            await connection.close()
            _raise_if_overdue(began, longest, error)
            raise_if_gone(error, is_broken=is_broken)
            raise
        spares.append(connection)

    def discard(self, connection: Connection) -> None:
        """Closes one that is at rest and not needed again."""
        self._spares.remove(connection)
        connection.close()

    def close(self) -> None:
        """Closes the connections that are at rest."""
        while self._spares:
            self._spares.pop().close()
        for spares in list(self._async_spares.values()):
            _finish(spares)

    def _spare(self) -> Connection | None:
        """A connection left by an earlier transaction, if the server still answers on it."""
        while self._spares:
            connection = self._spares.pop()
            with suppress(psycopg.Error):
                connection.execute("")
                return connection
            connection.close()
        return None

    def _spares_of(self, loop: asyncio.AbstractEventLoop) -> list[AsyncConnection]:
        """Connections that wait for their next use; they belong to their loop, and end with it."""
        spares = self._async_spares.get(loop)
        if spares is None:
            spares = self._async_spares[loop] = []
            finalize(loop, _finish, spares)
        return spares


def _raise_if_overdue(began: float, longest: float, error: BaseException | None = None) -> None:
    """Says why a transaction ended that took too long: the server words it in its own way, or not at all."""
    is_ours = error is None or isinstance(error, psycopg.Error)
    if is_ours and monotonic() - began > longest:
        raise overdue(longest) from error


def _finish(connections: list[AsyncConnection]) -> None:
    """Closes connections whose loop is over, or at rest: nobody awaits them."""
    while connections:
        connection = connections.pop()
        connection.pgconn.finish()
