"""Retry budgets: if many jobs of a queue fail at once, their retries start no faster than the queue allows.

A retry beyond the budget is postponed, never dropped: it takes the next future token, and waits for it.
"""

from __future__ import annotations

from msgspec.structs import replace

from posthorse.rules.gates import GateLedger, Requirement, waits_for_token
from posthorse.rules.job import State
from posthorse.store.base import QuerySteps, locking_first, operation
from posthorse.store.operations.finish import Settlement, settle
from posthorse.store.operations.gates import lock_gates, note_gates


@locking_first
@operation
def settle_within_budget(settlement: Settlement, budget: Requirement) -> QuerySteps[bool]:
    """Settle a failed attempt that will be retried; the retry takes a token of the budget."""
    transition = settlement.transition
    standings, now = yield from lock_gates({budget.gate: budget})
    wait = max(transition.wait or 0, waits_for_token(standings[0].through, now, budget))
    postponed = replace(transition, wait=wait or None, state=State.SCHEDULED if wait else transition.state)
    applied = yield from settle(settlement._replace(transition=postponed)).start()
    if applied:
        yield from note_gates([(budget, 1)], GateLedger(standings, now))
    return applied
