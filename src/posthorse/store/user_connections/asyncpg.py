"""The adapter for `asyncpg.Connection`, also for one from a pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol, cast

from posthorse.store.base import Rows
from posthorse.store.user_connections.base import (
    ConnectionAdapter,
    Parameters,
    Style,
    closed,
    ended_early,
    outside,
)


class AsyncpgTransaction(Protocol):
    """The part of asyncpg's transaction that is used here."""

    async def start(self) -> None: ...
    async def commit(self) -> None: ...
    async def rollback(self) -> None: ...


class Connection(Protocol):
    """The part of `asyncpg.Connection` that is used here; the library ships no types."""

    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def transaction(self) -> AsyncpgTransaction: ...
    async def fetch(self, sql: str, /, *values: object) -> Sequence[Sequence[object]]: ...


class AsyncpgAdapter(ConnectionAdapter):
    """Run on a connection of asyncpg."""

    dialect: Literal["sqlite", "postgres"] = "postgres"
    style = Style.DOLLAR
    is_async = True
    libraries: ClassVar[frozenset[str]] = frozenset({"asyncpg"})

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transaction: AsyncpgTransaction | None = None

    @property
    def driver(self) -> object:
        return getattr(self._connection, "_con", None) or self._connection  # behind what a pool lends

    def raise_unless_usable(self) -> None:
        if self._is_closed():
            raise closed()

    def is_in_transaction(self) -> bool:
        return self._connection.is_in_transaction()

    def raise_unless_in_transaction(self) -> None:
        if not self._connection.is_in_transaction():
            raise outside(how="write `async with connection.transaction():` around both")

    async def fetch(self, sql: str, parameters: Parameters) -> Rows:
        if self._transaction is not None and not self._connection.is_in_transaction():
            raise ended_early()
        found = await self._connection.fetch(sql, *cast("Sequence[object]", parameters))
        return cast("Rows", [tuple(record) for record in found])

    async def begin(self) -> None:
        transaction = self._connection.transaction()
        await transaction.start()
        self._transaction = transaction

    async def commit(self) -> None:
        if self._transaction is None or not self._connection.is_in_transaction():
            raise ended_early()
        await self._transaction.commit()

    async def rollback(self, error: BaseException) -> None:
        if self._transaction is not None and not self._is_closed() and self._connection.is_in_transaction():
            await self._transaction.rollback()

    def is_lost(self, error: BaseException) -> bool:
        return self._is_closed()

    def _is_closed(self) -> bool:
        try:
            return self._connection.is_closed()
        except Exception:  # what a pool lent was given back
            return True
