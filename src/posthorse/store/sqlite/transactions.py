"""Transactions of slices: each is a write transaction on its own connection, and every other writer waits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from posthorse.errors import UsageError
from posthorse.store.base import AsyncExecute, BoundQuery, Execute, Rows
from posthorse.store.connections import AsyncSqliteConnection
from posthorse.store.reentry import begin_work, end_work
from posthorse.store.sqlite.connections import Session, StoreFile
from posthorse.store.sqlite.deadline import Deadlines
from posthorse.store.sqlite.faults import explained, is_of_the_file
from posthorse.store.sqlite.turnstile import Turnstile
from posthorse.store.transaction_overdue import overdue


class Transactions:
    """Begin and end transactions of slices, and keep their connections for later ones."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file
        self._spares: list[tuple[Session, Turnstile]] = []
        self._deadlines = Deadlines()

    @contextmanager
    def begin(self, longest: float, *, patience: float | None = None) -> Iterator[tuple[sqlite3.Connection, Execute]]:
        """Yield a connection and what runs our queries on it; commit at the end of the block.

        A block of more than `longest` seconds loses its connection. patience: how long to wait for other writers.
        """
        session, turnstile = self._spare() or (self._file.open(), Turnstile(self._file.path, self._file.tuning))
        connection = session.connection
        cut_off = threading.Event()

        def cut() -> None:
            cut_off.set()
            session.cut_off()

        is_marked = begin_work()
        try:
            with turnstile.passage(self._file.busy_seconds if patience is None else patience):
                session.begin()
                with self._deadlines.limit(longest, cut):
                    try:
                        if is_marked:
                            end_work()
                        yield connection, session.execute
                    finally:
                        is_marked = begin_work()  # perhaps in another thread
                if not connection.in_transaction and not cut_off.is_set():
                    raise UsageError(
                        "the body of the transaction ended it by itself, so what it wrote and the position of the job "
                        "were not committed together; leave COMMIT and ROLLBACK to the end of the block"
                    )
                session.commit()
        except BaseException as error:
            session.give_up()
            turnstile.close()
            if cut_off.is_set():
                raise overdue(longest) from error
            if is_of_the_file(error):
                raise explained(error, self._file.path, is_in_doubt=session.is_in_doubt) from error
            raise
        finally:
            if is_marked:
                end_work()
        self._spares.append((session, turnstile))

    @asynccontextmanager
    async def abegin(self, longest: float) -> AsyncIterator[tuple[AsyncSqliteConnection, AsyncExecute]]:
        """Begin a transaction, for a coroutine; the loop runs while the transaction waits and commits."""
        block = self.begin(longest)
        connection, execute = await asyncio.to_thread(block.__enter__)

        async def aexecute(wanted: BoundQuery) -> Rows:
            return await asyncio.to_thread(execute, wanted)

        try:
            yield AsyncSqliteConnection(connection), aexecute
        except BaseException as error:
            if not block.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            await asyncio.to_thread(block.__exit__, None, None, None)

    def let_go(self) -> None:
        """Close the idle connections."""
        while self._spares:
            _close(*self._spares.pop())

    def drop_lost(self) -> None:
        """Close connections that write to a log that other processes do not find."""
        spares, self._spares = self._spares, []
        for session, turnstile in spares:
            if session.has_lost_log:
                _close(session, turnstile)
            else:
                self._spares.append((session, turnstile))

    def _spare(self) -> tuple[Session, Turnstile] | None:
        while self._spares:
            session, turnstile = self._spares.pop()
            if not session.is_moved() and not session.has_lost_log:
                return session, turnstile
            _close(session, turnstile)
        return None


def _close(session: Session, turnstile: Turnstile) -> None:
    session.close()
    turnstile.close()
