"""The state of limits, for users: what they let through and what they hold back. Too slow for a hot path."""

from __future__ import annotations

from typing import NamedTuple

from posthorse.rules.gates import NANOSECONDS, gate_in_words, next_token, tokens
from posthorse.store.base import QuerySteps, TypedQuery, single_operation


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


class GateRow(NamedTuple):
    """A gate as stored, with how many jobs are inside and held, and the store's clock."""

    gate: str
    most: int | None
    step: int
    burst: int
    through: int
    inside: int
    held: int
    now: int


LIMITS_AT_WORK = TypedQuery("limits_at_work", GateRow)
GATES_OF_LANE = TypedQuery("gates_of_lane", GateRow)
HELD_IN_QUEUES = TypedQuery("held_in_queues", tuple[str, str, int])


@single_operation
def limits_at_work(limit: int) -> QuerySteps[list[LimitRow]]:
    """Return the limits in use, those that hold back the most first."""
    return [_limit_row(row) for row in (yield from LIMITS_AT_WORK(limit=limit))]


@single_operation
def held_in_queues(limit: int) -> QuerySteps[list[tuple[str, str, int]]]:
    """Return queue, limit (described for users), and how many jobs of the queue it holds back."""
    rows = yield from HELD_IN_QUEUES(limit=limit)
    return [(queue, gate_in_words(gate), count) for queue, gate, count in rows]


def _limit_row(row: GateRow) -> LimitRow:
    limit, now = gate_in_words(row.gate), row.now * 1000
    if not row.step:
        return LimitRow(limit, row.inside, row.most, None, None, None, row.held)
    left = max(0, tokens(row.through, now, row.step, row.burst))
    opens_in = None if left else (next_token(row.through, row.step, row.burst) - now) / NANOSECONDS
    return LimitRow(limit, row.inside, None, left, row.burst, opens_in, row.held)
