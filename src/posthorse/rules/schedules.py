"""Schedules: which times should run now, and what happens to missed times and to a run that is not over. Pure.

Instants are integers, microseconds since the epoch. `timing` knows when a schedule is due.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from itertools import islice
from typing import Literal, NamedTuple, cast

import msgspec

from posthorse.clock import SECOND, microseconds
from posthorse.errors import InvalidOption
from posthorse.rules.cron import parse_cron
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import NewJob, Options
from posthorse.rules.timing import Timing
from posthorse.rules.values.type_mismatch import short
from posthorse.rules.wall_time import checked_instant, checked_zone

MIN_INTERVAL = timedelta(seconds=1)
MAX_JITTER = timedelta(days=1)
MAX_MISFIRES = 10_000
MAX_DATES = 10_000
MAX_ON_TIME = 1_000
"""Times that are run at one look if they are merely late; only the fastest schedules have more."""

MisfirePolicy = Literal["skip", "once", "all"]
Overlap = Literal["skip", "allow", "cancel"]


class ScheduleState(StrEnum):
    """The state of a schedule."""

    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"
    """It has no more times."""
    UNATTENDED = "unattended"
    """No worker runs whose code declares it: all are stopped, or the declaration was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatus:
    """A schedule as it was at one moment; times are aware, in the schedule's zone."""

    name: str
    state: ScheduleState
    when: str
    kind: str
    queue: str
    next_at: datetime | None
    last_at: datetime | None
    last_job: str | None
    skipped: int
    """How many of its times got no job because an earlier run was not over, or their queue was drained or full."""


class Misfire(msgspec.Struct, frozen=True):
    """What happens to missed times: no worker ran, the machine slept, or the clock was put forward.

    policy: "skip" drops them, "once" runs once for all of them, "all" runs for each of the newest `limit`.
    grace: how late a time may run and still be on time.
    """

    policy: MisfirePolicy = "once"
    limit: int = 100
    grace: Duration = "60s"


class Policies(msgspec.Struct, frozen=True):
    """What a schedule does about missed times, a run that is not over, and many runs at once. Durations in
    microseconds.
    """

    misfire: MisfirePolicy = "once"
    limit: int = 100
    grace: int = 60_000_000
    overlap: Overlap = "skip"
    jitter: int = 0


class Declared(msgspec.Struct, frozen=True):
    """A schedule as code declares it: what is enqueued, when, and with which policies."""

    name: str
    call: NewJob
    timing: Timing
    policies: Policies

    @property
    def fingerprint(self) -> str:
        """A text that is equal for equal declarations in all processes."""
        return blake2b(msgspec.json.encode(self, order="deterministic"), digest_size=16).hexdigest()


CORRECTION = 3 * 3_600 * SECOND
"""Microseconds. A larger step back is the correction of a wrong clock, as in Vixie cron."""

MEMORY = 2 * 86_400 * SECOND
"""Minimum time, in microseconds, for which the store remembers times that were run."""


class Due(NamedTuple):
    """What to do now: run these times; then everything up to `handled_until` is handled."""

    times: Sequence[int]
    handled_until: int
    missed_since: int | None = None
    """The first time that was missed; None if all were on time."""


def due(timing: Timing, policies: Policies, *, handled_until: int, now: int) -> Due | None:
    """Return what to do about the times after `handled_until`; None if none has come yet."""
    first = timing.next_after(handled_until)
    if first is None or first > now:
        return None
    on_time = now - policies.grace
    if first >= on_time:
        times = timing.newest(handled_until, now, MAX_ON_TIME)
        return Due(times, times[-1])
    newest = timing.newest(handled_until, now, policies.limit if policies.misfire == "all" else 1)
    is_let_go = policies.misfire == "skip" and newest[-1] < on_time
    return Due(() if is_let_go else newest, newest[-1], first)


def comes_again_after(timing: Timing, *, handled_until: int, now: int) -> int | None:
    """Return the moment after which times come again although they were run; None if none do.

    The store's clock was set back from `handled_until` or later to `now`. An interval continues by the new clock; a
    time less than half an interval ahead is left out, because it may have just been run. Times of the day come again
    only after a correction, dates never.
    """
    if timing.is_repeated:
        coming = list(islice(timing.times(now), 2))
        return now + (coming[1] - coming[0]) // 2 if len(coming) == 2 else None
    return now if timing.cron is not None and handled_until - now > CORRECTION else None


def remembered_after(timing: Timing, now: int) -> int:
    """Return the moment up to which run times may be forgotten: two days ago, or a thousand times ago; dates never."""
    if timing.at:
        return 0
    coming = list(islice(timing.times(now), 11))
    span = 100 * (coming[-1] - coming[0]) if coming else 0
    return now - max(MEMORY, span)


def among_open(overlap: Overlap, times: Sequence[int], *, is_open: bool) -> Sequence[int]:
    """Return which of these times get a job, given whether an earlier run is still open."""
    match overlap:
        case "allow":
            return times
        case "cancel":
            return times[-1:]  # each would cancel the one before
        case "skip":
            return () if is_open else times[:1]


def jitter_of(name: str, time: int, *, longest: int) -> int:
    """Return how much later than its time a job starts: spread evenly up to `longest`, the same in every process."""
    if not longest:
        return 0
    drawn = int.from_bytes(blake2b(f"{name}\0{time}".encode(), digest_size=8).digest())
    return drawn * longest >> 64


def job_at(declared_call: NewJob, job_id: str, *, name: str, time: int, policies: Policies) -> NewJob:
    """Make the job for one time of a schedule."""
    late = jitter_of(name, time, longest=policies.jitter)
    options = msgspec.structs.replace(Options.decode(declared_call.options), schedule=name, scheduled_at=time)
    return msgspec.structs.replace(
        declared_call, id=job_id, run_at=time + late if late else None, options=options.encode()
    )


def at_instant(job: NewJob, instant: int) -> NewJob:
    """Make the job of a time that came again, which is a separate instant."""
    options = msgspec.structs.replace(Options.decode(job.options), scheduled_at=instant)
    return msgspec.structs.replace(job, options=options.encode())


def make_timing(
    *,
    cron: object,
    every: Duration | None,
    at: datetime | Sequence[datetime] | None,
    tz: object,
    start: datetime | None,
    end: datetime | None,
) -> Timing:
    """Check when a schedule is due. Raises InvalidOption."""
    given = [name for name, value in (("cron", cron), ("every", every), ("at", at)) if value is not None]
    if len(given) != 1:
        told = " and ".join(given) if given else "none of them"
        raise InvalidOption(f"a schedule takes one of cron, every and at; got {told}")
    checked_zone(tz)
    if cron is not None:
        parse_cron(cron)
    timing = Timing(
        cron=cast("str | None", cron),
        every=None if every is None else _checked_interval(every),
        at=() if at is None else _checked_dates(at),
        tz=cast("str", tz),
        start=None if start is None else checked_instant(start, name="start"),
        end=None if end is None else checked_instant(end, name="end"),
    )
    if timing.start is not None and timing.end is not None and timing.end <= timing.start:
        raise InvalidOption("end lies at or before start, so the schedule would never run")
    if timing.next_after(-1) is None:
        raise InvalidOption("the schedule has no time between its start and its end, so it would never run")
    return timing


def make_policies(timing: Timing, *, misfire: object, overlap: object, jitter: Duration) -> Policies:
    """Check policies. Raises InvalidOption."""
    if isinstance(misfire, str):
        misfire = Misfire(cast("MisfirePolicy", misfire))
    if not isinstance(misfire, Misfire):
        raise InvalidOption(f'misfire is {short(misfire)}; give "skip", "once", "all" or a ph.Misfire')
    spread = as_timedelta(jitter, name="jitter")
    if spread > MAX_JITTER:
        raise InvalidOption(f"jitter is {short(jitter)}; a day is the longest")
    if timing.every is not None and microseconds(spread) >= timing.every:
        raise InvalidOption(
            f"jitter is {short(jitter)}, as long as the interval or longer: runs would overtake each other"
        )
    return Policies(
        misfire=cast("MisfirePolicy", _checked_word(misfire.policy, ("skip", "once", "all"), name="misfire")),
        limit=_checked_limit(misfire.limit),
        grace=microseconds(as_timedelta(misfire.grace, name="grace")),
        overlap=cast("Overlap", _checked_word(overlap, ("skip", "allow", "cancel"), name="overlap")),
        jitter=microseconds(spread),
    )


def checked_call(call: NewJob) -> NewJob:
    """Check what a schedule may enqueue. Raises InvalidOption."""
    if call.key is not None:
        raise InvalidOption(
            "the call has a key, so all its times would be one and the same job; leave the key out: a schedule makes "
            "one job for each time anyway"
        )
    if call.run_at is not None or call.delay is not None:
        raise InvalidOption("the call has a run_at or a delay; when it runs is what the schedule says")
    if call.unique is not None and call.unique.on_conflict == "raise":
        raise InvalidOption(
            'the call is unique with on_conflict="raise", and a schedule has no caller to raise it to; choose another '
            "with using(unique=…), such as unique=True"
        )
    return call


def _checked_interval(every: Duration) -> int:
    span = as_timedelta(every, name="every")
    if span < MIN_INTERVAL:
        raise InvalidOption(f"every is {short(every)}; a second is the shortest interval")
    return microseconds(span)


def _checked_dates(at: datetime | Sequence[datetime]) -> tuple[int, ...]:
    given: object = [at] if isinstance(at, datetime) else at
    if isinstance(given, str) or not isinstance(given, list | tuple) or not given:
        raise InvalidOption(f"at is {short(at)}; give an aware datetime, or several in a list")
    dates = tuple(sorted({checked_instant(date, name="at") for date in cast("Sequence[object]", given)}))
    if len(dates) > MAX_DATES:
        raise InvalidOption(f"at has {len(dates)} dates; {MAX_DATES:,} are the most")
    return dates


def _checked_limit(limit: object) -> int:
    if isinstance(limit, int) and not isinstance(limit, bool) and 1 <= limit <= MAX_MISFIRES:
        return limit
    raise InvalidOption(f"the limit of misfire is {short(limit)}; it must be a whole number from 1 to {MAX_MISFIRES:,}")


def _checked_word(value: object, known: Sequence[str], *, name: str) -> str:
    if value in known:
        return cast("str", value)
    near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
    raise InvalidOption(f"{name} is {short(value)}{hint}")
