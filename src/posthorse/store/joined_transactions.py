"""Transactions that calls inside a block join: on a connection of the store's own, or on the user's."""

from __future__ import annotations

from typing import TypeVar

from posthorse.errors import StoreError
from posthorse.rules.events import Heard
from posthorse.store.base import AsyncExecute, Execute, Operation, adrive, drive, without_new_work
from posthorse.store.user_connections.base import ConnectionAdapter, completed
from posthorse.store.user_connections.foreign_transactions import ForeignTransactions

T = TypeVar("T")


class JoinedTransaction:
    """The open transaction that calls join, on a connection of either colour."""

    events: tuple[Heard, ...] = ()
    """What to emit once it is committed."""

    def __init__(self, store: object, execute: Execute | None, aexecute: AsyncExecute | None = None) -> None:
        self.store = store
        self.is_over = False
        self.has_news = False
        """Whether it did something that may have made work."""
        self._execute = execute
        self._aexecute = aexecute

    def run(self, operation: Operation[T]) -> T:
        """Run an operation as a part of the transaction."""
        if self._execute is None:
            raise _needs_await()
        self.has_news = self.has_news or not operation.creates_no_work
        return drive(operation, self._execute)

    async def arun(self, operation: Operation[T]) -> T:
        """Run an operation as a part of the transaction, for a coroutine."""
        if self._aexecute is not None:
            self.has_news = self.has_news or not operation.creates_no_work
            return await adrive(operation, self._aexecute)
        return self.run(operation)

    def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads; it sees what the transaction wrote."""
        return self.run(without_new_work(operation))

    async def aread(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, for a coroutine."""
        return await self.arun(without_new_work(operation))


class ForeignTransaction(JoinedTransaction):
    """A joined transaction on a connection of the user's."""

    def __init__(self, store: object, host: ForeignTransactions, adapter: ConnectionAdapter) -> None:
        super().__init__(store, None)
        self._foreign = host
        self._adapter = adapter

    def run(self, operation: Operation[T]) -> T:
        return completed(self.arun(self._blocking(operation)))

    async def arun(self, operation: Operation[T]) -> T:
        return await self._foreign.run(self._adapter, operation)

    def read(self, operation: Operation[T]) -> T:
        return completed(self.aread(self._blocking(operation)))

    async def aread(self, operation: Operation[T]) -> T:
        return await self._foreign.read(self._adapter, operation)

    def _blocking(self, operation: Operation[T]) -> Operation[T]:
        if self._adapter.is_async:
            raise _needs_await()
        return operation


def _needs_await() -> StoreError:
    return StoreError("this block is an async transaction: await the a-prefixed twin of this call inside it")
