"""The world of a simulation, which stands still: a store in memory, clocks that move on request, repeatable chance.

The project's own code runs in it, one operation after the other in one thread. It knows neither who acts nor what is
right.
"""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar, cast
from unittest.mock import patch

import msgspec

from posthorse import ids
from posthorse.clock import SECOND, Clock
from posthorse.errors import OutcomeUnknown, StoreUnreachable
from posthorse.maintenance import schedules as scheduling
from posthorse.maintenance import sweep
from posthorse.maintenance.chores import base, expired, line_up, rescue
from posthorse.rules.job import Lane
from posthorse.store.base import BoundQuery, Operation, Rows, drive
from posthorse.store.operations import runners
from posthorse.store.operations.lanes import lane_ids
from posthorse.store.queries import Queries
from posthorse.store.sqlite.backend import SqliteBackend
from posthorse.store.sqlite.statements import DIALECT
from posthorse.store.store import Store
from posthorse.worker.checkpoints import batch, context, slices
from posthorse.worker.claiming import claiming

T = TypeVar("T")

BEGINNING = 2_000_000_000 * SECOND
BOOTED = 1_000 * SECOND
COMMIT = 1_000
"""Microseconds that a commit takes, so that no two of them happen at the same moment."""


class WorldClock(Clock):
    """A clock that moves only on request. `ticks` counts how far wall time went forward, whatever was set back."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0
        self.furthest = 0
        self.set_back_to: list[int] = []
        """The time after each time that the clock was set back."""
        self._boot = 0

    def now(self) -> int:
        return BEGINNING + self.shift

    def boot_now(self) -> int:
        return BOOTED + self._boot

    def pass_by(self, micros: int) -> None:
        """Let time pass, on all clocks."""
        self.shift += micros
        self.ticks += micros
        self._boot += micros
        self.furthest = max(self.furthest, self.shift)

    def set_back(self, micros: int) -> None:
        """Set the wall clock back; the clock since boot goes on."""
        self.shift -= micros
        self.set_back_to.append(self.now())

    def set_right(self) -> None:
        """Set the wall clock right."""
        self.ticks += max(0, self.furthest - self.shift)
        self.shift = max(self.shift, self.furthest)

    @property
    def was_set_back(self) -> bool:
        return bool(self.set_back_to)

    # What modules see in place of `clock.monotonic`.

    def monotonic(self) -> float:
        return self.boot_now() / SECOND


class WorldStore(Store):
    """A store in memory, with the project's own statements and driver; each operation is one atomic step.

    Now and then an operation is run twice, as after a lost reply, or is cut off midway and leaves nothing. Beside the
    tables of the project there is `effects(job, item, epoch)`, for what jobs write themselves.
    """

    def __init__(self, clock: WorldClock, chance: random.Random) -> None:
        super().__init__("sqlite:////of/no/matter.db", clock=clock)
        self.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        self.connection.deserialize(_schema())
        self.is_faulty = True
        self._is_inside = False
        self._clock = clock
        self._chance = chance
        self._execute = cast("SqliteBackend", self.backend).execute_on(self.connection)

    def run(self, operation: Operation[T]) -> T:
        fate = self._chance.random() if self.is_faulty else 1.0
        if self._is_inside:
            if fate < 0.03:
                raise CutOff
            return drive(operation, self._execute)
        self._clock.pass_by(COMMIT)
        if fate < 0.03:
            left = self._chance.randrange(4)
            with self._transaction():
                self._cut_off(operation, left)
        answer = self._once(operation)
        return self._once(operation) if fate > 0.95 and self.is_faulty and operation.is_repeatable else answer

    @contextmanager
    def transaction(self, connection: object = None, *, longest: float = 3600.0) -> Iterator[object]:
        """Make what runs inside the block one transaction; now and then the reply to its commit is lost."""
        self._clock.pass_by(COMMIT)
        self._is_inside = True
        try:
            with self._transaction():
                yield self.connection
        finally:
            self._is_inside = False
        if self.is_faulty and self._chance.random() < 0.03:
            raise OutcomeUnknown("the reply was lost")

    async def arun(self, operation: Operation[T]) -> T:
        return self.run(operation)

    def read(self, operation: Operation[T]) -> T:
        return drive(operation, self._execute)

    async def aread(self, operation: Operation[T]) -> T:
        return self.read(operation)

    def lanes(self, wanted: set[Lane]) -> dict[Lane, int]:
        missing = wanted - self._lanes.keys()
        if missing:
            self._lanes.update(self._once(lane_ids(sorted(missing, key=msgspec.structs.astuple))))
        return self._lanes

    async def alanes(self, wanted: set[Lane]) -> dict[Lane, int]:
        return self.lanes(wanted)

    def close(self) -> None:
        self.connection.close()

    def _once(self, operation: Operation[T]) -> T:
        with self._transaction():
            return drive(operation, self._execute)

    def _cut_off(self, operation: Operation[object], left: int) -> None:
        count = 0

        def execute(wanted: BoundQuery) -> Rows:
            nonlocal count
            count += 1
            if count > left:
                raise CutOff
            return self._execute(wanted)

        drive(operation, execute)
        raise CutOff

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")


class CutOff(StoreUnreachable):
    """The store became unreachable during an operation, and nothing of it was written."""

    def __init__(self) -> None:
        super().__init__("cut off")


class World:
    """A clock, a store and chance, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.clock = WorldClock()
        self.store = WorldStore(self.clock, self.chance)
        self._made = 0

    def new_ids(self, count: int) -> list[str]:
        """Return ids of this moment, which grow even if the clock is set back."""
        head = f"{(BEGINNING + self.clock.furthest) // 1000:012x}"
        made = range(self._made, self._made + count)
        self._made += count
        return [f"{head[:8]}-{head[8:]}-7000-8000-{number:012x}" for number in made]

    def new_runner(self) -> str:
        """Return the id of a new runner."""
        return f"{self.chance.getrandbits(32):08x}-0000-4000-8000-000000000000"

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Let the project's modules use this world's clocks, ids and chance inside the block, and log nothing."""
        log, before, state = logging.getLogger("posthorse"), logging.getLogger("posthorse").level, random.getstate()
        log.setLevel(logging.CRITICAL + 1)
        random.seed(self.chance.getrandbits(64))
        with ExitStack() as patched:
            for module in (
                claiming,
                sweep,
                base,
                expired,
                line_up,
                rescue,
                scheduling,
                runners,
                slices,
                batch,
                context,
            ):
                patched.enter_context(patch.object(module, "monotonic", self.clock.monotonic))
            patched.enter_context(patch.object(scheduling, "asyncio", _Threads))
            patched.enter_context(patch.object(ids, "new_ids", self.new_ids))
            try:
                yield
            finally:
                random.setstate(state)
                log.setLevel(before)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for in this world."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        answer: T = stop.value
        return answer
    coroutine.close()
    raise AssertionError("something waits for the real world")


class _Threads:
    """The replacement for `asyncio` in the scheduler of schedules: a call in a thread lets others go first."""

    @staticmethod
    async def to_thread(function: Callable[..., T], *args: object, **kwargs: object) -> T:
        await _OthersFirst()
        return function(*args, **kwargs)


class _OthersFirst:
    """An awaitable that stops a coroutine once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@cache
def _schema() -> bytes:
    """Return an empty store, as bytes."""
    script = files("posthorse.store").joinpath("sql", "schema.sqlite.sql").read_text(encoding="utf-8")
    statements: Sequence[str] = Queries(DIALECT).script(script)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.execute("CREATE TABLE effects (job text NOT NULL, item integer NOT NULL, epoch integer NOT NULL)")
    made = connection.serialize()
    connection.close()
    return made
