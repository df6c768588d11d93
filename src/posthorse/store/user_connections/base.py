"""What a guest is: something that runs statements on somebody else's connection, whichever library it comes from.

Every step is a coroutine, so that it is written once. Those of a blocking library never wait: `completed` runs them
to their end without a loop. Knows no library and no query.
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
    """How a driver takes parameters."""

    NUMBERED = "?1"
    DOLLAR = "$1"
    NAMED = "%(p1)s"
    PLAIN = "%s"


class ConnectionAdapter(ABC):
    """Posthorse on one connection of the user's."""

    dialect: Literal["sqlite", "postgres"]
    style: Style
    is_async: bool = False
    """True when its steps wait for a loop."""
    libraries: ClassVar[frozenset[str]]
    """Packages whose errors tell of this connection."""

    @property
    @abstractmethod
    def driver(self) -> object:
        """The driver's own connection, which outlives the objects that stand for it."""

    @abstractmethod
    def raise_unless_usable(self) -> None:
        """Raises InvalidOption when the connection is closed, or its transaction failed."""

    @abstractmethod
    def is_in_transaction(self) -> bool:
        """True when a transaction is open, as far as this side knows."""

    @abstractmethod
    def raise_unless_in_transaction(self) -> None:
        """Raises InvalidOption when statements would be committed one by one."""

    @abstractmethod
    def raise_if_in_transaction(self) -> None:
        """Raises InvalidOption when a transaction is open, which is not for us to end."""

    @abstractmethod
    async def fetch(self, sql: str, parameters: Parameters) -> Rows:
        """Runs one statement."""

    async def open(self) -> None:  # noqa: B027  # most are open
        """Before anything is asked of the driver: what opens its connection late does it now."""

    async def join(self) -> None:  # noqa: B027  # most have nothing to do
        """Before the first statement in a transaction of the user's; on SQLite it may write from now on."""

    @abstractmethod
    async def begin(self) -> None:
        """Begins a transaction; on SQLite one that may write."""

    @abstractmethod
    async def commit(self) -> None:
        """Commits the transaction that `begin` began. Raises StoreError when it is not open any more."""

    @abstractmethod
    async def rollback(self, error: BaseException) -> None:
        """Undoes the transaction that `begin` began."""

    @abstractmethod
    def is_lost(self, error: BaseException) -> bool:
        """True when this error means that the connection is gone."""

    def is_told_by(self, error: BaseException) -> bool:
        """True for an error of the library, not of the code around it."""
        roots = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
        return isinstance(error, OSError) or not roots.isdisjoint(self.libraries)


def completed(steps: Coroutine[object, None, T]) -> T:
    """Runs steps that never wait."""
    try:
        steps.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        steps.close()
    raise AssertionError("a step of a blocking connection waited")


async def settled(answer: Awaitable[T] | T) -> T:
    """What a call came to, of either colour."""
    return cast("T", await answer if isawaitable(answer) else answer)


def closed() -> InvalidOption:
    """The connection was closed."""
    return InvalidOption("connection is closed, so nothing was written; give one that is open")


def failed() -> InvalidOption:
    """The user's transaction cannot be committed any more."""
    return InvalidOption(
        "the transaction of this connection failed earlier, so nothing can be written in it; roll back and begin again"
    )


def outside(*, how: str) -> InvalidOption:
    """There is no transaction, and would be none."""
    return InvalidOption(
        "connection is not inside a transaction and commits every statement by itself, so the job would be stored "
        f"whatever happens to your own writes; {how}"
    )


def inside(*, how: str = "commit or roll back first") -> InvalidOption:
    """There is a transaction already."""
    return InvalidOption(
        "connection is inside a transaction already; batch.transaction(connection) begins and ends its own, so that "
        f"cursor and effects are committed together; {how}"
    )


def ended_early() -> StoreError:
    """The body committed or rolled back what was ours to end."""
    return StoreError(
        "the transaction of this slice was committed or rolled back inside of its block, so cursor and effects would "
        "part; leave the end to batch.transaction()"
    )
