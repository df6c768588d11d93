"""Control: what users request of a job, whether it waits, runs or is over."""

from __future__ import annotations

from functools import partial

from posthorse.rules.job import State
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Stopped
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.requests import Request
from posthorse.store.base import Operation, QuerySteps, TypedQuery
from posthorse.store.operations.families_steered import steer_page
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Settlement, end_attempt
from posthorse.store.operations.lanes import home_of
from posthorse.store.operations.moves import do_as_asked
from posthorse.store.operations.one_job import HELD_LEASE, UNASK_RUNNER
from posthorse.store.operations.tallies import tally_end

FORCED = '{"forced":true}'
"""The evidence of an attempt that a user ended without its worker."""

JOB_BUDGET = TypedQuery("job_budget", tuple[int, int, int, str, str, int, int, str, int])


def request(
    job: str, action: Request, *, force: bool, arguments: str | None = None, packing: Packing = PLAIN
) -> Operation[State]:
    """Apply a request to a job that no runner holds, or pass it to its runner; return the state that it leads to.

    A running job stops at its next checkpoint. With `force` its lease ends at once, and whatever it still does has no
    effect. Raises JobNotFound, InvalidTransition, CodecError.
    """
    start = partial(_request, job, action, force, arguments, packing)
    # Not repeatable: run again, a retry or a discard would be refused, because the first run changed the state.
    return Operation(start, is_repeatable=action not in ("retry", "discard"))


def _request(job: str, action: Request, force: bool, arguments: str | None, packing: Packing) -> QuerySteps[State]:
    if force and action in ("pause", "cancel"):
        forced = yield from _take_away(job, action)
        if forced is not None:
            return forced
    reached = yield from do_as_asked(job, action, arguments=arguments, packing=packing)
    yield from steer_page(job, packing)
    return reached


def _take_away(job: str, action: Request) -> QuerySteps[State | None]:
    """End the lease first and touch the job after, in the same order as workers, so that there is no deadlock."""
    lease = yield from HELD_LEASE(job=job)
    if not lease:
        return None
    [budget] = yield from JOB_BUDGET(job=job)
    transition = decide(Spent(*budget[:3]), Stopped(action), Policy())
    done = yield from end_attempt(Settlement(Fence(job, *lease[0]), transition, home_of(*budget[3:]), FORCED))
    if not done:
        return None
    if transition.state is State.CANCELLED:
        yield tally_end(job, "cancelled", f"{job}/{lease[0][0]}")
    if action == "pause":
        asked = yield from UNASK_RUNNER([(job,)])
        if asked == [(job, "cancel")]:  # promised before; a pause does not weaken it
            return (yield from do_as_asked(job, "cancel"))
    return transition.state
