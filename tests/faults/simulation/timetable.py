"""The timetable of the application's schedules: each time runs once, and of missed times as many as the policy says.

It counts the times itself, and judges by the jobs that the store shows. I17.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from posthorse.clock import SECOND
from tests.faults.simulation.snapshot import Job, Snapshot
from tests.faults.simulation.world import WorldClock

STEPS = {"minutely": 60 * SECOND, "fives": 300 * SECOND, "sevens": 420 * SECOND}
GRACE = 60 * SECOND
MAX_MADE_UP = 3
SOON = 10 * SECOND
"""A time that has come is handled within this span of a look."""


class Timetable:
    """The times of all schedules, checked at every step that changed something."""

    def __init__(self, clock: WorldClock) -> None:
        self._clock = clock
        self._dealt_with: defaultdict[str, set[int]] = defaultdict(set)
        """Times that were run, or skipped because of an earlier run."""
        self._noted: dict[str, tuple[int, int]] = {}
        """When a schedule last moved, and how often the clock had been set back by then."""

    def problems(self, before: Snapshot, after: Snapshot) -> Iterator[str]:
        """Yield what is wrong now and was not before."""
        for name, through in after.schedules.items():
            known = before.schedules.get(name, through)
            made = [one.job for job, one in after.jobs.items() if job not in before.jobs and _is_of(name, one.job)]
            if through != known or made:
                yield from self._turn(name, known, through, made, before, after)

    def late(self, seen: Snapshot) -> Iterator[str]:
        """I17: yield times that have come and are not handled after everything healed."""
        for name, through in seen.schedules.items():
            newest = (self._clock.now() - SOON) // STEPS[name] * STEPS[name]
            if through < newest:
                yield f"I17: schedule {name} is at {_second(through)}, and {_second(newest)} has come"

    def _turn(
        self, name: str, known: int, through: int, made: Sequence[Job], before: Snapshot, after: Snapshot
    ) -> Iterator[str]:
        now, backs = self._noted.get(name, (self._clock.now(), 0))
        lowest = min(now, self._clock.now(), *self._clock.set_back_to[backs:])
        self._noted[name] = self._clock.now(), len(self._clock.set_back_to)
        if through < known <= lowest:
            yield f"I17: schedule {name} went back from {_second(known)} to {_second(through)}"
        step = STEPS[name]
        if through < known:  # times come again, except one that may have run a moment ago
            self._dealt_with[name] = {time for time in self._dealt_with[name] if time <= through + step // 2}
        instants = [int(job.options.scheduled_at or 0) for job in made]
        times = sorted(instant // step * step for instant in instants)
        if any(instant % step > len(self._clock.set_back_to) for instant in instants):
            yield f"I17: schedule {name} made jobs for {instants}, which are not its times"
        come = list(range((known // step + 1) * step, through + 1, step))
        still_open = [one.job.id for one in before.jobs.values() if _is_of(name, one.job) and not one.job.is_over]
        allowed: list[list[int]] = []
        for due in self._due(name, come):
            new = [time for time in due if time not in self._dealt_with[name]]
            allowed.append(_beside_open(name, new, is_open=bool(still_open)))
            if times == allowed[-1]:
                self._dealt_with[name].update(due)
                break
        else:
            seconds = [[_second(time) for time in some] for some in (times, *allowed)]
            span = f"from {_second(known)} to {_second(through)}"
            yield f"I17: schedule {name}, {span}, made {seconds[0]}, not {seconds[1:]}"
        if name == "sevens" and made:
            for job in still_open:
                one = after.jobs[job]
                if one.lease is None and not one.job.is_over:
                    yield f"I17: an earlier run of schedule {name} is {one.job.state} beside a new one"

    def _due(self, name: str, come: Sequence[int]) -> Iterator[list[int]]:
        """Yield what may be due, because the judge does not know exactly when a scheduler looked."""
        if not come:
            yield []
            return
        if come[0] >= come[-1] - GRACE:
            yield list(come)
        yield list(come[-MAX_MADE_UP:]) if name == "minutely" else [come[-1]]
        if name == "sevens":
            yield []


def _beside_open(name: str, times: Sequence[int], *, is_open: bool) -> list[int]:
    """Return the due times that get a job, depending on whether runs may overlap."""
    if name == "fives":
        return [] if is_open else list(times[:1])
    return list(times[-1:]) if name == "sevens" else list(times)


def _is_of(name: str, job: Job) -> bool:
    return job.kind == "report" and job.options.schedule == name


def _second(time: int) -> int:
    return time // SECOND
