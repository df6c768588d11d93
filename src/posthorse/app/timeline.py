"""The timeline of a job: its events as a list, or as they happen; and its attempts, which are read from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from posthorse.app.reading import make_status, opened_detail
from posthorse.app.verbs import Verb, adrive, drive, look_up, wait_for_end
from posthorse.clock import moment, monotonic
from posthorse.errors import InvalidCall, InvalidOption
from posthorse.rules.attempts import attempts_in
from posthorse.rules.events import Event, Progressed
from posthorse.rules.job import Attempt, State
from posthorse.rules.timeline import StoredFacts, tell
from posthorse.rules.values.type_mismatch import short
from posthorse.store.blocking import refuse_in_loop
from posthorse.store.operations import read
from posthorse.store.operations.one_job import why_missing

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.app.job import Job

FIRST_PAUSE, MAX_PAUSE = 0.05, 0.25
"""Seconds between two looks at a job that is followed: at first and after each event, and later."""

BRISK_TIME = 2.0
"""After so many seconds without an event the looks are further apart."""

PROGRESS_APART = 1.0
"""Seconds between two reports of progress, at least."""


def events(job: Job[Any], after: int) -> Verb[list[Event]]:
    """Read the events of a job behind a number. Raises JobNotFound, InvalidOption."""
    checked_number(after)
    app, job_id = job._app, (yield from job._known())  # pyright: ignore[reportPrivateUsage]  # a verb of the handle
    return (yield from timeline_of(app, job_id, after))[1]


def attempts_of(app: Posthorse, job_id: str) -> Verb[list[Attempt]]:
    """Read the attempts of a job, in order. Raises JobNotFound."""
    return attempts_in((yield from timeline_of(app, job_id, 0))[1])


def timeline_of(app: Posthorse, job_id: str, after: int) -> Verb[tuple[StoredFacts, list[Event]]]:
    """Read the facts about a job and its events behind a number, all of one moment. Raises JobNotFound."""
    stored = yield from look_up(app, read.timeline(job_id, after=after))
    if stored is None:
        raise (yield from look_up(app, why_missing(job_id)))
    texts = app.registry.packing.of_stored(job_id, stored.options)
    evidence = [each._replace(detail=opened_detail(each.detail, texts)) for each in stored.evidence]
    return stored.facts, tell(stored.facts, evidence, after)


def checked_number(after: object) -> int:
    """Check the number of an event. Raises InvalidOption."""
    if isinstance(after, int) and not isinstance(after, bool) and after >= 0:
        return after
    raise InvalidOption(f"after is {short(after)}; give the number of the last event that was read, or 0 for all")


class Following:
    """The events of a job as they happen, until it is over: iterate with `for` or `async for`.

    Beside events there is `Progressed`, once a second at most, for a job that saves checkpoints. Each iteration begins
    behind the number that was given. Raises JobNotFound, also if the job is removed meanwhile; InvalidCall inside a
    transaction, and for `for` inside a running event loop.
    """

    def __init__(self, job: Job[Any], after: int) -> None:
        self._job = job
        self._after = checked_number(after)

    def __iter__(self) -> Iterator[Event | Progressed]:
        refuse_in_loop("for … in job.events(follow=True)", "use `async for` there")
        reader = _Reader(self._job, self._after)
        while not reader.is_over:
            yield from drive(reader.next_look())

    async def __aiter__(self) -> AsyncIterator[Event | Progressed]:
        reader = _Reader(self._job, self._after)
        while not reader.is_over:
            for event in await adrive(reader.next_look()):
                yield event


class _Reader:
    """One iteration: how far it has read, and when it looks again."""

    def __init__(self, job: Job[Any], after: int) -> None:
        self._job = job
        self._app = job._app  # pyright: ignore[reportPrivateUsage]  # a part of the handle
        if self._app.store.is_in_transaction:
            raise InvalidCall(
                f"the events of job {job.id} cannot be followed inside a transaction, which may not see them; follow "
                "it after the block, or call events() without follow"
            )
        self.is_over = False
        self._after = after
        self._seen: tuple[int, int | None] | None = None
        """Version and epoch at the last look."""
        self._saved_at: int | None = None
        self._news_at = monotonic()
        self._progress_due = self._news_at
        self._pause = 0.0

    def next_look(self) -> Verb[list[Event | Progressed]]:
        """Wait a moment, unless it is the first look, and return what is new."""
        job_id = yield from self._job._known()  # pyright: ignore[reportPrivateUsage]  # a part of the handle
        if self._pause:
            yield from wait_for_end(self._app, (job_id,), self._pause)
        pulse = yield from look_up(self._app, read.pulse(job_id))
        if pulse is None:
            raise (yield from look_up(self._app, why_missing(job_id)))
        found: list[Event | Progressed] = []
        now = monotonic()
        if pulse[:2] != self._seen:
            self._seen, self._news_at = pulse[:2], now
            facts, events = yield from timeline_of(self._app, job_id, self._after)
            found += events
            self._after = events[-1].number if events else self._after
            self.is_over = State(facts.state).is_final and facts.claimed_at is None
        if not self.is_over and pulse.saved_at not in (None, self._saved_at) and now >= self._progress_due:
            self._saved_at, self._progress_due = pulse.saved_at, now + PROGRESS_APART
            found += yield from self._progress(job_id)
        self._pause = FIRST_PAUSE if now - self._news_at < BRISK_TIME else MAX_PAUSE
        return found

    def _progress(self, job_id: str) -> Verb[list[Progressed]]:
        row = yield from look_up(self._app, read.job(job_id))
        if row is None:  # the next look says why
            return []
        progress = make_status(row, self._app.registry).progress
        return [Progressed(job=job_id, at=moment(row.now), progress=progress)]
