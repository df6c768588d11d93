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
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import WeakSet

import msgspec

from posthorse.clock import Clock
from posthorse.errors import InvalidOption, InvalidSettings, SchemaMismatch, StoreError
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
from posthorse.store.guests.base import Guest, completed
from posthorse.store.guests.host import Host, store_identity
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
        self._host = Host(self.backend, self.where, self._stored_identity)
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
            return joined.read(operation)
        self._prepare()
        return cast("T", self.backend.read(operation))

    async def aread(self, operation: Operation[T]) -> T:
        """The same for a coroutine."""
        joined = self._joined()
        if joined is not None:
            return await joined.aread(operation)
        return await asyncio.to_thread(self.read, operation)

    def lanes(self, wanted: set[Lane]) -> dict[Lane, int]:
        """The numbers of lanes; they are made in a commit of their own, and remembered."""
        missing = wanted - self._lanes.keys()
        if missing:
            making = lane_ids(sorted(missing, key=msgspec.structs.astuple))
            if self._makes_lanes_inside():
                return {**self._lanes, **self.run(making)}  # may yet be rolled back
            self._prepare()
            self._lanes.update(self._committer.run(making))
        return self._lanes

    async def alanes(self, wanted: set[Lane]) -> dict[Lane, int]:
        """The same for a coroutine."""
        missing = wanted - self._lanes.keys()
        if missing:
            making = lane_ids(sorted(missing, key=msgspec.structs.astuple))
            if self._makes_lanes_inside():
                return {**self._lanes, **await self.arun(making)}  # may yet be rolled back
            if not self._is_checked:
                await asyncio.to_thread(self._prepare)
            self._lanes.update(await self._committer.arun(making))
        return self._lanes

    # ── transactions ─────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def transaction(self, connection: object = None, *, longest: float = 3600.0) -> Iterator[object]:
        """A transaction which Posthorse calls inside the block join: on a connection of its own, or on the one given.

        Rolled back when the block takes more than `longest` seconds. Raises InvalidOption for a connection that cannot
        be used, or is inside a transaction.
        """
        if connection is None:
            self._prepare()
            with self.backend.transaction(longest) as (own, execute), self._join(_Joined(self._identity, execute)):
                yield own
            return
        guest = self._blocking_guest_on(connection, instead="write `async with batch.transaction(connection):`")
        completed(self._prepare_for(guest))
        block = self._host.transaction(guest, longest, is_in_loop=False)
        completed(block.__aenter__())
        try:
            with self._join(_Visit(self._identity, self._host, guest)):
                yield connection
        except BaseException as error:
            if not completed(block.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            completed(block.__aexit__(None, None, None))

    @asynccontextmanager
    async def atransaction(self, connection: object = None, *, longest: float = 3600.0) -> AsyncIterator[object]:
        """The same for a coroutine; a connection of its own is an asynchronous one."""
        if connection is None:
            if not self._is_checked:
                await asyncio.to_thread(self._prepare)
            async with self.backend.atransaction(longest) as (own, execute):
                with self._join(_Joined(self._identity, None, execute)):
                    yield own
            return
        guest = self._host.guest_on(connection)
        await self._prepare_for(guest)
        async with self._host.transaction(guest, longest, is_in_loop=True):
            with self._join(_Visit(self._identity, self._host, guest)):
                yield connection

    @contextmanager
    def joining(self, connection: object) -> Iterator[None]:
        """Calls inside the block become a part of a transaction that the caller begins and ends.

        Raises InvalidOption for a connection that cannot be used, or would commit each statement by itself.
        """
        guest = self._blocking_guest_on(connection, instead="use `await ….aenqueue(…)`")
        completed(self._prepare_for(guest))
        completed(self._host.join(guest))
        with self._join(_Visit(self._identity, self._host, guest)):
            yield
            completed(self._host.wake(guest))

    @asynccontextmanager
    async def ajoining(self, connection: object) -> AsyncIterator[None]:
        """The same for a coroutine, with a connection of either colour."""
        guest = self._host.guest_on(connection)
        await self._prepare_for(guest)
        await self._host.join(guest)
        with self._join(_Visit(self._identity, self._host, guest)):
            yield
            await self._host.wake(guest)

    @property
    def is_in_transaction(self) -> bool:
        """True inside `transaction` and `joining`: what is run now becomes a part of that."""
        return self._joined() is not None

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
        return joined if joined is not None and joined.store is self._identity and not joined.is_over else None

    @contextmanager
    def _join(self, joined: _Joined) -> Iterator[None]:
        token = _joined.set(joined)
        try:
            yield
        finally:
            joined.is_over = True  # a task that was started inside may still know it
            _joined.reset(token)

    def _makes_lanes_inside(self) -> bool:
        # On SQLite the block holds the one write lock. On PostgreSQL a lane that is not committed yet would hold up
        # everybody else who needs it.
        return self.is_sqlite and self._joined() is not None

    def _blocking_guest_on(self, connection: object, *, instead: str) -> Guest:
        guest = self._host.guest_on(connection)
        if guest.is_async:
            raise InvalidOption(f"connection is asynchronous, and this call would have to wait for its loop; {instead}")
        return guest

    async def _prepare_for(self, guest: Guest) -> None:
        if self._is_checked:
            return
        if await self._host.lacks_schema(guest):
            raise SchemaMismatch(
                f"{self.where} has no schema of Posthorse yet, and it cannot be made while a transaction is open; call "
                "app.migrate() where your application starts"
            )
        if guest.is_async:
            await asyncio.to_thread(self._prepare)
        else:
            self._prepare()

    def _stored_identity(self) -> str:
        return cast("str", self.backend.read(store_identity()))

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
        self._host = Host(self.backend, self.where, self._stored_identity)
        self._committer = Committer(self.backend.commit)
        self._identity = object()
        self._opening = threading.Lock()
        self._is_checked = False


class _Joined:
    """The open transaction that calls join, on a connection of either colour."""

    def __init__(self, store: object, execute: Execute | None, aexecute: AsyncExecute | None = None) -> None:
        self.store = store
        self.is_over = False
        self._execute = execute
        self._aexecute = aexecute

    def run(self, operation: Operation[T]) -> T:
        if self._execute is None:
            raise _needs_await()
        return drive(operation, self._execute)

    async def arun(self, operation: Operation[T]) -> T:
        if self._aexecute is not None:
            return await adrive(operation, self._aexecute)
        return self.run(operation)

    def read(self, operation: Operation[T]) -> T:
        return self.run(operation)

    async def aread(self, operation: Operation[T]) -> T:
        return await self.arun(operation)


class _Visit(_Joined):
    """The same on a connection of the user's."""

    def __init__(self, store: object, host: Host, guest: Guest) -> None:
        super().__init__(store, None)
        self._host = host
        self._guest = guest

    def run(self, operation: Operation[T]) -> T:
        return completed(self.arun(self._blocking(operation)))

    async def arun(self, operation: Operation[T]) -> T:
        return await self._host.run(self._guest, operation)

    def read(self, operation: Operation[T]) -> T:
        return completed(self.aread(self._blocking(operation)))

    async def aread(self, operation: Operation[T]) -> T:
        return await self._host.read(self._guest, operation)

    def _blocking(self, operation: Operation[T]) -> Operation[T]:
        if self._guest.is_async:
            raise _needs_await()
        return operation


def _needs_await() -> StoreError:
    return StoreError("this block is an async transaction: await the a-prefixed twin of this call inside it")


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

    def write(self, name: str, value: str) -> None:
        """Writes one fact about the store."""
        self._execute(ask("set_meta", name=name, value=value))


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
        if "\0" in rest:
            raise InvalidSettings(f"the address of the store, {url!r}, holds a NUL, which no path has")
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
        f"{_where(url) or url!r} is no address of a store; write sqlite:///folder/file.db (four slashes for an "
        "absolute path) or postgresql://user:password@host/database"
    )


def _where(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator:
        return rest[1:]
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{host}" if separator else url
