"""Transactions that calls inside a block join: on a connection of the store's own, or on the user's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

from posthorse.errors import InvalidOption, SchemaMismatch, StoreError
from posthorse.rules.emitter import Emitter
from posthorse.rules.events import Heard
from posthorse.store.backend import Backend
from posthorse.store.base import AsyncExecute, Execute, Operation, adrive, drive, without_new_work
from posthorse.store.ensure_schema import OwnSchema
from posthorse.store.error_signature import ErrorSignature
from posthorse.store.patience import Deadline
from posthorse.store.reentry import alone
from posthorse.store.user_connections.base import ConnectionAdapter, completed
from posthorse.store.user_connections.foreign_transactions import ForeignTransactions

T = TypeVar("T")

_joined: ContextVar[JoinedTransaction | None] = ContextVar("posthorse_joined", default=None)


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


class JoinableTransactions:
    """The transactions of one store in one process. A forked child has others: it is inside of none."""

    def __init__(
        self,
        backend: Backend,
        schema: OwnSchema,
        foreign: ForeignTransactions,
        emitter: Emitter,
        *,
        where: str,
        deadline: Callable[[], Deadline],
        tell: Callable[[JoinedTransaction], None],
    ) -> None:
        """`deadline`: makes that of a call that begins now. `tell`: called after commits on the store's connections."""
        self._backend = backend
        self._schema = schema
        self._foreign = foreign
        self._emitter = emitter
        self._where = where
        self._deadline = deadline
        self._tell = tell
        self._signature = ErrorSignature(where)

    def current(self) -> JoinedTransaction | None:
        """Return the transaction that the caller is inside of."""
        joined = _joined.get()
        return joined if joined is not None and joined.store is self and not joined.is_over else None

    @contextmanager
    def begin(self, connection: object, longest: float) -> Iterator[object]:
        """Begin a transaction that calls of Posthorse inside the block join: on its own connection, or on the one
        given.

        It is rolled back if the block takes more than `longest` seconds. Raises InvalidOption for a connection that
        cannot be used, or is inside a transaction.
        """
        if connection is None:
            with self._signature:
                alone(self._schema.prepare, self._deadline())
                with self._backend.transaction(longest) as (own, execute):
                    joined = JoinedTransaction(self, execute)
                    with self._joined(joined):
                        yield own
            self._tell(joined)
            self._emit_all(joined)
            return
        with self._signature:
            adapter = self._blocking_adapter_for(
                connection, instead="write `async with batch.transaction(connection):`"
            )
            completed(self._prepare_for(adapter))
            block = self._foreign.transaction(adapter, longest, is_in_loop=False)
            completed(block.__aenter__())
            joined = ForeignTransaction(self, self._foreign, adapter)
            try:
                with self._joined(joined):
                    yield connection
            except BaseException as error:
                if not completed(block.__aexit__(type(error), error, error.__traceback__)):
                    raise
            else:
                completed(block.__aexit__(None, None, None))
                self._emit_all(joined)

    @asynccontextmanager
    async def abegin(self, connection: object, longest: float) -> AsyncIterator[object]:
        """Begin a transaction, for a coroutine; its own connection is an asynchronous one."""
        if connection is None:
            with self._signature:
                if not self._schema.is_checked:
                    await asyncio.to_thread(alone, self._schema.prepare, self._deadline())
                async with self._backend.atransaction(longest) as (own, execute):
                    joined = JoinedTransaction(self, None, execute)
                    with self._joined(joined):
                        yield own
            self._tell(joined)
            self._emit_all(joined)
            return
        with self._signature:
            adapter = self._foreign.adapter_for(connection)
            await self._prepare_for(adapter)
            joined = ForeignTransaction(self, self._foreign, adapter)
            async with self._foreign.transaction(adapter, longest, is_in_loop=True):
                with self._joined(joined):
                    yield connection
            self._emit_all(joined)

    @contextmanager
    def join(self, connection: object) -> Iterator[None]:
        """Make calls inside the block a part of a transaction that the caller begins and ends.

        Raises InvalidOption for a connection that cannot be used, or would commit each statement by itself.
        """
        adapter = self._blocking_adapter_for(connection, instead="use `await ….aenqueue(…)`")
        completed(self._prepare_for(adapter))
        completed(self._foreign.join(adapter))
        with self._joined(ForeignTransaction(self, self._foreign, adapter)):
            yield
            completed(self._foreign.wake(adapter))

    @asynccontextmanager
    async def ajoin(self, connection: object) -> AsyncIterator[None]:
        """Do the same for a coroutine, with a sync or async connection."""
        adapter = self._foreign.adapter_for(connection)
        await self._prepare_for(adapter)
        await self._foreign.join(adapter)
        with self._joined(ForeignTransaction(self, self._foreign, adapter)):
            yield
            await self._foreign.wake(adapter)

    @contextmanager
    def _joined(self, joined: JoinedTransaction) -> Iterator[None]:
        token = _joined.set(joined)
        try:
            yield
        finally:
            joined.is_over = True  # a task that was started inside may still refer to it
            _joined.reset(token)

    def _emit_all(self, joined: JoinedTransaction) -> None:
        for event in joined.events:
            self._emitter.emit(event)

    def _blocking_adapter_for(self, connection: object, *, instead: str) -> ConnectionAdapter:
        adapter = self._foreign.adapter_for(connection)
        if adapter.is_async:
            raise InvalidOption(f"connection is asynchronous, and this call would have to wait for its loop; {instead}")
        return adapter

    async def _prepare_for(self, adapter: ConnectionAdapter) -> None:
        if self._schema.is_checked:
            return
        if await self._foreign.lacks_schema(adapter):
            raise SchemaMismatch(
                f"{self._where} has no schema of Posthorse yet, and it cannot be made while a transaction is open; "
                "call app.migrate() where your application starts"
            )
        if adapter.is_async:
            await asyncio.to_thread(alone, self._schema.prepare, self._deadline())
        else:
            alone(self._schema.prepare, self._deadline())


def _needs_await() -> StoreError:
    return StoreError("this block is an async transaction: await the a-prefixed twin of this call inside it")
