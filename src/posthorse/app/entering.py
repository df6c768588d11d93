"""One call that becomes a job: at once where nothing has to be looked up before, else as many calls do."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from posthorse import ids
from posthorse.app.job import Job
from posthorse.store.blocking import warn_in_loop
from posthorse.store.operations.submit import enqueue_one

if TYPE_CHECKING:
    from posthorse.app.kind import Call

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
    call.app.store.run(enqueue_one(job_id, call.template, lane))
    return Job(call.app, job_id, created=True)


async def aenter(call: Call[R]) -> Job[R]:
    """The same for a coroutine."""
    lane = _lane_at_once(call)
    if lane is None:
        return (await call.app.aenqueue_many([call]))[0]
    job_id = ids.new_id()
    await call.app.store.arun(enqueue_one(job_id, call.template, lane))
    return Job(call.app, job_id, created=True)


def _lane_at_once(call: Call[object]) -> int | None:
    """The number of the lane of a job that may enter it as it is; None when more has to be looked at first."""
    job, app = call.template, call.app
    if call.connection is not None or not job.is_plain or not app.gate.lets_in(job.lane.queue):
        return None
    return app.store.known_lane(job.lane)
