"""Schedules as users hold them: declared in code without using the store, read and steered through it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import msgspec

from posthorse import ids
from posthorse.app.call import Call, CallWithOutputs
from posthorse.app.job import Job
from posthorse.app.verbs import Verb, commit, drive, look_up, step, twin, verb
from posthorse.clock import SECOND, moment
from posthorse.errors import InvalidOption, InvalidTransition, ScheduleNotFound
from posthorse.rules.durations import Duration
from posthorse.rules.job import NewJob, checked_name
from posthorse.rules.options.given import unknown_of_schedule
from posthorse.rules.schedules import (
    Declared,
    Misfire,
    Policies,
    ScheduleState,
    ScheduleStatus,
    checked_call,
    make_policies,
    make_timing,
)
from posthorse.rules.timing import Timing
from posthorse.rules.values.type_mismatch import short
from posthorse.rules.wall_time import checked_zone
from posthorse.store.operations.schedules import ScheduleRow, forget, schedules, steer, trigger
from posthorse.store.operations.submit import EntryTerms

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

R = TypeVar("R", covariant=True)

MAX_SHOWN = 1_000

UNATTENDED_AFTER = 180 * SECOND
"""Microseconds without a worker that attends to a schedule after which it is shown as unattended."""


class Known(NamedTuple):
    """A schedule as stored, or as code declares it before any worker has stored it."""

    declared: Declared
    row: ScheduleRow | None


class Schedule(Generic[R]):
    """A call that workers enqueue at certain times. Each method has a twin with an `a` in front, to be awaited."""

    def __init__(self, app: Posthorse, declared: Declared) -> None:
        self._app = app
        self._declared = declared

    @property
    def name(self) -> str:
        """Its name in the store and on the command line."""
        return self._declared.name

    def next(self, count: int = 10) -> list[datetime]:
        """Return the next times, in the schedule's zone; fewer if it ends before. Does not use the store."""
        return next_times(self._declared.timing, self._app.store.clock.now(), count)

    @verb
    def status(self) -> Verb[ScheduleStatus]:
        """Read its state, its next time and its last one. Raises StoreError."""
        rows = yield from look_up(self._app, schedules())
        row = next((row for row in rows if row.name == self.name), None)
        now = self._app.store.clock.now() if row is None else row.now
        return schedule_status(Known(self._declared if row is None else _declared(row), row), now)

    astatus = twin(status)

    @verb
    def pause(self) -> Verb[None]:
        """Make no more jobs until `resume`, also after deploys. Times that come meanwhile are skipped."""
        return commit(self._app, steer(self._declared, "pause"))

    apause = twin(pause)

    @verb
    def resume(self) -> Verb[None]:
        """Continue with the next time after now; workers learn of it within seconds."""
        return commit(self._app, steer(self._declared, "resume"))

    aresume = twin(resume)

    @verb
    def trigger(self) -> Verb[Job[R]]:
        """Enqueue its call now, even while it is paused or an earlier run is not over; its times stay as they are.

        Raises QueueClosed, QueueFull.
        """
        store, gate = self._app.store, self._app.gate
        call = msgspec.structs.replace(self._declared.call, id=ids.new_id())
        (job,), gauges, closed = yield from step(gate.terms, gate.aterms, [call])
        lanes = yield from step(store.lanes, store.alanes, {job.lane})
        terms = EntryTerms(lanes, gauges, closed, self._app.registry.packing, store.watched.submitted)
        made = yield from commit(self._app, trigger(self._declared, job, terms))
        return Job(self._app, made.id, created=made.created)

    atrigger = twin(trigger)

    def __repr__(self) -> str:
        return f"<Schedule {self.name!r}: {self._declared.timing.described()}>"


def add_schedule(
    app: Posthorse,
    call: Call[R],
    *,
    name: str | None = None,
    cron: str | None = None,
    every: Duration | None = None,
    at: datetime | Sequence[datetime] | None = None,
    tz: str = "UTC",
    start: datetime | None = None,
    end: datetime | None = None,
    misfire: str | Misfire = "once",
    overlap: str = "skip",
    jitter: Duration = 0,
    **unknown: object,
) -> Schedule[R]:
    """Declare a schedule on an application. Raises InvalidOption."""
    for option in unknown:
        raise unknown_of_schedule(option)
    if name is None:
        raise InvalidOption(
            "a schedule needs a name, which it keeps in the store: "
            'app.schedule(report.bind(), name="report", cron="0 3 * * *")'
        )
    checked_name(name, what="the name of a schedule")
    if not isinstance(call, Call):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"a schedule needs a call, not {short(call)}; bind the arguments: report.bind(…)")
    if type(call) is not Call and not isinstance(call, CallWithOutputs):
        raise InvalidOption("a schedule has no callbacks; let the job enqueue what follows, or enqueue a flow")
    if isinstance(call, CallWithOutputs):
        raise InvalidOption(
            f"{', '.join(call.outputs)} is the output of a step, and a schedule has no flow; give a value"
        )
    if call.app is not app:
        raise InvalidOption(f"{call.template.lane.kind!r} belongs to another application")
    if call.connection is not None:
        raise InvalidOption("the call names a connection; a schedule enqueues in transactions of its own")
    if name in app.registry.schedules:
        raise InvalidOption(f"there is a schedule {name!r} already; give this one another name")
    timing = make_timing(cron=cron, every=every, at=at, tz=tz, start=start, end=end)
    policies = make_policies(timing, misfire=misfire, overlap=overlap, jitter=jitter)
    declared = Declared(name, checked_call(call.template), timing, policies)
    app.registry.schedules[name] = declared
    return Schedule(app, declared)


def known_schedules(app: Posthorse, *, is_stored: bool = True) -> list[Known]:
    """Return all schedules of the store, and those of this code that no worker has stored yet, by name."""
    return drive(schedules_of(app)) if is_stored else _known(app, [])


def schedules_of(app: Posthorse) -> Verb[list[Known]]:
    """Read all schedules of the store, and add those of this code that no worker has stored yet."""
    return _known(app, (yield from look_up(app, schedules())))


def _known(app: Posthorse, rows: Sequence[ScheduleRow]) -> list[Known]:
    known = {name: Known(declared, None) for name, declared in app.registry.schedules.items()}
    known |= {row.name: Known(_declared(row), row) for row in rows}
    return [known[name] for name in sorted(known)]


def find_schedule(app: Posthorse, name: str, *, is_stored: bool = True) -> Known:
    """Return a schedule by its name. Raises ScheduleNotFound, which names the nearest."""
    return named_schedule(known_schedules(app, is_stored=is_stored), name)


def named_schedule(schedules: Sequence[Known], name: str) -> Known:
    """Return the schedule of that name. Raises ScheduleNotFound, which names the nearest."""
    known = {one.declared.name: one for one in schedules}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(known) or 'none'}"
    raise ScheduleNotFound(f"there is no schedule {name!r}{hint}")


def forget_schedule(app: Posthorse, known: Known) -> None:
    """Remove a schedule from the store, with the times that it ran for. Raises InvalidTransition, ScheduleNotFound."""
    name = known.declared.name
    if app.store.run(forget(name, attended_within=UNATTENDED_AFTER)):
        return
    if not any(row.name == name for row in app.store.read(schedules())):
        raise ScheduleNotFound(f"the store has no schedule {name!r}; only the code of this application declares it")
    raise InvalidTransition(
        f"a living worker declares schedule {name!r}, and would enter it again; remove it from the code and restart "
        "the workers, then forget it after three minutes. To stop it now: pause it"
    )


def schedule_status(known: Known, now: int) -> ScheduleStatus:
    """Return a schedule as users read it."""
    (name, call, timing, _), row = msgspec.structs.astuple(known.declared), known.row
    coming = timing.next_after(now if row is None else max(now, row.handled_until))
    if row is not None and row.is_paused:
        state = ScheduleState.PAUSED
    elif row is None or row.seen_at < now - UNATTENDED_AFTER:
        state = ScheduleState.UNATTENDED
    else:
        state = ScheduleState.ACTIVE if coming is not None else ScheduleState.ENDED
    zone = checked_zone(timing.tz)
    return ScheduleStatus(
        name=name,
        state=state,
        when=timing.described(),
        kind=call.lane.kind,
        queue=call.lane.queue,
        next_at=None if coming is None or state is ScheduleState.PAUSED else moment(coming).astimezone(zone),
        last_at=None if row is None or row.last_at is None else moment(row.last_at).astimezone(zone),
        last_job=None if row is None else row.last_job,
        skipped=0 if row is None else row.skipped,
    )


def next_times(timing: Timing, now: int, count: int) -> list[datetime]:
    """Return the next times after a moment, in the schedule's zone. Raises InvalidOption."""
    if type(count) is not int or not 1 <= count <= MAX_SHOWN:
        raise InvalidOption(f"count is {short(count)}; it must be a whole number from 1 to {MAX_SHOWN:,}")
    zone = checked_zone(timing.tz)
    return [moment(time).astimezone(zone) for time in islice(timing.times(now), count)]


def _declared(row: ScheduleRow) -> Declared:
    """Decode a stored declaration; ignore fields of a newer version."""
    return Declared(
        row.name,
        msgspec.json.decode(row.call, type=NewJob),
        msgspec.json.decode(row.timing, type=Timing),
        msgspec.json.decode(row.policies, type=Policies),
    )
