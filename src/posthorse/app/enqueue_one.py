"""Enqueue one call: directly if nothing must be looked up first, else in the same way as many calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from posthorse import ids
from posthorse.app.job import Job
from posthorse.store.blocking import warn_in_loop
from posthorse.store.operations.submit import enqueue_one
from posthorse.telemetry.tracing import is_traced

if TYPE_CHECKING:
    from posthorse.app.call import Call

R = TypeVar("R")

IN_WORDS = "enqueue()", "use `await ….aenqueue()`"
"""How a warning names a call that enqueues, and its twin."""


def enter(call: Call[R]) -> Job[R]:
    """Store the job of a call; durable when this returns."""
    lane = _lane_at_once(call)
    if lane is None:
        return call.app.enqueue_many([call])[0]
    warn_in_loop(call.app.store, *IN_WORDS)
    job_id = ids.new_id()
    call.app.store.run(enqueue_one(job_id, call.template, lane, call.app.registry.packing))
    return Job(call.app, job_id, True)


async def aenter(call: Call[R]) -> Job[R]:
    """Store the job of a call, for a coroutine; durable when this returns."""
    lane = _lane_at_once(call)
    if lane is None:
        return (await call.app.aenqueue_many([call]))[0]
    job_id = ids.new_id()
    await call.app.store.arun(enqueue_one(job_id, call.template, lane, call.app.registry.packing))
    return Job(call.app, job_id, True)


def _lane_at_once(call: Call[object]) -> int | None:
    """Return the number of the lane if the job can enter it unchanged; None if more must be looked up first."""
    job, app = call.template, call.app
    if call.connection is not None or not job.is_plain or not app.gate.lets_in(job.lane.queue):
        return None
    middleware = app.registry.middleware
    if app.store.watched.submitted or app.store.emitter.submitted:
        return None
    if middleware.around_enqueue and middleware.is_around_enqueue(job.lane.kind):
        return None
    if is_traced():
        return None
    return app.store.known_lane(job.lane)
