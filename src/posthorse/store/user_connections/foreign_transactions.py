"""Transactions on the user's connections: the checks before we write there, and the block that begins and ends one.

The steps of a slice: 1. no transaction is open, 2. begin, 3. check that the database is ours, 4. run the body, 5. check
that it was quick enough and left the transaction open, 6. commit. This module knows no library; the adapters do.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

from posthorse.clock import monotonic
from posthorse.errors import InvalidOption, StoreError, StoreUnreachable
from posthorse.store.base import BoundQuery, Operation, QuerySteps, Rows, adrive, operation, query
from posthorse.store.operations.store_facts import HAS_SCHEMA, STORE_IDENTITY
from posthorse.store.sqlite.faults import explained, is_of_the_file
from posthorse.store.sqlite.turnstile import Turnstile
from posthorse.store.transaction_overdue import overdue
from posthorse.store.user_connections.base import ConnectionAdapter, Style
from posthorse.store.user_connections.detect import adapter_for
from posthorse.store.user_connections.render import Renderer, SuppliesValues

T = TypeVar("T")

_LIMITS = (
    "SELECT set_config('idle_in_transaction_session_timeout', '{0}', true), "
    "set_config('statement_timeout', '{0}', true)"
)


class ForeignTransactions:
    """Run operations on connections of the user, for one store."""

    def __init__(self, backend: SuppliesValues, where: str, identity: Callable[[], str | None]) -> None:
        self._backend = backend
        self._where = where
        self._identity = identity
        """Returns the identity of this store, read on our own connection."""
        self._known_identity: str | None = None
        self._phrasings: dict[Style, Renderer] = {}
        self._ours: WeakKeyDictionary[object, bool] = WeakKeyDictionary()
        """Connections of drivers that were found to lead to this store."""

    def adapter_for(self, connection: object) -> ConnectionAdapter:
        """Return the adapter for a connection to the right database. Raises InvalidOption."""
        adapter = adapter_for(connection)
        own = self._backend.dialect.name
        if adapter.dialect != own:
            raise InvalidOption(
                f"connection leads to {_NAMES[adapter.dialect]} and the store is {_NAMES[own]} ({self._where}): one "
                "transaction cannot span both; give a connection to the store's database, or keep both in one database"
            )
        adapter.raise_unless_usable()
        return adapter

    async def lacks_schema(self, adapter: ConnectionAdapter) -> bool:
        """True if the user's transaction cannot see our schema and prevents us from creating it."""
        if adapter.dialect != "sqlite" or not adapter.is_in_transaction():
            return False
        await self._check_file(adapter)
        try:
            await adapter.join()
        except Exception as error:
            if "no such table" in str(error):
                return True
            self._explain(error)
            raise
        return False

    async def join(self, adapter: ConnectionAdapter) -> None:
        """Join a transaction that the user begins and ends; called before our first write in it."""
        adapter.raise_unless_in_transaction()
        await self._check_database(adapter)
        try:
            await adapter.join()
        except Exception as error:
            self._explain(error)
            raise

    @asynccontextmanager
    async def transaction(self, adapter: ConnectionAdapter, longest: float, *, is_in_loop: bool) -> AsyncIterator[None]:
        """Begin a transaction, commit it at the end of the block, and roll it back if the block raises."""
        adapter.raise_if_in_transaction()
        began = monotonic()
        with ExitStack() as turn:
            # Who is inside may need this very loop to come out again.
            await _beside(is_in_loop, partial(turn.enter_context, self._passage()))
            try:
                await adapter.begin()
                if adapter.dialect == "postgres":
                    await adapter.fetch(_LIMITS.format(f"{longest * 1000:.0f}ms"), ())
                await self._check_database(adapter)
                began = monotonic()
                yield
                _raise_if_overdue(began, longest)
                await adapter.commit()
            except BaseException as error:
                was_told = adapter.is_told_by(error)
                with suppress(Exception):  # the connection may be gone, and the error that led here says more
                    await adapter.rollback(error)
                if was_told:
                    _raise_if_overdue(began, longest, error)
                    if adapter.is_lost(error):
                        raise StoreUnreachable(f"the connection of this slice was lost: {_text(error)}") from error
                    self._explain(error)
                raise

    async def run(self, adapter: ConnectionAdapter, operation: Operation[T]) -> T:
        """Run an operation; if it fails, nothing of it remains, even if the transaction commits."""
        try:
            return await self.read(adapter, operation if operation.is_single else _in_savepoint(operation))
        except Exception as error:
            self._explain(error)
            raise

    async def read(self, adapter: ConnectionAdapter, operation: Operation[T]) -> T:
        """Run an operation that only reads."""
        return await adrive(operation, partial(self._execute, adapter))

    async def wake(self, adapter: ConnectionAdapter) -> None:
        """Wake workers after the commit: a worker that was busy at the enqueue may be idle by then."""
        if adapter.dialect == "postgres":
            await self._execute(adapter, query("wake"))

    async def _execute(self, adapter: ConnectionAdapter, wanted: BoundQuery) -> Rows:
        renderer = self._phrasings.get(adapter.style)
        if renderer is None:
            renderer = self._phrasings[adapter.style] = Renderer(self._backend, adapter.style)
        steps = renderer.steps(wanted)
        try:
            sql, parameters = next(steps)
            while True:
                sql, parameters = steps.send(await adapter.fetch(sql, parameters))
        except StopIteration as end:
            rows: Rows = end.value
            return rows

    def _explain(self, error: BaseException) -> None:
        """Raise a clear StoreError instead of a driver's error that does not say what to do."""
        cause = getattr(error, "orig", None) or error
        code = getattr(cause, "sqlite_errorcode", None)
        if code is None:
            return
        path = Path(self._where)
        if is_of_the_file(cause):
            raise explained(cause, path, is_in_doubt=True) from error
        if code == sqlite3.SQLITE_BUSY_SNAPSHOT:
            raise StoreError(
                f"another connection wrote to {path} after this transaction had begun to read, so it cannot write any "
                "more; roll back and begin it with BEGIN IMMEDIATE"
            ) from error
        if code & 0xFF == sqlite3.SQLITE_BUSY:
            raise StoreUnreachable(
                f"{path} is locked, so nothing was written: another connection has a write transaction open; keep "
                "those short, begin with BEGIN IMMEDIATE what reads before it writes, and give the connection a timeout"
            ) from error

    async def _check_database(self, adapter: ConnectionAdapter) -> None:
        if adapter.dialect == "sqlite":
            await self._check_file(adapter)
            return
        await adapter.open()
        driver = adapter.driver
        with suppress(TypeError):  # some cannot be remembered
            if driver in self._ours:
                return
        await self._check_server(adapter)
        with suppress(TypeError):
            self._ours[driver] = True

    async def _check_file(self, adapter: ConnectionAdapter) -> None:
        rows = await adapter.fetch("PRAGMA database_list", ())
        file = next(str(row[2] or "") for row in rows if row[1] == "main")
        if not (file and _is_same(file, self._where)):
            raise InvalidOption(
                f"connection is open on {file or 'a database in memory'} and the store is {self._where}: they would "
                "not be committed together; give a connection to the store's file"
            )

    async def _check_server(self, adapter: ConnectionAdapter) -> None:
        found = await adrive(store_identity(), partial(self._execute, adapter))
        if found is None:
            raise InvalidOption(
                f"the database of this connection has no schema of Posthorse like {self._where}: it is another one, or "
                "its role may not see it; give a connection to the store's database"
            )
        if found != self._known_identity:
            self._known_identity = await _beside(adapter.is_async, self._identity)
        if found != self._known_identity:
            raise InvalidOption(
                f"the database of this connection has a store of Posthorse, but not {self._where}; workers of this "
                "store would never see the job; give a connection to the store's database"
            )

    def _passage(self) -> AbstractContextManager[None]:
        if self._backend.dialect.name != "sqlite":
            return nullcontext()
        return Turnstile(Path(self._where)).passage(_PATIENCE)


@operation
def store_identity() -> QuerySteps[str | None]:
    """Return the identity of the store; None if it has no schema."""
    if not (yield from HAS_SCHEMA()):
        return None
    rows = yield from STORE_IDENTITY()
    return rows[0][0] if rows else ""


def _in_savepoint(inner: Operation[T]) -> Operation[T]:
    def steps() -> QuerySteps[T]:
        yield query("set_savepoint")
        try:
            answer = yield from inner.start()
        except Exception:
            yield query("undo_to_savepoint")
            yield query("release_savepoint")
            raise
        yield query("release_savepoint")
        return answer

    return Operation(steps)


_NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
_PATIENCE = 30.0
"""Seconds for which a slice waits for the write lock."""


async def _beside(is_in_loop: bool, wait: Callable[[], T]) -> T:
    return await asyncio.to_thread(wait) if is_in_loop else wait()


def _is_same(file: str, other: str) -> bool:
    return os.path.realpath(file) == os.path.realpath(other)


def _raise_if_overdue(began: float, longest: float, error: BaseException | None = None) -> None:
    if monotonic() - began > longest:
        raise overdue(longest) from error


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())
