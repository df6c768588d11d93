"""The libraries whose connections users have, so that one test runs with each of them.

A `Party` is an open connection in the user's hands. Its steps are coroutines; those of a blocking library never wait,
and `play` runs them without an event loop, as the user would.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, TypeVar

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_async

from posthorse.store.user_connections.base import completed

T = TypeVar("T")


@dataclass
class Party:
    """A connection, or what takes its place, and how its owner writes to it and ends it."""

    connection: Any
    execute: Callable[[str], object]
    commit: Callable[[], object]
    rollback: Callable[[], object]
    begin: Callable[[], object] = lambda: None

    async def do(self, step: Callable[..., object], *given: object) -> object:
        """Do one step, sync or async."""
        answer = step(*given)
        return await answer if isawaitable(answer) else answer

    async def write(self, item: int) -> None:
        """Write to the user's own table."""
        await self.do(self.execute, f"INSERT INTO effects VALUES ({item:d})")


@dataclass(frozen=True)
class Library:
    """One way to have a connection."""

    name: str
    store: str
    open: Callable[[str], AbstractAsyncContextManager[Party]]
    is_async: bool = False

    def __str__(self) -> str:
        return self.name

    def play(self, scene: Coroutine[Any, Any, T]) -> T:
        """Run a scene as this library needs it."""
        return asyncio.run(scene) if self.is_async else completed(scene)


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


# ── drivers ──────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _sqlite3(url: str) -> AsyncIterator[Party]:
    connection = sqlite3.connect(path_of(url), timeout=10)
    try:
        yield Party(connection, connection.execute, connection.commit, connection.rollback)
    finally:
        connection.close()


@asynccontextmanager
async def _sqlite3_by_hand(url: str) -> AsyncIterator[Party]:
    connection = sqlite3.connect(path_of(url), timeout=10, isolation_level=None)
    connection.row_factory = sqlite3.Row
    execute = connection.execute
    try:
        yield Party(
            connection,
            execute,
            lambda: execute("COMMIT"),
            lambda: execute("ROLLBACK"),
            lambda: execute("BEGIN IMMEDIATE"),
        )
    finally:
        connection.close()


@asynccontextmanager
async def _psycopg(url: str) -> AsyncIterator[Party]:
    connection = psycopg.connect(url, row_factory=psycopg.rows.dict_row)
    try:
        yield Party(connection, lambda sql: connection.execute(sql.encode()), connection.commit, connection.rollback)
    finally:
        connection.close()


@asynccontextmanager
async def _psycopg_autocommit(url: str) -> AsyncIterator[Party]:
    connection = psycopg.connect(url, autocommit=True)

    def execute(sql: str) -> object:
        return connection.execute(sql.encode())

    try:
        yield Party(
            connection, execute, lambda: execute("COMMIT"), lambda: execute("ROLLBACK"), lambda: execute("BEGIN")
        )
    finally:
        connection.close()


@asynccontextmanager
async def _psycopg_async(url: str) -> AsyncIterator[Party]:
    connection = await psycopg.AsyncConnection.connect(url)
    try:
        yield Party(connection, lambda sql: connection.execute(sql.encode()), connection.commit, connection.rollback)
    finally:
        await connection.close()


def _party_on_asyncpg(connection: asyncpg.Connection) -> Party:
    open_now: list[Any] = []

    async def begin() -> None:
        open_now.append(connection.transaction())
        await open_now[-1].start()

    return Party(
        connection, connection.execute, lambda: open_now.pop().commit(), lambda: open_now.pop().rollback(), begin
    )


@asynccontextmanager
async def _asyncpg(url: str) -> AsyncIterator[Party]:
    connection = await asyncpg.connect(url)
    try:
        yield _party_on_asyncpg(connection)
    finally:
        await connection.close(timeout=5)


@asynccontextmanager
async def _asyncpg_pool(url: str) -> AsyncIterator[Party]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        yield _party_on_asyncpg(connection)


# ── SQLAlchemy ───────────────────────────────────────────────────────────────────────────────────────


def _on(url: str, driver: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme.replace('postgresql', driver)}://{rest}" if scheme != "sqlite" else f"{driver}://{rest}"


def _connection(driver: str) -> Callable[[str], AbstractAsyncContextManager[Party]]:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Party]:
        engine = sa.create_engine(_on(url, driver))
        try:
            with engine.connect() as connection:
                yield Party(
                    connection, lambda sql: connection.execute(sa.text(sql)), connection.commit, connection.rollback
                )
        finally:
            engine.dispose()

    return opened


def _session(driver: str) -> Callable[[str], AbstractAsyncContextManager[Party]]:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Party]:
        engine = sa.create_engine(_on(url, driver))
        try:
            with orm.Session(engine) as session:
                yield Party(session, lambda sql: session.execute(sa.text(sql)), session.commit, session.rollback)
        finally:
            engine.dispose()

    return opened


def _async_connection(driver: str) -> Callable[[str], AbstractAsyncContextManager[Party]]:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Party]:
        engine = sa_async.create_async_engine(_on(url, driver))
        try:
            async with engine.connect() as connection:
                yield Party(
                    connection, lambda sql: connection.execute(sa.text(sql)), connection.commit, connection.rollback
                )
        finally:
            await engine.dispose()

    return opened


def _async_session(driver: str) -> Callable[[str], AbstractAsyncContextManager[Party]]:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Party]:
        engine = sa_async.create_async_engine(_on(url, driver))
        try:
            async with sa_async.AsyncSession(engine) as session:
                yield Party(session, lambda sql: session.execute(sa.text(sql)), session.commit, session.rollback)
        finally:
            await engine.dispose()

    return opened


@asynccontextmanager
async def _session_of_scope(url: str) -> AsyncIterator[Party]:
    engine = sa.create_engine(_on(url, "postgresql+psycopg"))
    scope = orm.scoped_session(orm.sessionmaker(engine))
    try:
        yield Party(scope, lambda sql: scope.execute(sa.text(sql)), scope.commit, scope.rollback)
    finally:
        scope.remove()
        engine.dispose()


@asynccontextmanager
async def _connection_with_begin_event(url: str) -> AsyncIterator[Party]:
    """Do what SQLAlchemy's own page on SQLite recommends for savepoints."""
    engine = sa.create_engine(_on(url, "sqlite+pysqlite"))

    @sa.event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    try:
        with engine.connect() as connection:
            yield Party(
                connection, lambda sql: connection.execute(sa.text(sql)), connection.commit, connection.rollback
            )
    finally:
        engine.dispose()


# ── Django ───────────────────────────────────────────────────────────────────────────────────────────


def django_database(url: str) -> dict[str, object]:
    """Return a database as in Django's settings."""
    if url.startswith("sqlite"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": path_of(url), "OPTIONS": {"timeout": 10}}
    found = psycopg.conninfo.conninfo_to_dict(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": found["dbname"],
        "USER": found["user"],
        "HOST": found["host"],
        "PORT": found["port"],
    }


@asynccontextmanager
async def _django(url: str) -> AsyncIterator[Party]:
    import django
    from django.conf import settings
    from django.db import connection, connections, transaction

    if not settings.configured:
        settings.configure(DATABASES={"default": {}}, USE_TZ=True)
        django.setup()
    database = django_database(url)
    connections.databases["default"] = connections.configure_settings({"default": database})["default"]
    if hasattr(connections._connections, "default"):
        del connections["default"]
    open_now: list[Any] = []

    def begin() -> None:
        open_now.append(transaction.atomic())
        open_now[-1].__enter__()

    def commit() -> None:
        open_now.pop().__exit__(None, None, None)

    def rollback() -> None:
        transaction.set_rollback(True)
        open_now.pop().__exit__(None, None, None)

    def execute(sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    try:
        yield Party(connection, execute, commit, rollback, begin)
    finally:
        connection.close()
        del connections["default"]


LIBRARIES = (
    Library("sqlite3", "sqlite", _sqlite3),
    Library("sqlite3 by hand", "sqlite", _sqlite3_by_hand),
    Library("SQLAlchemy Connection on sqlite3", "sqlite", _connection("sqlite+pysqlite")),
    Library("SQLAlchemy Connection with BEGIN event", "sqlite", _connection_with_begin_event),
    Library("SQLAlchemy Session on sqlite3", "sqlite", _session("sqlite+pysqlite")),
    Library("SQLAlchemy AsyncConnection on aiosqlite", "sqlite", _async_connection("sqlite+aiosqlite"), is_async=True),
    Library("SQLAlchemy AsyncSession on aiosqlite", "sqlite", _async_session("sqlite+aiosqlite"), is_async=True),
    Library("Django on SQLite", "sqlite", _django),
    Library("psycopg", "postgres", _psycopg),
    Library("psycopg autocommit", "postgres", _psycopg_autocommit),
    Library("psycopg async", "postgres", _psycopg_async, is_async=True),
    Library("asyncpg", "postgres", _asyncpg, is_async=True),
    Library("asyncpg from a pool", "postgres", _asyncpg_pool, is_async=True),
    Library("SQLAlchemy Connection on psycopg", "postgres", _connection("postgresql+psycopg")),
    Library("SQLAlchemy Connection on psycopg2", "postgres", _connection("postgresql+psycopg2")),
    Library("SQLAlchemy Session on psycopg", "postgres", _session("postgresql+psycopg")),
    Library("SQLAlchemy scoped_session", "postgres", _session_of_scope),
    Library(
        "SQLAlchemy AsyncConnection on asyncpg", "postgres", _async_connection("postgresql+asyncpg"), is_async=True
    ),
    Library("SQLAlchemy AsyncSession on asyncpg", "postgres", _async_session("postgresql+asyncpg"), is_async=True),
    Library("SQLAlchemy AsyncSession on psycopg", "postgres", _async_session("postgresql+psycopg"), is_async=True),
    Library("Django on PostgreSQL", "postgres", _django),
)
_BY_NAME = {library.name: library for library in LIBRARIES}


def library(name: str) -> Library:
    """Return the library with this name."""
    return _BY_NAME[name]


def through(*names: str) -> pytest.MarkDecorator:
    """Run a test with these libraries; without names, with all."""
    chosen = [_BY_NAME[name] for name in names] or LIBRARIES
    return pytest.mark.parametrize("library", chosen, ids=str)
