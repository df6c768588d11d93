"""A drain: run what may run now, through the parts of a worker, and say what became of it and what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from posthorse.app.client import Posthorse
from posthorse.app.finding import walk
from posthorse.app.job import Job
from posthorse.app.reading import make_status
from posthorse.app.verbs import drive, look_over
from posthorse.clock import Clock
from posthorse.errors import InvalidCall
from posthorse.maintenance.event_observers import EventObservers
from posthorse.rules.search.budget import first_window
from posthorse.rules.search.keywords import make_filter
from posthorse.store.operations import read
from posthorse.store.operations.finding import route
from posthorse.testing.attempts import Drained, DrainLog, Left
from posthorse.testing.hand_runner import HandRunner
from posthorse.worker.running.execution import FromThread
from posthorse.worker.running.threads import CallRunner

MAX_ATTEMPTS = 1_000
"""Attempts after which a drain that was given no limit gives up: its jobs may enqueue each other for ever."""

MAX_LEAPS = 10
"""Leaps of time after which no job ran: what waits does not wait for a time alone."""

MAX_WHY = 20
"""Jobs that are left of which the reasons are read."""

PAGE = 500
NOT_READ = "more jobs are left than drain looks into"
"""Why a job beyond the first ones does not run."""


async def drain(
    apps: Sequence[Posthorse],
    clock: Clock,
    calls: CallRunner[FromThread],
    *,
    due: bool,
    at_most: int | None,
    observers: Mapping[Posthorse, EventObservers] | None = None,
    maintains: bool = True,
) -> tuple[Drained, DrainLog]:
    """Run jobs of these applications; return what was done, and the log of its attempts.

    `observers`: what notifies the observers of events. `maintains`: whether what is due now is looked for first, as
    schedules and jobs whose time has come.
    """
    attempts = DrainLog()
    runners = [HandRunner(app, calls, attempts, (observers or {}).get(app)) for app in apps]
    limit = MAX_ATTEMPTS if at_most is None else at_most
    left: list[Left] = []
    started: list[HandRunner] = []
    leaps = 0
    try:
        for runner in runners:
            await runner.start()
            started.append(runner)
        while True:
            if maintains:
                for runner in runners:
                    await runner.maintain()
            before = len(attempts.ran)
            for runner in runners:
                await runner.run_ready(limit - len(attempts.ran))
            if len(attempts.ran) >= limit:
                break
            if len(attempts.ran) > before:
                leaps = 0
                if maintains:
                    continue
            leaps += 1
            if not due or leaps > MAX_LEAPS or not await _leap(runners, clock):
                break
        left = [job for app in apps for job in await _left_in(app)]
    finally:
        for runner in started:
            await runner.stop()
    if at_most is None and len(attempts.ran) >= MAX_ATTEMPTS:
        last = ", ".join(sorted({one.kind for one in attempts.ran[-10:]}))
        raise InvalidCall(
            f"drain ran {MAX_ATTEMPTS:,} attempts and was not done; the last were of {last}. Jobs that enqueue or "
            "retry themselves go on for ever: give drain(at_most=…), or stop them in the test"
        )
    return Drained(ran=attempts.ran, left=left), attempts


async def _leap(runners: Sequence[HandRunner], clock: Clock) -> bool:
    """Move the clock to when the next job that waits is due; return False if none waits for a time."""
    times = [time for runner in runners if (time := await runner.next_due()) is not None]
    if not times:
        return False
    clock.shift += min(times)
    for runner in runners:
        runner.look_again()
    return True


def job_ids(app: Posthorse, wanted: str = "") -> Iterator[str]:
    """Yield the ids of the jobs that match a filter, the oldest first, without a warning inside an event loop."""
    on = drive(look_over(app, route(make_filter(wanted, {}))))
    after, window = None, first_window(PAGE, judges=bool(on.plan.rest))
    while True:
        seen, window = drive(walk(app, on, after, window, PAGE))
        yield from (place.job for place in seen.found)
        if seen.is_end:
            return
        after = seen.last or after


async def _left_in(app: Posthorse) -> list[Left]:
    ids = [*job_ids(app, "state:pending,scheduled,blocked,paused,processing")]
    rows = {row.id: row for row in await app.store.aread(read.jobs_by_id(ids))} if ids else {}
    left: list[Left] = []
    for job in ids:
        status = make_status(rows[job], app.registry)
        why = NOT_READ
        if len(left) < MAX_WHY:
            why = str(await Job[object](app, job).awhy())
        left.append(Left(job=job, kind=status.kind, queue=status.queue, state=status.state, why=why))
    return left
