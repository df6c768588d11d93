"""What a store is to those above it, and how its operations are written once and run by any driver.

An operation is a generator: it yields the name of a query with its values, receives the rows, and returns
its answer. It may be run again from the start (after a deadlock, a lost connection, or a neighbour's error in
the same commit), so it keeps nothing outside itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial, wraps
from typing import Generic, ParamSpec, TypeVar

import msgspec

from posthorse.store.patience import Deadline
from posthorse.store.queries import Row, Value

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")


class BoundQuery(msgspec.Struct, frozen=True, gc=False):
    """A named query with its values; `rows` fills its {rows}."""

    query: str
    values: Mapping[str, Value] = {}
    rows: Sequence[Row] | None = None


Rows = list[Row]
QuerySteps = Generator[BoundQuery, Rows, T]
Execute = Callable[[BoundQuery], Rows]
AsyncExecute = Callable[[BoundQuery], Awaitable[Rows]]


class Shortcut(msgspec.Struct, Generic[T_co], frozen=True, gc=False):
    """The usual case of an operation, in one statement: the first of a query. Where the case is another one, the
    statement changes nothing."""

    query: BoundQuery
    answer: T_co


class Operation(msgspec.Struct, Generic[T_co], frozen=True):
    """An operation with its arguments, ready to be run, several times if need be."""

    start: Callable[[], QuerySteps[T_co]]
    is_single: bool = False
    """True for exactly one query: alone, it needs no transaction around it."""
    is_repeatable: bool = True
    """True when running it again after a commit whose reply was lost does no harm: it finds what it wrote."""
    locks_first: bool = False
    """True when it waits for what others hold, in an order of its own: it may hold nothing when it begins, so there is
    one of these in a commit, before all others."""
    creates_no_work: bool = False
    """True when nobody who waits for work could find any after it: it tells nobody."""
    deadline: Deadline | None = None
    """When its caller stops waiting for a store that is away; None leaves that to the store."""
    was_sent: bool = False
    """True when an earlier commit of it broke off: what it writes may be there already."""
    shortcut: Shortcut[T_co] | None = None
    """What spares it a transaction where it is alone, in a store that may take it."""


class TryAgain(Exception):
    """The answer to an operation whose commit broke off because a neighbour in it could wait no longer."""

    def __init__(self, *, was_sent: bool) -> None:
        super().__init__(was_sent)
        self.was_sent = was_sent


def operation(steps: Callable[P, QuerySteps[T]]) -> Callable[P, Operation[T]]:
    """Makes a generator function into a maker of operations."""

    @wraps(steps)
    def make(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return Operation(partial(steps, *args, **kwargs))

    return make


def single_operation(steps: Callable[P, QuerySteps[T]]) -> Callable[P, Operation[T]]:
    """The same for an operation of exactly one query."""

    @wraps(steps)
    def make(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return Operation(partial(steps, *args, **kwargs), is_single=True)

    return make


def unrepeatable_operation(steps: Callable[P, QuerySteps[T]]) -> Callable[P, Operation[T]]:
    """The same for an operation that must not be run again when nobody knows whether it was committed."""

    @wraps(steps)
    def make(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return Operation(partial(steps, *args, **kwargs), is_repeatable=False)

    return make


def locking_first(make: Callable[P, Operation[T]]) -> Callable[P, Operation[T]]:
    """Marks the operations of a maker as such that go first in a commit."""

    @wraps(make)
    def marked(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return msgspec.structs.replace(make(*args, **kwargs), locks_first=True)

    return marked


def without_new_work(operation: Operation[T]) -> Operation[T]:
    """The same operation, telling nobody."""
    return msgspec.structs.replace(operation, creates_no_work=True)


def creating_no_work(make: Callable[P, Operation[T]]) -> Callable[P, Operation[T]]:
    """Marks the operations of a maker as such that tell nobody."""

    @wraps(make)
    def marked(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
        return without_new_work(make(*args, **kwargs))

    return marked


def query(query: str, /, **values: Value) -> BoundQuery:
    """A query with values by name."""
    return BoundQuery(query, values)


def query_rows(query: str, rows: Sequence[Row], /, **values: Value) -> BoundQuery:
    """A query with a list of rows, and values by name."""
    return BoundQuery(query, values, rows)


def drive(operation: Operation[T], execute: Execute) -> T:
    """Runs an operation to its end on one connection."""
    steps = operation.start()
    try:
        wanted = next(steps)
        while True:
            try:
                rows = execute(wanted)
            except Exception as error:
                wanted = steps.throw(error)  # an operation may have something to undo
            else:
                wanted = steps.send(rows)
    except StopIteration as stop:
        answer: T = stop.value
        return answer
    finally:
        steps.close()


async def adrive(operation: Operation[T], execute: AsyncExecute) -> T:
    """The same on an asynchronous connection."""
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
