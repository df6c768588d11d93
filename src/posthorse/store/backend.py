"""What the store needs of a database: `Backend`, its `Capabilities`, and a `Notifier`.

`store/sqlite` and `store/postgres` implement them. A further database is a package beside these two, and a scheme in
`store/address`. Its conformance suite is `pytest -m conformance`: all tests that use the fixture `store_url` or `yard`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from posthorse.store.base import AsyncExecute, BoundQuery, Execute, Operation
from posthorse.store.committer import Answer
from posthorse.store.connections import AsyncConnection, Connection
from posthorse.store.looks import TimeAllowed
from posthorse.store.migrate import Migrator, Tell
from posthorse.store.queries import Dialect, Query, Value
from posthorse.store.watch import Watch

if TYPE_CHECKING:
    from posthorse.store.store import Store

T = TypeVar("T")


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """How a database differs from others, as far as code above it must know."""

    has_rivals: bool
    """Other processes may write at the same moment, so a claim skips rows that they have locked. False: one writes at a
    time, and all of its transaction is alone."""
    keeps_consumed_entries: bool
    """Entries that were claimed stay in the index for a while, so a claim starts behind a low-water mark."""
    notifies_idle_runners: bool
    """An enqueue wakes only runners that said they are idle, so they must say it."""
    creates_schema: bool
    """The schema is created and migrated at the first use. False: by `migrate` alone."""
    may_be_away: bool
    """It is a server that may be away for a while, so a call has a deadline."""
    is_file: bool
    """It is a file on this machine, whose path is the store's name; so other processes that hold it can be found."""


class Notifier(Protocol):
    """Wakes processes that wait for work. A wake is a hint, never the truth."""

    def notify(self) -> None:
        """Wake all that wait for work, if the commit did not do so by itself."""
        ...

    def subscribe(self, store: Store, runner: str) -> Watch:
        """Watch for work that a runner may claim now."""
        ...

    def subscribe_to_writes(self, store: Store, *, closest: float, blind: float) -> Watch:
        """Watch for all writes: wake at most once in `closest` seconds, or every `blind` seconds if writes cannot be
        noticed.
        """
        ...


class Backend(Protocol):
    """One store in one database. Its methods are called from any thread."""

    while_away: Callable[[Exception], None]
    """Called again and again while a commit waits for a store that is away: waiting calls may give up."""

    @property
    def capabilities(self) -> Capabilities:
        """How this database differs from others."""
        ...

    @property
    def dialect(self) -> Dialect:
        """How its SQL is written."""
        ...

    @property
    def notifier(self) -> Notifier:
        """What wakes processes that wait."""
        ...

    def commit(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        """Commit operations together, each failing alone; return the answer or the error of each."""
        ...

    def read(self, operation: Operation[T]) -> T:
        """Run an operation that only reads, beside the writer."""
        ...

    def try_read(self, operation: Operation[T]) -> T:
        """Do the same once. Raises StoreAway if the store is away and the operation's deadline is not over."""
        ...

    def look(self, operation: Operation[T], time: TimeAllowed) -> T:
        """Run an operation that reads many rows, on a connection for such reads. Raises TookTooLong."""
        ...

    def transaction(self, longest: float) -> AbstractContextManager[tuple[Connection, Execute]]:
        """Begin a transaction on a connection of its own, of `longest` seconds at most."""
        ...

    def atransaction(self, longest: float) -> AbstractAsyncContextManager[tuple[AsyncConnection, AsyncExecute]]:
        """Begin such a transaction, for a coroutine."""
        ...

    def values_of(self, query: Query, wanted: BoundQuery) -> dict[str, Value]:
        """Return the values that a query takes, with those that the store supplies."""
        ...

    def migrating(self, tell: Tell) -> AbstractContextManager[Migrator]:
        """Yield what migrates the store; `tell` receives what it waits for."""
        ...

    def exists(self) -> bool:
        """Return False if no store was ever made here. Raises StoreUnreachable for one that is lost."""
        ...

    def prepare(self) -> str | None:
        """Make what a schema needs around it, such as a folder; return the place of a store that is new."""
        ...

    def remember(self) -> None:
        """Note that there is a store now, so that no process makes another in its place."""
        ...

    def wait_at_most(self, seconds: float) -> None:
        """Set for how long a call without a deadline waits for a store that is away or locked."""
        ...

    def compact(self) -> int | None:
        """Give free space back to the disk; return how many bytes. None: the database uses it again by itself.

        No other process may use the store meanwhile.
        """
        ...

    def health(self) -> Mapping[str, str | int | float | None]:
        """Return facts about the database, for `posthorse doctor`."""
        ...

    def close(self) -> None:
        """Close all connections that are at rest."""
        ...
