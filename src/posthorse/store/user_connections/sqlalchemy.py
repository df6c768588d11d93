"""The adapter for SQLAlchemy: Connection, Session, AsyncConnection, AsyncSession, and sessions of a scope.

Statements go to the driver as they are (`exec_driver_sql`), in the style that it takes; the asynchronous classes run
the same steps through their `run_sync`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias, TypeVar, cast

from sqlalchemy.engine import Connection, RootTransaction
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from posthorse.errors import InvalidOption
from posthorse.store.base import Rows
from posthorse.store.user_connections.base import (
    ConnectionAdapter,
    Parameters,
    Style,
    closed,
    ended_early,
    failed,
    inside,
    outside,
)
from posthorse.store.user_connections.refusals import refuse_foreign_sqlite
from posthorse.store.user_connections.sqlite import (
    MARK,
    TAKE_THE_LOCK,
    UNMARK,
    Transactional,
    raise_if_always_in_transaction,
    raise_unless_transactional,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

    AnySession: TypeAlias = (
        Connection
        | Session
        | AsyncConnection
        | AsyncSession
        | scoped_session[Session]
        | async_scoped_session[AsyncSession]
    )

T = TypeVar("T")


_STYLES = {"psycopg": Style.NAMED, "psycopg2": Style.NAMED, "asyncpg": Style.DOLLAR, "pg8000": Style.PLAIN}
_LIBRARIES = frozenset({"sqlalchemy", "sqlite3", "psycopg", "psycopg2", "asyncpg", "pg8000", "aiosqlite"})
_AUTOCOMMIT = "take a connection without isolation_level='AUTOCOMMIT'"


class _RunsSync(Protocol):
    async def run_sync(self, function: Callable[[object], T], /) -> T: ...


class SqlalchemyAdapter(ConnectionAdapter):
    """Run on a Connection or a Session, sync or async."""

    libraries: ClassVar[frozenset[str]] = _LIBRARIES

    def __init__(self, given: AnySession) -> None:
        # By name: without greenlet the asynchronous classes cannot be imported, and no such object exists.
        if isinstance(given, scoped_session) or _is_a(given, "async_scoped_session"):
            given = cast("scoped_session[Session] | async_scoped_session[AsyncSession]", given)()
        self._runner: _RunsSync | None = None
        if _is_a(given, "AsyncConnection"):
            self._runner = cast("_RunsSync", given)
            self._given: Connection | Session = _sync_connection(cast("AsyncConnection", given))
        elif _is_a(given, "AsyncSession"):
            self._runner = cast("_RunsSync", given)
            self._given = cast("AsyncSession", given).sync_session
        else:
            self._given = cast("Connection | Session", given)
        self.is_async = self._runner is not None
        self._transaction: RootTransaction | SessionTransaction | None = None
        self._root: object = None
        engine = _bind_of(self._given)
        self._name = engine.dialect.name
        if self._name not in ("sqlite", "postgresql"):
            raise InvalidOption(f"connection leads to {self._name}, and the store of Posthorse is not there")
        self.dialect: Literal["sqlite", "postgres"] = "sqlite" if self._name == "sqlite" else "postgres"
        self.style = Style.MARKED if self.dialect == "sqlite" else _style_of(engine.dialect.driver)

    @property
    def driver(self) -> object:
        return self._live().connection.driver_connection

    def raise_unless_usable(self) -> None:
        if isinstance(self._given, Connection):
            if self._given.closed:
                raise closed()
            if self._given.invalidated:
                raise failed()
        elif not self._given.is_active:
            raise failed()

    def is_in_transaction(self) -> bool:
        return self._given.in_transaction()

    def raise_unless_in_transaction(self) -> None:
        self._raise_if_autocommit()

    def raise_if_in_transaction(self) -> None:
        if self._given.in_transaction():
            raise inside(how="commit or roll back first (SQLAlchemy begins one at the first query)")
        self._raise_if_autocommit()
        bind = None if isinstance(self._given, Connection) else self._given.bind
        if isinstance(bind, Connection) and bind.in_transaction():
            raise inside(how="the Session is bound to a Connection with a transaction of its own, which you end")

    async def fetch(self, sql: str, parameters: Parameters) -> Rows:
        return await self._run(lambda: self._fetch(sql, parameters))

    async def open(self) -> None:
        await self._run(self._live)  # a session takes its connection at the first need, and only here it can wait

    async def join(self) -> None:
        await self._run(self._join)

    async def begin(self) -> None:
        await self._run(self._begin)

    async def commit(self) -> None:
        await self._run(self._commit)

    async def rollback(self, error: BaseException) -> None:
        await self._run(self._given.rollback)

    def is_lost(self, error: BaseException) -> bool:
        return bool(getattr(error, "connection_invalidated", False))

    async def _run(self, step: Callable[[], T]) -> T:
        if self._runner is None:
            return step()
        return await self._runner.run_sync(lambda _: step())

    def _live(self) -> Connection:
        return self._given if isinstance(self._given, Connection) else self._given.connection()

    def _fetch(self, sql: str, parameters: Parameters) -> Rows:
        if self._transaction is not None:
            self._raise_if_ended()
            if isinstance(self._given, Session):
                self._given.flush()  # before the fence, which is the last statement of a slice
        given = parameters if isinstance(parameters, dict) else tuple(cast("list[object]", parameters))
        result = self._live().exec_driver_sql(sql, given or None)
        return cast("Rows", [tuple(row) for row in result]) if result.returns_rows else []

    def _join(self) -> None:
        if self.dialect == "sqlite":
            connection = self._live()
            if not connection.in_transaction():
                connection.begin()  # an application may have hung its BEGIN on this
            driver = self._checked_driver(connection)
            raise_unless_transactional(driver)
            connection.exec_driver_sql(TAKE_THE_LOCK if driver.in_transaction else "BEGIN IMMEDIATE")
        else:
            self._live()

    def _begin(self) -> None:
        transaction = self._given.begin()
        connection = self._live()
        self._root, self._transaction = connection.get_transaction(), transaction
        if self.dialect == "sqlite":
            driver = self._checked_driver(connection)
            raise_if_always_in_transaction(driver)
            # An application may begin its transactions by itself, in an event; then the lock is still to be had.
            connection.exec_driver_sql(TAKE_THE_LOCK if driver.in_transaction else "BEGIN IMMEDIATE")
            connection.exec_driver_sql(MARK)

    def _commit(self) -> None:
        transaction = self._raise_if_ended()
        if self.dialect == "sqlite":
            try:
                self._live().exec_driver_sql(UNMARK)
            except Exception as error:
                raise ended_early() if "no such savepoint" in str(error) else error from error
        transaction.commit()

    def _raise_if_ended(self) -> RootTransaction | SessionTransaction:
        transaction = self._transaction
        if transaction is None or not transaction.is_active or self._live().get_transaction() is not self._root:
            raise ended_early()
        return transaction

    def _checked_driver(self, connection: Connection) -> Transactional:
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection) and type(driver).__module__.partition(".")[0] != "aiosqlite":
            refuse_foreign_sqlite(driver)
        return cast("Transactional", driver)

    def _raise_if_autocommit(self) -> None:
        bind = _bind_of(self._given)
        # What a connection, its engine, or `create_engine` was told. The last is nowhere to be read but here.
        level = bind.get_execution_options().get("isolation_level")
        if (level or getattr(bind.dialect, "_on_connect_isolation_level", None)) == "AUTOCOMMIT":
            raise outside(how=_AUTOCOMMIT)


class _Bind(Protocol):
    """The part of an engine or a connection that is used here."""

    @property
    def dialect(self) -> _Dialect: ...
    def get_execution_options(self) -> Mapping[str, object]: ...


class _Dialect(Protocol):
    name: str
    driver: str


def _bind_of(given: Connection | Session) -> _Bind:
    if isinstance(given, Connection):
        return cast("_Bind", given)
    try:
        return cast("_Bind", given.get_bind())
    except Exception as error:
        raise InvalidOption(
            f"this Session does not say which database it writes to ({error}); give session.connection(…) instead"
        ) from error


def _is_a(given: object, name: str) -> bool:
    return any(kind.__name__ == name and kind.__module__.startswith("sqlalchemy.") for kind in type(given).__mro__)


def _sync_connection(given: AsyncConnection) -> Connection:
    if given.sync_connection is None:
        raise InvalidOption("connection is not open yet; write `async with engine.begin() as connection:`")
    return given.sync_connection


def _style_of(driver: str) -> Style:
    style = _STYLES.get(driver.removesuffix("_async"))
    if style is None:
        known = ", ".join(_STYLES)
        raise InvalidOption(f"SQLAlchemy sits on {driver} here, which Posthorse does not know; use one of {known}")
    return style
