"""Tend gates: line up held jobs when a token comes, or after an end that no runner could handle; forget old gates."""

from __future__ import annotations

import math

from posthorse.clock import SECOND
from posthorse.maintenance.chores.base import Chore, ChorePace
from posthorse.store.operations.gates import gates_to_tend, neglected_gates, tend_gates
from posthorse.store.operations.runners import NextDue, next_due
from posthorse.store.store import Store

AT_ONCE = 200


class TendGates(Chore):
    """Due when a token comes, and now and then."""

    name = "tend the gates of limits"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._throttle = ChorePace()
        self._is_clock_set = False

    def due_in(self, look: NextDue | None) -> float:
        if look is None:
            return math.inf
        if self._is_clock_set:
            return 0.0
        until_token = math.inf if look.gate is None else look.gate / SECOND
        tuning = self._store.tuning
        interval = tuning.gates_interval if look.has_held else tuning.free_gates_interval
        return min(until_token, self._throttle.due_in(interval))

    async def run(self, look: NextDue | None) -> NextDue | None:
        with self._throttle.turn():
            gates = await self._store.aread(gates_to_tend(AT_ONCE))
            neglected = await self._store.aread(neglected_gates(AT_ONCE))
            await self._store.arun(tend_gates(gates, neglected))
        self._is_clock_set = False
        return await self._store.aread(next_due())

    def clock_was_set(self) -> None:
        self._is_clock_set = True
