"""Tend gates: line up held jobs when a token comes, or after an end that no runner could handle; forget old gates."""

from __future__ import annotations

import math

from posthorse.clock import SECOND, monotonic
from posthorse.maintenance.chores.base import Chore
from posthorse.store.operations.gates import gates_to_tend, neglected_gates, tend_gates
from posthorse.store.operations.runners import NextDue, next_due
from posthorse.store.store import Store

AT_ONCE = 200
TEND_SHARE = 20
"""A look that took t seconds is followed by another after 20 t."""


class TendGates(Chore):
    """Due when a token comes, and now and then."""

    name = "tend the gates of limits"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tended_at = monotonic()
        self._interval = store.tuning.gates_interval

    def due_in(self, look: NextDue | None) -> float:
        if look is None:
            return math.inf
        until_token = math.inf if look.gate is None else look.gate / SECOND
        interval = self._interval if look.has_held else self._store.tuning.free_gates_interval
        return min(until_token, self._tended_at + interval - monotonic())

    async def run(self, look: NextDue | None) -> NextDue | None:
        began = monotonic()
        gates = await self._store.aread(gates_to_tend(AT_ONCE))
        neglected = await self._store.aread(neglected_gates(AT_ONCE))
        await self._store.arun(tend_gates(gates, neglected))
        self._tended_at = monotonic()
        self._interval = max(self._store.tuning.gates_interval, TEND_SHARE * (self._tended_at - began))
        return await self._store.aread(next_due())

    def clock_was_set(self) -> None:
        self._tended_at = -math.inf
