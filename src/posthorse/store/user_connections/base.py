"""The interface of a connection adapter: it runs our statements on a connection that the user opened with some library.

Every step is a coroutine, so that it is written once. The steps of a blocking library never wait: `completed` runs them
to their end without an event loop. This module knows no library and no query.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from enum import Enum
from inspect import isawaitable
from typing import ClassVar, Literal, TypeVar, cast

from posthorse.errors import InvalidOption, StoreError
from posthorse.store.base import Rows
from posthorse.store.queries import Value

T = TypeVar("T")

Parameters = Sequence[object] | Mapping[str, Value]


class Style(Enum):
    """How a driver expects parameters."""

    MARKED = "?"
    DOLLAR = "$1"
    NAMED = "%(p1)s"
    PLAIN = "%s"


class ConnectionAdapter(ABC):
    """Run statements of Posthorse on one connection of the user."""

    dialect: Literal["sqlite", "postgres"]
    style: Style
    is_async: bool = False
    """True if its steps must be awaited."""
    libraries: ClassVar[frozenset[str]]
    """Packages whose errors are about this connection."""

    @property
    @abstractmethod
    def driver(self) -> object:
        """The driver's own connection, which outlives the objects that wrap it."""

    @abstractmethod
    def raise_unless_usable(self) -> None:
        """Raise InvalidOption if the connection is closed, or its transaction failed."""

    @abstractmethod
    def is_in_transaction(self) -> bool:
        """True if a transaction is open, as far as the client knows."""

    @abstractmethod
    def raise_unless_in_transaction(self) -> None:
        """Raise InvalidOption if each statement would be committed by itself."""

    def raise_if_in_transaction(self) -> None:
        """Raise InvalidOption if a transaction is open already, because only the user may end that one."""
        if self.is_in_transaction():
            raise inside()

    @abstractmethod
    async def fetch(self, sql: str, parameters: Parameters) -> Rows:
        """Run one statement and return its rows."""

    async def open(self) -> None:  # noqa: B027  # most are open
        """Open a connection that its library opens late; called before anything else."""

    async def join(self) -> None:  # noqa: B027  # most have nothing to do
        """Prepare the user's transaction for our first statement; on SQLite, take the write lock."""

    @abstractmethod
    async def begin(self) -> None:
        """Begin a transaction; on SQLite one that may write."""

    @abstractmethod
    async def commit(self) -> None:
        """Commit the transaction that `begin` began. Raises StoreError if it is no longer open."""

    @abstractmethod
    async def rollback(self, error: BaseException) -> None:
        """Roll back the transaction that `begin` began."""

    @abstractmethod
    def is_lost(self, error: BaseException) -> bool:
        """True if this error means that the connection is gone."""

    def is_told_by(self, error: BaseException) -> bool:
        """True if the error comes from the library and not from the code around it."""
        roots = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        return isinstance(error, OSError) or not roots.isdisjoint(self.libraries)


def completed(steps: Coroutine[object, None, T]) -> T:
    """Run steps that never wait to their end."""
    try:
        steps.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        steps.close()
    raise AssertionError("a step of a blocking connection waited")


async def settled(answer: Awaitable[T] | T) -> T:
    """Return the result of a sync or async call."""
    return cast("T", await answer if isawaitable(answer) else answer)


def closed() -> InvalidOption:
    """Make the error for a closed connection."""
    return InvalidOption("connection is closed, so nothing was written; give one that is open")


def failed() -> InvalidOption:
    """Make the error for a transaction of the user that can no longer be committed."""
    return InvalidOption(
        "the transaction of this connection failed earlier, so nothing can be written in it; roll back and begin again"
    )


def outside(*, how: str) -> InvalidOption:
    """Make the error for a connection that commits each statement by itself."""
    return InvalidOption(
        "connection is not inside a transaction and commits every statement by itself, so the job would be stored "
        f"whatever happens to your own writes; {how}"
    )


def inside(*, how: str = "commit or roll back first") -> InvalidOption:
    """Make the error for a connection with an open transaction."""
    return InvalidOption(
        "connection is inside a transaction already; batch.transaction(connection) begins and ends its own, so that "
        f"cursor and effects are committed together; {how}"
    )


def ended_early() -> StoreError:
    """Make the error for a block whose body ended our transaction."""
    return StoreError(
        "the transaction of this slice was committed or rolled back inside of its block, so cursor and effects would "
        "part; leave the end to batch.transaction()"
    )
