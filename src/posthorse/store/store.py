"""The store as other packages use it: it runs operations and returns their results, for threads and coroutines.

It also decides what happens to its connections in a forked child. The blocks whose calls become a part of one
transaction are in `joined_transactions`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import TypeVar
from weakref import WeakSet

import msgspec

from posthorse.clock import Clock
from posthorse.errors import StoreError
from posthorse.rules.emitter import Emitter
from posthorse.rules.events import Heard
from posthorse.rules.job import Lane
from posthorse.rules.tuning import DEFAULTS, Tuning
from posthorse.rules.watched import Watched
from posthorse.store.address import backend_of, shown
from posthorse.store.backend import Backend
from posthorse.store.base import Operation
from posthorse.store.committer import Committer
from posthorse.store.ensure_schema import OwnSchema
from posthorse.store.error_signature import ErrorSignature
from posthorse.store.group_reader import GroupReader
from posthorse.store.joined_transactions import JoinableTransactions, JoinedTransaction
from posthorse.store.looks import MAX_WAIT, LookThreads, TimeAllowed
from posthorse.store.migrate import Tell
from posthorse.store.operations.lanes import lane_ids
from posthorse.store.patience import Deadline, Patience, patience_of_caller
from posthorse.store.reentry import alone, raise_if_inside, uninterrupted
from posthorse.store.user_connections.foreign_transactions import ForeignTransactions, store_identity
from posthorse.store.waiting_room import WaitingRoom

T = TypeVar("T")

log = logging.getLogger("posthorse")

_stores: WeakSet[Store] = WeakSet()
_abandoned: list[object] = []
"""What a forked child inherited: kept, because closing it would disturb the parent."""


class Store:
    """One store, usable from threads, coroutines and forked children as soon as it is constructed."""

    def __init__(
        self,
        url: str,
        *,
        schema: str = "posthorse",
        clock: Clock | None = None,
        timeout: float | None = None,
        is_named: bool = True,
        emitter: Emitter | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self.url = url
        self.is_named = is_named
        """False if the address is the default, because no setting names a store."""
        self.timeout = timeout
        """Seconds that a call waits for a store that is away; None: depends on where the call is made."""
        self.schema = schema
        self.clock = clock or Clock()
        self.tuning = tuning or DEFAULTS
        """What the parts of a worker that use this store take their figures from."""
        self.emitter = emitter or Emitter()
        """Who listens to what happens in this process."""
        self.watched = Watched()
        """Who watches the stream of what happens to jobs, as far as this process knows."""
        self.backend = self._new_backend()
        self._signature = ErrorSignature(self.where)
        self._schema = self._new_schema()
        self._may_be_away = self.backend.capabilities.may_be_away
        self._transactions = self._new_transactions()
        self._joined = self._transactions.current
        self._committer = self._new_committer()
        self._group_reader = GroupReader(self.backend.try_read)
        self._look_threads = LookThreads()
        self._waiting_room = WaitingRoom(self)
        self._lanes: dict[Lane, int] = {}
        self.after_commit: set[Callable[[], None]] = set()
        """Called after each commit of this process that may have made work, in the thread of its caller."""
        _stores.add(self)

    # ── running operations ───────────────────────────────────────────────────────────────────────────

    def run(self, operation: Operation[T]) -> T:
        """Run an operation and return its result once it is committed; inside `transaction`, as a part of that."""
        joined = self._joined()
        if joined is not None:
            return alone(joined.run, operation)
        answer = uninterrupted(self._commit, self._with_deadline(operation))
        if not operation.creates_no_work:
            self._tell()
        self._waiting_room.tell()
        return answer

    async def arun(self, operation: Operation[T]) -> T:
        """Run an operation, for a coroutine."""
        joined = self._joined()
        if joined is not None:
            return await joined.arun(operation)
        raise_if_inside()
        operation = self._with_deadline(operation)
        try:
            if not self._schema.is_checked:
                await asyncio.to_thread(alone, self._schema.prepare, operation.deadline)
            answer = await self._committer.arun(operation)
        except StoreError as error:
            self._signature.sign(error)
            raise
        if not operation.creates_no_work:
            self._tell()
        self._waiting_room.tell()
        return answer

    def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads."""
        joined = self._joined()
        if joined is not None:
            return alone(joined.read, operation)
        return uninterrupted(self._read, self._with_deadline(operation))

    async def aread(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, for a coroutine, together with others that read at this moment."""
        joined = self._joined()
        if joined is not None:
            return await joined.aread(operation)
        raise_if_inside()
        operation = self._with_deadline(operation)
        with self._signature:
            if not self._schema.is_checked:
                await asyncio.to_thread(alone, self._schema.prepare, operation.deadline)
            return await self._group_reader.aread(operation)

    def look(self, operation: Operation[T], *, deadline: float | None = None) -> T:
        """Run an operation that reads many rows, beside all reads of one job. Inside a transaction, as a part of that.

        deadline: seconds after which it is ended; None: `Tuning.look_time`. Raises TookTooLong.
        """
        joined = self._joined()
        if joined is not None:
            return alone(joined.read, operation)
        time = TimeAllowed(self.tuning.look_time if deadline is None else deadline)
        return uninterrupted(lambda wanted: self._look(time, wanted), self._with_deadline(operation))

    async def alook(self, operation: Operation[T], *, deadline: float | None = None) -> T:
        """Run an operation that reads many rows, for a coroutine. It waits at most 2 s for a store that is away."""
        joined = self._joined()
        if joined is not None:
            return await joined.aread(operation)
        raise_if_inside()
        time = TimeAllowed(self.tuning.look_time if deadline is None else deadline)
        operation = self._with_deadline(operation, at_most=MAX_WAIT)
        return await self._look_threads.run(partial(self._look, time, operation))

    def wait_for_end(self, jobs: Collection[str], seconds: float) -> Collection[str]:
        """Wait until some of the jobs may be over, and return these; none if the time (seconds) is over before.

        It looks outside of any transaction. The caller then reads how they ended, or that they are not over.
        """
        return self._waiting_room.wait(jobs, seconds)

    async def await_end(self, jobs: Collection[str], seconds: float) -> Collection[str]:
        """Do the same for a coroutine."""
        raise_if_inside()
        return await self._waiting_room.await_(jobs, seconds)

    def known_lane(self, lane: Lane) -> int | None:
        """Return the number of a lane if it is cached."""
        return self._lanes.get(lane)

    def lanes(self, wanted: set[Lane]) -> dict[Lane, int]:
        """Return the numbers of lanes; create missing ones in a commit of their own, and cache them."""
        missing = wanted - self._lanes.keys()
        if missing:
            making = lane_ids(sorted(missing, key=msgspec.structs.astuple))
            if self._makes_lanes_inside():
                return {**self._lanes, **self.run(making)}  # may yet be rolled back
            self._lanes.update(uninterrupted(self._commit, self._with_deadline(making)))
        return self._lanes

    async def alanes(self, wanted: set[Lane]) -> dict[Lane, int]:
        """Return the numbers of lanes, for a coroutine."""
        missing = wanted - self._lanes.keys()
        if missing:
            making = lane_ids(sorted(missing, key=msgspec.structs.astuple))
            if self._makes_lanes_inside():
                return {**self._lanes, **await self.arun(making)}  # may yet be rolled back
            raise_if_inside()
            making = self._with_deadline(making)
            with self._signature:
                if not self._schema.is_checked:
                    await asyncio.to_thread(alone, self._schema.prepare, making.deadline)
                self._lanes.update(await self._committer.arun(making))
        return self._lanes

    # ── transactions ─────────────────────────────────────────────────────────────────────────────────

    def transaction(self, connection: object = None, *, longest: float = 3600.0) -> AbstractContextManager[object]:
        """Begin a transaction that calls of Posthorse inside the block join: on its own connection, or on the one
        given.

        It is rolled back if the block takes more than `longest` seconds. Raises InvalidOption for a connection that
        cannot be used, or is inside a transaction.
        """
        return self._transactions.begin(connection, longest)

    def atransaction(
        self, connection: object = None, *, longest: float = 3600.0
    ) -> AbstractAsyncContextManager[object]:
        """Begin a transaction, for a coroutine; its own connection is an asynchronous one."""
        return self._transactions.abegin(connection, longest)

    def joining(self, connection: object) -> AbstractContextManager[None]:
        """Make calls inside the block a part of a transaction that the caller begins and ends.

        Raises InvalidOption for a connection that cannot be used, or would commit each statement by itself.
        """
        return self._transactions.join(connection)

    def ajoining(self, connection: object) -> AbstractAsyncContextManager[None]:
        """Do the same for a coroutine, with a sync or async connection."""
        return self._transactions.ajoin(connection)

    def emit_once_committed(self, event: Heard) -> None:
        """Emit an event now, or once the transaction that it is a part of commits.

        Inside `joining` the caller commits, unseen by the store: the event is dropped.
        """
        joined = self._joined()
        if joined is None:
            self.emitter.emit(event)
        else:
            joined.events = (*joined.events, event)

    @property
    def is_in_transaction(self) -> bool:
        """Whether the caller is inside `transaction` or `joining`, so that operations become a part of that."""
        return self._joined() is not None

    # ── schema ───────────────────────────────────────────────────────────────────────────────────────

    def migrate(self, tell: Tell | None = None) -> int:
        """Create or migrate the schema; return the number of steps taken. `tell` receives each, in words, before it."""
        return alone(self._schema.migrate, tell or log.info)

    def missing_steps(self) -> list[str]:
        """Return in words what `migrate` would do; change nothing."""
        return self._schema.missing_steps()

    def schema_version(self) -> int | None:
        """Return the version of the stored schema; None if there is none. Raises StoreUnreachable for a lost file."""
        return self._schema.version(self._deadline())

    def compact(self) -> int | None:
        """Give free space back to the disk; return how many bytes, None if the database uses it again by itself.

        No other process may use the store meanwhile.
        """
        return alone(self.backend.compact)

    def health(self) -> Mapping[str, str | int | float | None]:
        """Return facts about the database, for `posthorse doctor`."""
        return self.backend.health()

    @property
    def where(self) -> str:
        """The store's name for messages, without its password."""
        return shown(self.url)

    def close(self) -> None:
        """Close all connections, after what was begun. The store opens again when it is used."""
        alone(self._close)

    # ── private ──────────────────────────────────────────────────────────────────────────────────────

    def _commit(self, operation: Operation[T]) -> T:
        try:
            self._schema.prepare(operation.deadline)
            return self._committer.run(operation)
        except StoreError as error:
            self._signature.sign(error)
            raise

    def _close(self) -> None:
        self._committer.close()
        self._waiting_room.close()
        self._group_reader.close()
        self._look_threads.close()
        self.backend.close()
        self._committer = self._new_committer()

    def _new_backend(self) -> Backend:
        return backend_of(self.url, self.schema, self.clock, self.tuning, timeout=self.timeout)

    def _new_schema(self) -> OwnSchema:
        return OwnSchema(self.backend, self.where, is_named=self.is_named)

    def _new_transactions(self) -> JoinableTransactions:
        return JoinableTransactions(
            self.backend,
            self._schema,
            ForeignTransactions(self.backend, self.where, self._stored_identity),
            self.emitter,
            where=self.where,
            deadline=self._deadline,
            tell=self._tell_of,
        )

    def _new_committer(self) -> Committer:
        committer = Committer(self.backend.commit)
        self.backend.while_away = committer.give_up_on
        return committer

    def _tell(self) -> None:
        if self.after_commit:
            for listener in tuple(self.after_commit):
                listener()

    def _tell_of(self, joined: JoinedTransaction) -> None:
        self._waiting_room.tell()
        if joined.has_news:
            alone(self.backend.notifier.notify)
            self._tell()

    def _makes_lanes_inside(self) -> bool:
        # With one writer the block holds the write lock. With rivals, an uncommitted lane would delay every other
        # process that needs it.
        return not self.backend.capabilities.has_rivals and self._joined() is not None

    def _stored_identity(self) -> str | None:
        return self.backend.read(store_identity())

    def _deadline(self) -> Deadline:
        return Deadline(patience_of_caller(self.timeout))

    def _with_deadline(self, operation: Operation[T], *, at_most: float | None = None) -> Operation[T]:
        if not self._may_be_away:
            return operation
        deadline = self._deadline()
        if at_most is not None and deadline.left > at_most:
            deadline = Deadline(Patience(at_most))
        return msgspec.structs.replace(operation, deadline=deadline)

    def _read(self, operation: Operation[T]) -> T:
        with self._signature:
            self._schema.prepare(operation.deadline)
            return self.backend.read(operation)

    def _look(self, time: TimeAllowed, operation: Operation[T]) -> T:
        with self._signature:
            self._schema.prepare(operation.deadline)
            return self.backend.look(operation, time)

    def start_anew(self) -> None:
        """Abandon in a forked child what was inherited, open transactions too, and open new connections when needed."""
        _abandoned.append((self.backend, self._committer, self._group_reader, self._look_threads, self._waiting_room))
        self.backend = self._new_backend()
        self._schema = self._new_schema()
        self._transactions = self._new_transactions()
        self._joined = self._transactions.current
        self._committer = self._new_committer()
        self._group_reader = GroupReader(self.backend.try_read)
        self._look_threads = LookThreads()
        self._waiting_room = WaitingRoom(self)


def _start_anew() -> None:
    for store in list(_stores):
        store.start_anew()


os.register_at_fork(after_in_child=_start_anew)
