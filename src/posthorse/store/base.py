"""The interface of a store, and how its operations are written once and run by any driver.

An operation is a generator: it yields the name of a query with its values, receives the rows, and returns its result.
Rows that it reads have types: `rows = yield from ARGUMENTS(job=job)` runs the statement that ARGUMENTS declares. It may
be run again from the start (after a deadlock, a lost connection, or the error of another operation in the same
commit), so it keeps no state outside itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial, wraps
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec

from posthorse.errors import StoreError
from posthorse.store.patience import Deadline
from posthorse.store.queries import Row, Value

R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")


class BoundQuery(msgspec.Struct, frozen=True, gc=False):
    """A named query with its values; `rows` fills its {rows}."""

    query: str
    values: Mapping[str, Value] = {}
    rows: Sequence[Row] | None = None


Rows = list[Row]
QuerySteps = Generator[BoundQuery, object, T]
"""What an operation does. What it receives from a plain `yield` has no type: rows are read through a TypedQuery."""
Execute = Callable[[BoundQuery], Rows]
AsyncExecute = Callable[[BoundQuery], Awaitable[Rows]]


class TypedQuery(Generic[R]):
    """A named query, with the type of the rows that it returns: a fixed tuple, or a NamedTuple.

    Each statement whose rows are read is declared once, as a constant of the module that reads it:

        ARGUMENTS = TypedQuery("arguments", tuple[str])

    The columns of a NamedTuple have the names of its fields in SQL, too. Rows of a plain tuple are passed on as they
    came. SQLite has no booleans: a column that is true or false is an int.
    """

    __slots__ = ("_make", "name", "row")

    def __init__(self, name: str, row: type[R]) -> None:
        self.name = name
        self.row = row
        self._make: Callable[[Row], R] | None = getattr(row, "_make", None)

    def __call__(self, rows: Sequence[Row] | None = None, /, **values: Value) -> Generator[BoundQuery, Any, list[R]]:
        """Run it inside an operation, by `yield from`, with values by name; `rows` fills its {rows}."""
        return self.typed((yield BoundQuery(self.name, values, rows)))

    def typed(self, found: Any) -> list[R]:  # noqa: ANN401  # as it came from the database
        """Give the rows that a plain `yield` received their type. The hottest operations do so, to save one more
        generator.
        """
        return found if self._make is None else [*map(self._make, found)]


class Shortcut(msgspec.Struct, Generic[T_co], frozen=True, gc=False):
    """The usual case of an operation in one statement. In every other case the statement changes nothing."""

    query: BoundQuery
    answer: T_co


class Operation(msgspec.Struct, Generic[T_co], frozen=True):
    """An operation with its arguments. It can be run several times."""

    start: Callable[[], QuerySteps[T_co]]
    is_single: bool = False
    """Whether it is exactly one query; then it needs no transaction when it runs alone."""
    is_repeatable: bool = True
    """Whether it can run again after a commit whose reply was lost: it finds what it wrote."""
    locks_first: bool = False
    """Whether it takes locks in an order of its own. It may hold no other lock when it begins, so a commit has at most
    one of these, before all others.
    """
    creates_no_work: bool = False
    """Whether it never makes work for waiting runners; then it wakes none."""
    deadline: Deadline | None = None
    """When its caller stops waiting for a store that is away; None leaves that to the store."""
    was_sent: bool = False
    """Whether an earlier commit of it broke off: what it writes may be there already."""
    shortcut: Shortcut[T_co] | None = None
    """A single statement that saves the transaction, if the operation runs alone and the store allows it."""


class TryAgain(Exception):
    """The outcome of an operation whose commit broke off because another operation in it reached its deadline."""

    def __init__(self, *, was_sent: bool) -> None:
        super().__init__(was_sent)
        self.was_sent = was_sent


class StoreAway(Exception):
    """The store is away, and the operation's deadline is not over, so it may be tried again."""

    def __init__(self, reason: StoreError) -> None:
        super().__init__(reason)
        self.reason = reason


def operation(steps: Callable[P, QuerySteps[T]]) -> Callable[P, Operation[T]]:
    """Turn a generator function into a function that makes operations."""

    @wraps(steps)
    def make(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return Operation(partial(steps, *args, **kwargs))

    return make


def single_operation(steps: Callable[P, QuerySteps[T]]) -> Callable[P, Operation[T]]:
    """Do as `operation`, for exactly one query."""

    @wraps(steps)
    def make(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return Operation(partial(steps, *args, **kwargs), is_single=True)

    return make


def unrepeatable_operation(steps: Callable[P, QuerySteps[T]]) -> Callable[P, Operation[T]]:
    """Do as `operation`, for one that must not run again if it is unknown whether it was committed."""

    @wraps(steps)
    def make(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return Operation(partial(steps, *args, **kwargs), is_repeatable=False)

    return make


def locking_first(make: Callable[P, Operation[T]]) -> Callable[P, Operation[T]]:
    """Mark the operations of a function as going first in a commit."""

    @wraps(make)
    def marked(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return msgspec.structs.replace(make(*args, **kwargs), locks_first=True)

    return marked


def without_new_work(operation: Operation[T]) -> Operation[T]:
    """Return the same operation, marked as one that makes no work."""
    return msgspec.structs.replace(operation, creates_no_work=True)


def creating_no_work(make: Callable[P, Operation[T]]) -> Callable[P, Operation[T]]:
    """Mark the operations of a function as making no work."""

    @wraps(make)
    def marked(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return without_new_work(make(*args, **kwargs))

    return marked


def query(query: str, /, **values: Value) -> BoundQuery:
    """Make a query with values by name."""
    return BoundQuery(query, values)


def query_rows(query: str, rows: Sequence[Row], /, **values: Value) -> BoundQuery:
    """Make a query with a list of rows, and values by name."""
    return BoundQuery(query, values, rows)


def drive(operation: Operation[T], execute: Execute) -> T:
    """Run an operation to its end on one connection."""
    steps = operation.start()
    try:
        wanted = next(steps)
        while True:
            try:
                rows = execute(wanted)
            except Exception as error:
                wanted = steps.throw(error)  # an operation may have to undo something
            else:
                wanted = steps.send(rows)
    except StopIteration as stop:
        answer: T = stop.value
        return answer
    finally:
        steps.close()


async def adrive(operation: Operation[T], execute: AsyncExecute) -> T:
    """Run an operation to its end on an asynchronous connection."""
    steps = operation.start()
    try:
        wanted = next(steps)
        while True:
            try:
                rows = await execute(wanted)
            except Exception as error:
                wanted = steps.throw(error)
            else:
                wanted = steps.send(rows)
    except StopIteration as stop:
        answer: T = stop.value
        return answer
    finally:
        steps.close()
