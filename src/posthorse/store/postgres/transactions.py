"""Transactions of slices: each on a connection of its own, with the search path of the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from weakref import WeakKeyDictionary, finalize

import psycopg

from posthorse.clock import monotonic
from posthorse.store.base import AsyncExecute, Execute
from posthorse.store.postgres.connections import DURABLE, SET_MODE, AsyncConnection, Connection, ServerFacts
from posthorse.store.postgres.faults import raise_if_gone
from posthorse.store.postgres.statements import Statements
from posthorse.store.transaction_overdue import overdue


def _opening(longest: float) -> bytes:
    """Return the first statements of a slice's transaction: its time limits, and the settings that our statements rely
    on.
    """
    milliseconds = f"'{longest * 1000:.0f}ms'"
    return (
        f"{SET_MODE}SELECT set_config('idle_in_transaction_session_timeout', {milliseconds}, true), "
        f"set_config('statement_timeout', {milliseconds}, true), {DURABLE.format('true')}"
    ).encode()


class Transactions:
    """Begin and end transactions of slices, and keep their connections for later ones."""

    def __init__(self, server: ServerFacts, statements: Statements) -> None:
        self._server = server
        self._statements = statements
        self._spares: list[Connection] = []
        self._async_spares: WeakKeyDictionary[asyncio.AbstractEventLoop, list[AsyncConnection]] = WeakKeyDictionary()

    @contextmanager
    def begin(self, longest: float) -> Iterator[tuple[Connection, Execute]]:
        """Yield a connection and what runs our queries on it; commit at the end of the block.

        The server ends it if it takes more than `longest` seconds.
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
        """Begin a transaction, for a coroutine."""
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

    def close(self) -> None:
        """Close the idle connections."""
        while self._spares:
            self._spares.pop().close()
        for spares in list(self._async_spares.values()):
            _finish(spares)

    def _spare(self) -> Connection | None:
        """Return an idle connection on which the server still responds."""
        while self._spares:
            connection = self._spares.pop()
            with suppress(psycopg.Error):
                connection.execute("")
                return connection
            connection.close()
        return None

    def _spares_of(self, loop: asyncio.AbstractEventLoop) -> list[AsyncConnection]:
        """Return the idle connections of a loop; they belong to it, and end with it."""
        spares = self._async_spares.get(loop)
        if spares is None:
            spares = self._async_spares[loop] = []
            finalize(loop, _finish, spares)
        return spares


def _raise_if_overdue(began: float, longest: float, error: BaseException | None = None) -> None:
    """Explain why a transaction ended that took too long, because the server words it differently, or not at all."""
    is_ours = error is None or isinstance(error, psycopg.Error)
    if is_ours and monotonic() - began > longest:
        raise overdue(longest) from error


def _finish(connections: list[AsyncConnection]) -> None:
    """Close connections whose loop is over, or that are idle: no task awaits them."""
    while connections:
        connection = connections.pop()
        connection.pgconn.finish()
