"""The attempts of a job, reconstructed from its events; the one that succeeded or runs, from its row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

import msgspec

from posthorse.app.reading import make_status
from posthorse.app.verbs import Verb, look_up
from posthorse.clock import moment
from posthorse.rules.job import Attempt, JobError, State, Status
from posthorse.rules.packing import JobTexts, PackedError
from posthorse.store.operations import read
from posthorse.store.operations.one_job import why_missing

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

_ENDS = {
    "attempt_failed": "failed",
    "failed": "failed",
    "lost": "lost",
    "crashed": "crashed",
    "snoozed": "snoozed",
    "released": "released",
    "paused": "paused",
    "cancelled": "cancelled",
}
_LAST_STRAWS = {"NoProgress": "lost", "Crashed": "crashed"}
"""Error types of dead letters whose own code did not fail."""


def attempts_of(app: Posthorse, job_id: str) -> Verb[list[Attempt]]:
    """Read the attempts of a job, in order. Raises JobNotFound."""
    story = yield from look_up(app, read.story(job_id))
    if story is None:
        raise (yield from look_up(app, why_missing(job_id)))
    since = None if story.holder is None else moment(story.holder.claimed_at)
    texts = app.registry.packing.of_stored(job_id, story.job.options)
    return make_attempts(make_status(story.job, app.registry), story, since, texts)


def make_attempts(
    status: Status, story: read.JobStory, running_since: datetime | None, texts: JobTexts
) -> list[Attempt]:
    """Return the attempts in the events, and the one that runs or succeeded."""
    found = list(_ended(story.events, texts))
    if status.state is State.COMPLETED:
        started_at = None if found else status.started_at  # when the first attempt started
        found.append(
            _attempt(
                status.attempt,
                "completed",
                started_at=started_at,
                finished_at=status.finished_at,
                worker=story.job.completed_by,
            )
        )
    elif status.state is State.PROCESSING:
        found.append(_attempt(status.attempt, "running", started_at=running_since, worker=status.worker))
    return found


def _ended(events: Sequence[read.EventRow], texts: JobTexts) -> Iterator[Attempt]:
    number, is_first = 1, True
    for event in events:
        told = _decoded(event.detail)
        if event.name == "retried":
            if isinstance(ended := told.get("completed"), dict):
                yield _completed(number, cast("dict[str, object]", ended), is_first=is_first)
            number, is_first = 1, False
        if event.name not in _ENDS or (event.name in ("paused", "cancelled") and "worker" not in told):
            continue
        is_first = False
        error = _error(told, texts)
        outcome = _LAST_STRAWS.get(error.type, _ENDS[event.name]) if error else _ENDS[event.name]
        seconds, worker = told.get("seconds"), told.get("worker")
        at = moment(event.at)
        yield _attempt(
            number,
            outcome,
            started_at=at - timedelta(seconds=seconds) if isinstance(seconds, int | float) else None,
            finished_at=at,
            worker=worker if isinstance(worker, str) else None,
            error=error,
        )
        number += event.name == "attempt_failed"


def _completed(number: int, ended: dict[str, object], *, is_first: bool) -> Attempt:
    """Make the run that completed before bad items ran again. Only the start of the first run is known."""
    started, finished, worker = ended.get("started_at"), ended.get("finished_at"), ended.get("worker")
    return _attempt(
        number,
        "completed",
        started_at=moment(started) if is_first and isinstance(started, int) else None,
        finished_at=moment(finished) if isinstance(finished, int) else None,
        worker=worker if isinstance(worker, str) else None,
    )


def _attempt(
    number: int,
    outcome: str,
    *,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
    worker: str | None = None,
    error: JobError | None = None,
) -> Attempt:
    return Attempt(
        number=number, outcome=outcome, started_at=started_at, finished_at=finished_at, worker=worker, error=error
    )


def _error(told: dict[str, object], texts: JobTexts) -> JobError | None:
    try:
        return texts.opened(msgspec.convert(told, PackedError))
    except msgspec.ValidationError:
        return None


def _decoded(detail: str | None) -> dict[str, object]:
    try:
        return msgspec.json.decode(detail or "{}", type=dict[str, object])
    except msgspec.DecodeError:  # also for JSON that is not an object
        return {}
