"""The store as those above it see it: operations in, answers out, for threads and coroutines alike.

Owns the choice of backend, what happens to it in a forked child, and the transaction that calls inside a block join.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast
from weakref import WeakSet

import msgspec

from posthorse.clock import Clock
from posthorse.errors import InvalidSettings, SchemaMismatch, StoreError
from posthorse.rules.job import Lane
from posthorse.store import migrate
from posthorse.store.base import (
    AsyncExecute,
    Execute,
    Operation,
    Steps,
    adrive,
    ask,
    drive,
    operation,
    single_operation,
)
from posthorse.store.committer import Committer
from posthorse.store.operations.submit import lane_ids

if TYPE_CHECKING:
    from posthorse.store.postgres import PostgresBackend
    from posthorse.store.sqlite import SqliteBackend

T = TypeVar("T")

_joined: ContextVar[_Joined | None] = ContextVar("posthorse_joined", default=None)
_stores: WeakSet[Store] = WeakSet()
_abandoned: list[object] = []
"""What a forked child inherited: kept, because closing it would disturb the parent."""


class Store:
    """One store, usable from threads, coroutines and forked children, from its construction on."""

    def __init__(self, url: str, *, schema: str = "posthorse", clock: Clock | None = None) -> None:
        self.url = url
        self.schema = schema
        self.clock = clock or Clock()
        self.backend = _backend(url, schema, self.clock)
        self.is_sqlite = self.backend.dialect.name == "sqlite"
        self._committer = Committer(self.backend.commit)
        self._identity = object()
        self._opening = threading.Lock()
        self._is_checked = False
        self._lanes: dict[Lane, int] = {}
        self.after_commit: set[Callable[[], None]] = set()
        """Called after each commit of this process, from the thread of its caller."""
        _stores.add(self)

    # ── running operations ───────────────────────────────────────────────────────────────────────────

    def run(self, operation: Operation[T]) -> T:
        """Runs an operation and returns once it is committed; inside `transaction`, as a part of that."""
        joined = self._joined()
        if joined is not None:
            return joined.run(operation)
        self._prepare()
        answer = self._committer.run(operation)
        self._tell()
        return answer

    async def arun(self, operation: Operation[T]) -> T:
        """The same for a coroutine."""
        joined = self._joined()
        if joined is not None:
            return await joined.arun(operation)
        if not self._is_checked:
            await asyncio.to_thread(self._prepare)
        answer = await self._committer.arun(operation)
        self._tell()
        return answer

    def read(self, operation: Operation[T]) -> T:
        """Runs an operation that only reads."""
        joined = self._joined()
        if joined is not None:
            return joined.run(operation)
        self._prepare()
        return cast("T", self.backend.read(operation))

    async def aread(self, operation: Operation[T]) -> T:
        """The same for a coroutine."""
        joined = self._joined()
        if joined is not None:
            return await joined.arun(operation)
        return await asyncio.to_thread(self.read, operation)

    def lanes(self, wanted: set[Lane]) -> dict[Lane, int]:
        """The numbers of lanes; they are made in a commit of their own, and remembered."""
        missing = wanted - self._lanes.keys()
        if missing:
            found = self.run(lane_ids(sorted(missing, key=msgspec.structs.astuple)))
            if self._joined() is not None:
                return {**self._lanes, **found}  # may yet be rolled back
            self._lanes.update(found)
        return self._lanes

    async def alanes(self, wanted: set[Lane]) -> dict[Lane, int]:
        """The same for a coroutine."""
        missing = wanted - self._lanes.keys()
        if missing:
            found = await self.arun(lane_ids(sorted(missing, key=msgspec.structs.astuple)))
            if self._joined() is not None:
                return {**self._lanes, **found}  # may yet be rolled back
            self._lanes.update(found)
        return self._lanes

    @contextmanager
    def transaction(self, *, longest: float = 3600.0) -> Iterator[object]:
        """A transaction on a connection of its own, which Posthorse calls inside the block join.

        Rolled back when the block takes more than `longest` seconds.
        """
        self._prepare()
        with self.backend.transaction(longest) as (connection, execute):
            token = _joined.set(_Joined(self._identity, execute))
            try:
                yield connection
            finally:
                _joined.reset(token)

    @asynccontextmanager
    async def atransaction(self, *, longest: float = 3600.0) -> AsyncIterator[object]:
        """The same for a coroutine; the connection is an asynchronous one."""
        if not self._is_checked:
            await asyncio.to_thread(self._prepare)
        async with self.backend.atransaction(longest) as (connection, execute):
            token = _joined.set(_Joined(self._identity, None, execute))
            try:
                yield connection
            finally:
                _joined.reset(token)

    # ── schema ───────────────────────────────────────────────────────────────────────────────────────

    def migrate(self) -> int:
        """Makes the schema or brings it up to date; answers with the number of steps taken."""
        if self.is_sqlite:
            Path(self.where).parent.mkdir(parents=True, exist_ok=True)
        with self.backend.migrating() as (execute, run_script):
            return migrate.migrate(_Migration(self.backend.dialect.name, execute, run_script), self.where)

    def schema_version(self) -> int | None:
        """The version of the stored schema; None when there is none."""
        if self.is_sqlite and not Path(self.where).exists():
            return None
        return cast("int | None", self.backend.read(_stored_version()))

    def health(self) -> Mapping[str, str | int | float | None]:
        """Facts about the database, for `posthorse doctor`."""
        return self.backend.health()

    @property
    def where(self) -> str:
        """What names the store in messages, without its password."""
        return _where(self.url)

    def close(self) -> None:
        """Closes all connections, after what was begun. Using the store again opens it anew."""
        self._committer.close()
        self.backend.close()
        self._committer = Committer(self.backend.commit)

    # ── private ──────────────────────────────────────────────────────────────────────────────────────

    def _tell(self) -> None:
        for listener in tuple(self.after_commit):
            listener()

    def _joined(self) -> _Joined | None:
        joined = _joined.get()
        return joined if joined is not None and joined.store is self._identity else None

    def _prepare(self) -> None:
        """Before the first operation: a schema that fits. A file gets it by itself, a database from `migrate`."""
        if self._is_checked:
            return
        with self._opening:
            version = self.schema_version()
            if self.is_sqlite and (version is None or version < migrate.SCHEMA_VERSION):
                self.migrate()
            else:
                migrate.check(version, self.where)
            self._is_checked = True

    def start_anew(self) -> None:
        """In a forked child: abandons what was inherited, open transactions too, and opens its own when needed."""
        _abandoned.append((self.backend, self._committer))
        self.backend = _backend(self.url, self.schema, self.clock)
        self._committer = Committer(self.backend.commit)
        self._identity = object()
        self._opening = threading.Lock()
        self._is_checked = False


class _Joined(NamedTuple):
    """The open transaction that calls join, on a connection of either colour."""

    store: object
    execute: Execute | None
    aexecute: AsyncExecute | None = None

    def run(self, operation: Operation[T]) -> T:
        if self.execute is None:
            raise StoreError("this block is an async transaction: await the a-prefixed twin of this call inside it")
        return drive(operation, self.execute)

    async def arun(self, operation: Operation[T]) -> T:
        if self.aexecute is not None:
            return await adrive(operation, self.aexecute)
        return self.run(operation)


class _Migration:
    """A store inside the transaction that makes or migrates its schema."""

    def __init__(self, dialect_name: str, execute: Execute, run: Callable[[str], None]) -> None:
        self.dialect_name = dialect_name
        self._execute = execute
        self._run = run

    def stored_version(self) -> int | None:
        """The version of the schema; None when there is none."""
        return drive(_stored_version(), self._execute)

    def run(self, script: str) -> None:
        """Runs the statements of a file."""
        self._run(script)

    def write_version(self, version: int) -> None:
        """Writes which version the schema has now."""
        self._execute(ask("set_meta", name="schema_version", value=str(version)))


@operation
def _stored_version() -> Steps[int | None]:
    if not (yield ask("has_schema")):
        return None
    rows = yield ask("schema_version")
    if not rows:
        raise SchemaMismatch(
            "the store has tables with Posthorse's names but no version of its schema: they are not Posthorse's, or "
            "were damaged; restore them from a backup, or name another store"
        )
    return int(cast("str", rows[0][0]))


@single_operation
def store_now() -> Steps[int]:
    """The store's clock, in microseconds since the epoch."""
    rows = yield ask("now")
    return cast("int", rows[0][0])


def _start_anew() -> None:
    for store in list(_stores):
        store.start_anew()


os.register_at_fork(after_in_child=_start_anew)


def _backend(url: str, schema: str, clock: Clock) -> SqliteBackend | PostgresBackend:
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from posthorse.store.sqlite import SqliteBackend

        if rest[1:] == ":memory:":
            raise InvalidSettings(
                "sqlite:///:memory: would be lost with its process, and workers could not see it; name a file"
            )
        return SqliteBackend(Path(rest[1:]), clock)
    if separator and scheme in ("postgresql", "postgres"):
        try:
            from posthorse.store.postgres import PostgresBackend
        except ImportError as error:
            raise InvalidSettings(
                f"{scheme}:// needs psycopg ({error}); install it with `pip install 'posthorse[postgres]'`"
            ) from error
        return PostgresBackend(url, schema, clock)
    raise InvalidSettings(
        f"{_where(url)!r} is no address of a store; write sqlite:///folder/file.db (four slashes for an absolute "
        "path) or postgresql://user:password@host/database"
    )


def _where(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator:
        return rest[1:]
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{host}" if separator else url
