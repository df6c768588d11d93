"""The middleware around a call that enqueues: entered before the jobs go to the store, left once they are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import msgspec

from posthorse.app.verbs import Verb
from posthorse.rules.job import NewJob, Options
from posthorse.rules.middleware import EnqueueLayer, MiddlewareRun, Submission, changed_by

T = TypeVar("T")


def enqueue_around(
    middleware: Sequence[EnqueueLayer],
    jobs: Sequence[NewJob],
    enqueue: Callable[[Sequence[NewJob]], Verb[T]],
) -> Verb[T]:
    """Enqueue jobs with the tags and the metadata that the middleware gives them. Raises what it raises."""
    before = [_view_of(job) for job in jobs]
    views: Sequence[Submission] = before
    entered: list[MiddlewareRun[object]] = []
    error: BaseException | None = None
    came: Any = None
    try:
        for layer in middleware:
            places = [place for place, view in enumerate(views) if layer.kind in (None, view.kind)]
            if not places and views:
                continue
            concerned = [views[place] for place in places]
            run = MiddlewareRun[object](layer.function, concerned)
            yielded = run.enter()
            entered.append(run)
            changed = dict(zip(places, changed_by(concerned, yielded), strict=True))
            views = [changed.get(place, view) for place, view in enumerate(views)]
        came = yield from enqueue([_changed(*each) for each in zip(jobs, before, views, strict=True)])
    except BaseException as raised:
        error = raised
    for run in reversed(entered):
        error = run.leave(error)
    if error is not None:
        raise error
    return cast("T", came)


def _view_of(job: NewJob) -> Submission:
    tags = () if job.tags is None else msgspec.json.decode(job.tags, type=tuple[str, ...])
    metadata = Options.decode(job.options).metadata or {}
    return Submission(kind=job.lane.kind, queue=job.lane.queue, tenant=job.tenant, tags=tags, metadata=metadata)


def _changed(job: NewJob, before: Submission, after: Submission) -> NewJob:
    if after.tags == before.tags and after.metadata == before.metadata:
        return job
    options = Options.decode(job.options)
    if after.tags != before.tags:
        options = msgspec.structs.replace(options, tags=tuple(after.tags))
    options = msgspec.structs.replace(options, metadata=dict(after.metadata) or None)
    tags = msgspec.json.encode(after.tags).decode() if after.tags else None
    return msgspec.structs.replace(job, tags=tags, options=options.encode())
