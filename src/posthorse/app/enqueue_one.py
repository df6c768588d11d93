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
    from posthorse.rules.registry import Registry
    from posthorse.store.admission import Admission
    from posthorse.store.store import Store

R = TypeVar("R")

IN_WORDS = "enqueue()", "use `await ….aenqueue()`"
"""How a warning names a call that enqueues, and its twin."""


def enter(call: Call[R]) -> Job[R]:
    """Store the job of a call; durable when this returns."""
    app = call.app
    store, registry = app.store, app.registry
    lane = _lane_at_once(call, app.gate, store, registry)
    if lane is None:
        return app.enqueue_many([call])[0]
    warn_in_loop(store, *IN_WORDS)
    job_id = ids.new_id()
    store.run(enqueue_one(job_id, call.template, lane, registry.packing))
    return Job(app, job_id, True)


async def aenter(call: Call[R]) -> Job[R]:
    """Store the job of a call, for a coroutine; durable when this returns."""
    app = call.app
    store, registry = app.store, app.registry
    lane = _lane_at_once(call, app.gate, store, registry)
    if lane is None:
        return (await app.aenqueue_many([call]))[0]
    job_id = ids.new_id()
    await store.arun(enqueue_one(job_id, call.template, lane, registry.packing))
    return Job(app, job_id, True)


def _lane_at_once(call: Call[object], gate: Admission, store: Store, registry: Registry) -> int | None:
    """Return the number of the lane if the job can enter it unchanged; None if more must be looked up first."""
    job = call.template
    lane = job.lane
    if call.connection is not None or not job.is_plain or not gate.lets_in(lane.queue):
        return None
    if store.watched.submitted or store.emitter.submitted:
        return None
    middleware = registry.middleware
    if middleware.around_enqueue and middleware.is_around_enqueue(lane.kind):
        return None
    if is_traced():
        return None
    return store.known_lane(lane)
