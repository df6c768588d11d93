"""Shut gates: lanes before a gate that lets no job through, and when to look into each of them again.

A gate opens when its next token comes, or when a job that passed it ends. Pure: times come in, in monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from posthorse.rules.job import Lane


class ShutGates:
    """The lanes of a runner whose gates are shut."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def shut(self, lanes: Iterable[int], *, until: float) -> None:
        """Leave these lanes out until this time."""
        self._until.update((number, until) for number in lanes)

    def reopen(self) -> None:
        """Look into every lane again, because a job left a gate, or limits were changed."""
        self._until.clear()

    def opens_at(self) -> float:
        """Return when to look at the first of them again; infinity if no gate is shut."""
        return min(self._until.values(), default=inf)

    def __contains__(self, lane: int) -> bool:
        return lane in self._until

    def __bool__(self) -> bool:
        return bool(self._until)

    def passable(self, lanes: Iterable[tuple[int, Lane]], now: float) -> Iterable[tuple[int, Lane]]:
        """Yield the lanes that are not shut now."""
        until = self._until
        return (each for each in lanes if until.get(each[0], now) <= now) if until else lanes
