"""The adapter for `psycopg.Connection` and `psycopg.AsyncConnection`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import ClassVar, Literal, cast

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from posthorse.errors import InvalidOption
from posthorse.store.base import Rows
from posthorse.store.user_connections.base import (
    ConnectionAdapter,
    Parameters,
    Style,
    closed,
    ended_early,
    failed,
    outside,
    settled,
)

AnyConnection = psycopg.Connection[object] | psycopg.AsyncConnection[object]


class PsycopgAdapter(ConnectionAdapter):
    """Run on a connection of psycopg, sync or async."""

    dialect: Literal["sqlite", "postgres"] = "postgres"
    style = Style.DOLLAR
    libraries: ClassVar[frozenset[str]] = frozenset({"psycopg"})

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection
        self.is_async = isinstance(connection, psycopg.AsyncConnection)
        self._block: AbstractContextManager[object] | AbstractAsyncContextManager[object] | None = None

    @property
    def driver(self) -> AnyConnection:
        return self._connection

    def raise_unless_usable(self) -> None:
        if self._connection.closed:
            raise closed()
        self._raise_in_pipeline()
        if self._connection.info.transaction_status == TransactionStatus.INERROR:
            raise failed()

    def is_in_transaction(self) -> bool:
        return self._connection.info.transaction_status != TransactionStatus.IDLE

    def raise_unless_in_transaction(self) -> None:
        if self._connection.autocommit and not self.is_in_transaction():
            raise outside(how="write `with connection.transaction():` around both")

    async def fetch(self, sql: str, parameters: Parameters) -> Rows:
        if self._block is not None and not self.is_in_transaction():
            raise ended_early()
        self._raise_in_pipeline()
        connection = self._connection
        if isinstance(connection, psycopg.AsyncConnection):
            acursor = psycopg.AsyncRawCursor(connection, row_factory=tuple_row)
            await acursor.execute(sql.encode(), parameters)
            return cast("Rows", await acursor.fetchall()) if acursor.description else []
        cursor = psycopg.RawCursor(connection, row_factory=tuple_row)
        cursor.execute(sql.encode(), parameters)
        return cast("Rows", cursor.fetchall()) if cursor.description else []

    async def begin(self) -> None:
        # This context manager also keeps the body from committing by itself.
        self._block = self._connection.transaction()
        await self._enter(self._block)

    async def commit(self) -> None:
        if not self.is_in_transaction():
            raise ended_early()
        await self._exit(None)

    async def rollback(self, error: BaseException) -> None:
        if self._block is not None:
            await self._exit(error)
        elif not self._connection.closed and self.is_in_transaction():
            await settled(self._connection.rollback())

    def is_lost(self, error: BaseException) -> bool:
        return self._connection.closed

    def _raise_in_pipeline(self) -> None:
        # There rows arrive later, and whether a transaction is open is not known.
        if self._connection.pgconn.pipeline_status != PipelineStatus.OFF:
            raise InvalidOption(
                "connection is in pipeline mode, in which answers come late, so nothing was written on it; leave "
                "`with connection.pipeline():` first; its transaction may go on"
            )

    async def _enter(self, block: AbstractContextManager[object] | AbstractAsyncContextManager[object]) -> None:
        if isinstance(block, AbstractContextManager):
            block.__enter__()
        else:
            await block.__aenter__()

    async def _exit(self, error: BaseException | None) -> None:
        block, self._block = self._block, None
        told: tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
        told = (None, None, None) if error is None else (type(error), error, error.__traceback__)
        if isinstance(block, AbstractContextManager):
            block.__exit__(*told)
        elif block is not None:
            await block.__aexit__(*told)
