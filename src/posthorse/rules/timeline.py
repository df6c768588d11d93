"""The timeline of one job: every number from 1 to its version, told from its row, its lease and its stored events.

Nothing is written for it. Each statement that changes a job raises its version by as many numbers as it takes steps,
and stores an event unless the step can be told without:

- 1 is `submitted`;
- the number below the end of an attempt is its start;
- the last number of a completed job is `completed`, and so is the one below a retry that notes a completion;
- the number above the version of a job that has a lease is the start of the attempt that runs;
- any other number without an event is `queued`: the job lined up, and that was all.

The start that follows from a lease has a number that is not written yet. If the runner gives the job back without
having started it, that number is its return to the lane: `queued`. Of a long series of equal events only the last is
stored (`rules/repeated_events`); one event then stands for all the numbers before it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, cast

import msgspec

from posthorse.clock import moment
from posthorse.rules.event_names import ENDS_OF_ATTEMPTS, MEANINGS, EventName
from posthorse.rules.events import Event
from posthorse.rules.job import JobError, State
from posthorse.rules.repeated_events import KEPT_APART, stands_for_others

_BEFORE_CODE: frozenset[EventName] = frozenset({"expired", "unfit"})
"""Ends of attempts whose code did not start."""

_BY_REQUEST: frozenset[EventName] = frozenset({"paused", "cancelled"})
"""What may end an attempt, or happen to a job that waits. Only the end of an attempt tells how long that took."""


class StoredFacts(NamedTuple):
    """What the row of a job tells, and its lease if it has one. Times are microseconds since the epoch."""

    job: str
    version: int
    state: str
    created_at: int
    run_at: int | None
    started_at: int | None
    """When its first attempt was claimed."""
    finished_at: int | None
    completed_by: str | None
    """The worker that completed it."""
    claimed_at: int | None
    """When the attempt that runs was claimed."""
    worker: str | None
    """The worker that runs it."""


class Evidence(NamedTuple):
    """A stored event. `detail` is JSON; it may be missing at numbers that are not asked for."""

    version: int
    at: int
    name: str
    detail: str | None


class _Known(NamedTuple):
    """A number of which it is known what happened.

    is_of_attempt: whether an attempt began or ended. series: what the numbers before it are, if they were replaced.
    """

    number: int
    name: EventName
    at: datetime | None
    is_of_attempt: bool = False
    worker: str | None = None
    detail: Mapping[str, object] = {}
    series: EventName | None = None


def tell(facts: StoredFacts, evidence: Sequence[Evidence], after: int = 0) -> list[Event]:
    """Return the events of a job behind a number, in order: together they cover every number up to its version."""
    return list(_numbered(facts, _known(facts, evidence), after))


def decoded_detail(detail: str | None) -> Mapping[str, object]:
    """Return what an event recorded; nothing if that is not an object."""
    try:
        return _decode(detail or "{}")
    except msgspec.DecodeError:
        return {}


_decode = msgspec.json.Decoder(dict[str, object]).decode


# ── what is known ────────────────────────────────────────────────────────────────────────────────────


def _known(facts: StoredFacts, evidence: Sequence[Evidence]) -> Iterator[_Known]:
    """Yield what is known, in order: the stored events, and what the row and its lease tell."""
    yield _Known(1, "submitted", moment(facts.created_at))
    was_tried = False
    for stored in evidence:
        if not 1 < stored.version <= facts.version or stored.name not in MEANINGS:
            continue
        name = cast("EventName", stored.name)
        detail = decoded_detail(stored.detail)
        earlier = detail.get("completed")
        if name == "retried" and isinstance(earlier, dict):
            yield from _completed_before(stored.version - 1, cast("dict[str, object]", earlier), was_tried=was_tried)
            was_tried = True
        series = name if stands_for_others(name, stored.detail) else None
        if _ends_an_attempt(name, detail):
            end = _Known(stored.version, name, moment(stored.at), True, _text(detail, "worker"), detail)
            yield _start_of(end, series, seconds=detail.get("seconds"))
            yield end
            was_tried = True
        else:
            yield _Known(stored.version, name, moment(stored.at), detail=detail, series=series)
    if facts.state == State.COMPLETED:
        began = None if was_tried else facts.started_at
        yield from _completion(facts.version, began, facts.finished_at, facts.completed_by)
    elif facts.claimed_at is not None:
        yield _Known(facts.version + 1, "started", moment(facts.claimed_at), True, facts.worker)


def _ends_an_attempt(name: EventName, detail: Mapping[str, object]) -> bool:
    return name in ENDS_OF_ATTEMPTS and (name not in _BY_REQUEST or "seconds" in detail or "worker" in detail)


def _start_of(end: _Known, series: EventName | None, *, seconds: object) -> _Known:
    name: EventName = "claimed" if end.name in _BEFORE_CODE else "started"
    at = end.at - timedelta(seconds=seconds) if end.at is not None and isinstance(seconds, int | float) else None
    return _Known(end.number - 1, name, at, True, end.worker, series=series)


def _completed_before(number: int, ended: Mapping[str, object], *, was_tried: bool) -> Iterator[_Known]:
    """Yield the attempt that completed before bad items ran again."""
    began, finished = ended.get("started_at"), ended.get("finished_at")
    return _completion(
        number,
        began if isinstance(began, int) and not was_tried else None,
        finished if isinstance(finished, int) else None,
        _text(ended, "worker"),
    )


def _completion(number: int, began: int | None, finished: int | None, worker: str | None) -> Iterator[_Known]:
    """Yield an attempt that completed. Its start is known only if it was the first: a row keeps no other."""
    yield _Known(number - 1, "started", None if began is None else moment(began), True, worker)
    yield _Known(number, "completed", None if finished is None else moment(finished), True, worker)


# ── every number ─────────────────────────────────────────────────────────────────────────────────────


def _numbered(facts: StoredFacts, known: Iterable[_Known], after: int) -> Iterator[Event]:
    """Count attempts, fill the gaps, and leave out what is not behind a number."""
    number, attempt = 0, 1
    since: _Known | None = None
    for one in known:
        if one.number <= number:
            continue  # only in a store that was changed by hand
        if one.number > after:
            yield from _between(facts, max(number, after), one, since=since, attempt=attempt)
            yield _event(facts.job, one, attempt)
        attempt = 1 if one.name == "retried" else attempt + (one.name == "attempt_failed")
        number, since = one.number, one
    if facts.version > max(number, after):
        end = _Known(facts.version + 1, "queued", None)
        yield from _between(facts, max(number, after), end, since=since, attempt=attempt)


def _between(facts: StoredFacts, last: int, one: _Known, *, since: _Known | None, attempt: int) -> Iterator[Event]:
    """Yield events for the numbers between the last one and the next that is known."""
    count = one.number - last - 1
    if one.series is not None and (count > 1 or (count and not one.is_of_attempt)):
        of_attempt = attempt if one.is_of_attempt else None
        yield Event(job=facts.job, number=one.number - 1, name=one.series, at=None, attempt=of_attempt, covers=count)
    elif count > KEPT_APART:
        yield Event(job=facts.job, number=one.number - 1, name="queued", at=None, covers=count)
    else:
        due = _due_between(since, one, facts.run_at)
        for number in range(last + 1, one.number):
            yield Event(
                job=facts.job,
                number=number,
                name="queued",
                at=due if since is not None and number == since.number + 1 else None,
            )


def _due_between(since: _Known | None, one: _Known, run_at: int | None) -> datetime | None:
    """Return when a job was due, if that was then. It lined up a moment later at most."""
    if since is None or since.at is None:
        return None
    wait = since.detail.get("wait")
    if isinstance(wait, int | float):
        due = since.at + timedelta(seconds=wait)
    elif run_at is not None:  # of its last wait
        due = moment(run_at)
    else:
        return None
    return due if since.at <= due and (one.at is None or due <= one.at) else None


def _event(job: str, one: _Known, attempt: int) -> Event:
    return Event(
        job=job,
        number=one.number,
        name=one.name,
        at=one.at,
        attempt=attempt if one.is_of_attempt else None,
        worker=one.worker,
        reason=_text(one.detail, "detail"),
        error=_error(one.detail),
        detail=one.detail,
    )


def _error(detail: Mapping[str, object]) -> JobError | None:
    if "type" not in detail:
        return None
    try:
        return msgspec.convert(detail, JobError)
    except msgspec.ValidationError:
        return None


def _text(detail: Mapping[str, object], name: str) -> str | None:
    found = detail.get(name)
    return found if isinstance(found, str) else None
