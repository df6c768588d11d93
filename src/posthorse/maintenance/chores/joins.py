"""Let families go on: count ends that no runner counted, because it crashed or none ran, and steer children."""

from __future__ import annotations

import math

from posthorse.maintenance.chores.base import Chore, ChorePace
from posthorse.rules.packing import PLAIN, Packing
from posthorse.store.operations.families_steered import steer_families
from posthorse.store.operations.releasing import release
from posthorse.store.operations.runners import NextDue, next_due
from posthorse.store.operations.width import make_rooms
from posthorse.store.store import Store

MAX_AT_ONCE = 20
"""Transactions of one turn, so that other chores have theirs."""


class ReleaseWaiting(Chore):
    """Due as soon as an end is noted."""

    name = "let jobs go on that waited for others"

    def __init__(self, store: Store) -> None:
        self._store = store

    def due_in(self, look: NextDue | None) -> float:
        return 0.0 if look is not None and look.has_ends else math.inf

    async def run(self, look: NextDue | None) -> NextDue | None:
        for _ in range(MAX_AT_ONCE):
            if not await self._store.arun(release()):
                break
        return await self._store.aread(next_due())


class SteerFamilies(Chore):
    """Due while something is done to the children of a parent."""

    name = "pause, resume, cancel or retry the children of jobs"

    def __init__(self, store: Store, packing: Packing = PLAIN) -> None:
        self._store = store
        self._packing = packing

    def due_in(self, look: NextDue | None) -> float:
        return 0.0 if look is not None and look.has_steered else math.inf

    async def run(self, look: NextDue | None) -> NextDue | None:
        for _ in range(MAX_AT_ONCE):
            if not await self._store.arun(steer_families(self._packing)):
                break
        return await self._store.aread(next_due())


class MakeRooms(Chore):
    """Due now and then while only some parts of a job may run at once."""

    name = "let parts of jobs go on for which there is room"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._throttle = ChorePace()
        self._after: str | None = None
        """The last job that was looked at, if others come after it."""

    def due_in(self, look: NextDue | None) -> float:
        if look is None or not look.has_narrow:
            return math.inf
        return self._throttle.due_in(self._store.tuning.gates_interval)

    async def run(self, look: NextDue | None) -> NextDue | None:
        with self._throttle.turn():
            for _ in range(MAX_AT_ONCE):
                self._after = await self._store.arun(make_rooms(self._after))
                if self._after is None:
                    break
        return await self._store.aread(next_due())
