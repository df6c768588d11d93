"""The state of limits, for users: what they let through and what they hold back. Too slow for a hot path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from posthorse.rules.gates import NANOSECONDS, Requirement, described, next_token, tokens
from posthorse.rules.waiting import Full
from posthorse.store.base import QuerySteps, query, query_rows, single_operation


class LimitRow(NamedTuple):
    """The state of a limit. `most` is None for a rate, `tokens` for a concurrency; `opens_in` is in seconds."""

    limit: str
    inside: int
    most: int | None
    tokens: int | None
    burst: int | None
    opens_in: float | None
    held: int

    @property
    def is_full(self) -> bool:
        """Whether it keeps jobs out at the moment."""
        return self.tokens == 0 if self.most is None else self.inside >= self.most


@single_operation
def limits_at_work(limit: int) -> QuerySteps[list[LimitRow]]:
    """Return the limits in use, those that hold back the most first."""
    rows = yield query("limits_at_work", limit=limit)
    return [_limit_row(*cast("tuple[str, int | None, int, int, int, int, int, int]", row)) for row in rows]


@single_operation
def full_gates(needs: Sequence[Requirement]) -> QuerySteps[list[Full]]:
    """Return which of the gates keep jobs out at the moment."""
    by_gate = {need.gate: need for need in needs}
    rows = yield query_rows("gates_of_lane", [(gate,) for gate in by_gate])
    found: list[Full] = []
    for row in rows:
        gate, _, _, _, through, inside, held, now = cast("tuple[str, int | None, int, int, int, int, int, int]", row)
        need = by_gate[gate]  # as required now; the gate remembers the last requirement
        limit = _limit_row(gate, need.most, need.step, need.burst, through, inside, held, now)
        if limit.is_full:
            found.append(Full(limit.limit, limit.opens_in))
    return found


@single_operation
def held_in_queues(limit: int) -> QuerySteps[list[tuple[str, str, int]]]:
    """Return queue, limit (described for users), and how many jobs of the queue it holds back."""
    rows = yield query("held_in_queues", limit=limit)
    return [(cast("str", queue), described(cast("str", gate)), cast("int", count)) for queue, gate, count in rows]


def _limit_row(
    gate: str, most: int | None, step: int, burst: int, through: int, inside: int, held: int, now: int
) -> LimitRow:
    if not step:
        return LimitRow(described(gate), inside, most, None, None, None, held)
    left = max(0, tokens(through, now * 1000, step, burst))
    opens_in = None if left else (next_token(through, step, burst) - now * 1000) / NANOSECONDS
    return LimitRow(described(gate), inside, None, left, burst, opens_in, held)
