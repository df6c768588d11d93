"""The adapter for Django: `django.db.connection`, `connections["default"]`, or the wrapper behind them.

Django knows whether a transaction is open, and begins and ends it; statements go to the driver below.
"""

from __future__ import annotations

from importlib import import_module
from types import TracebackType
from typing import ClassVar, Literal, Protocol, cast

from posthorse.errors import InvalidOption, StoreError
from posthorse.store.base import Rows
from posthorse.store.user_connections.base import ConnectionAdapter, Parameters, failed, inside, outside
from posthorse.store.user_connections.sqlite import MARK, TAKE_THE_LOCK, SqliteAdapter, release


class Connection(Protocol):
    """The part of Django's database wrapper that is used here; the library ships no types."""

    alias: str
    vendor: str
    connection: object
    in_atomic_block: bool
    needs_rollback: bool
    closed_in_transaction: bool

    def ensure_connection(self) -> None: ...
    def get_autocommit(self) -> bool: ...
    def close_if_unusable_or_obsolete(self) -> None: ...


class _Atomic(Protocol):
    def __enter__(self) -> None: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _TransactionModule(Protocol):
    def atomic(self, using: str, *, durable: bool) -> _Atomic: ...


class DjangoAdapter(ConnectionAdapter):
    """Run on a connection of Django."""

    libraries: ClassVar[frozenset[str]] = frozenset({"django", "sqlite3", "psycopg", "psycopg2"})

    def __init__(self, wrapper: Connection, below: ConnectionAdapter) -> None:
        self._wrapper = wrapper
        self._below = below
        self._atomic: _Atomic | None = None
        self.dialect: Literal["sqlite", "postgres"] = below.dialect
        self.style = below.style

    @property
    def driver(self) -> object:
        return self._below.driver

    def raise_unless_usable(self) -> None:
        if self._wrapper.closed_in_transaction or (self._wrapper.in_atomic_block and self._wrapper.needs_rollback):
            raise failed()
        self._below.raise_unless_usable()

    def is_in_transaction(self) -> bool:
        return self._wrapper.in_atomic_block or self._below.is_in_transaction()

    def raise_unless_in_transaction(self) -> None:
        if not self._wrapper.in_atomic_block and self._wrapper.get_autocommit():
            raise outside(how="write `with transaction.atomic():` around both")

    def raise_if_in_transaction(self) -> None:
        if self._wrapper.in_atomic_block:
            raise inside(how="leave the atomic() block first, or let the job run outside of one")
        if not self._wrapper.get_autocommit():
            raise inside(how="Django's autocommit is off for this connection; switch it on")

    async def fetch(self, sql: str, parameters: Parameters) -> Rows:
        return await self._below.fetch(sql, parameters)

    async def join(self) -> None:
        await self._below.join()

    async def begin(self) -> None:
        atomic = cast("_TransactionModule", import_module("django.db.transaction")).atomic(
            self._wrapper.alias, durable=True
        )
        atomic.__enter__()
        self._atomic = atomic
        if isinstance(self._below, SqliteAdapter):
            self._below.driver.execute(TAKE_THE_LOCK)
            self._below.driver.execute(MARK)

    async def commit(self) -> None:
        if self._wrapper.needs_rollback:  # leaving the block would undo everything, without a word
            raise StoreError(
                "Django marked the transaction of this slice for rollback, because an error inside of it was caught; "
                "put an atomic() of its own around what may fail"
            )
        if isinstance(self._below, SqliteAdapter):
            release(self._below.driver)
        atomic, self._atomic = self._atomic, None
        if atomic is not None:
            atomic.__exit__(None, None, None)

    async def rollback(self, error: BaseException) -> None:
        atomic, self._atomic = self._atomic, None
        if atomic is not None:
            atomic.__exit__(type(error), error, error.__traceback__)

    def is_lost(self, error: BaseException) -> bool:
        return self._wrapper.connection is None or self._below.is_lost(error)


def wrapper_of(given: object) -> Connection:
    """Return the connection of this thread behind a proxy, opened."""
    alias = cast("Connection", given).alias
    wrapper = cast("Connection", import_module("django.db").connections[alias]) if _is_proxy(given) else given
    found = cast("Connection", wrapper)
    if found.vendor not in ("sqlite", "postgresql"):
        raise InvalidOption(f"connection leads to {found.vendor}, and the store of Posthorse is not there")
    if not found.in_atomic_block:
        found.close_if_unusable_or_obsolete()  # as Django does before each request
    if not found.closed_in_transaction:
        found.ensure_connection()
    return found


def _is_proxy(given: object) -> bool:
    return type(given).__name__ == "ConnectionProxy"
