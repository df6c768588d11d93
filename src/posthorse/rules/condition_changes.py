"""Decide which conditions began, and which are over. Pure.

A look finds for which subjects a condition holds, and which were reported and are not over. What differs is reported. A
condition that went back and forth around its limit would be reported at every look; so it is over only when it is
clearly so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from posthorse.clock import SECOND, micros_of, moment
from posthorse.rules.condition_events import Condition, JobBehind, QueueLate, ScheduleMissed
from posthorse.rules.conditions import JobBehindRule, LaneWait, LongJob, QueueLateRule, ScheduleSeen
from posthorse.rules.incidents import subject_of_miss
from posthorse.rules.job import State
from posthorse.rules.progress import Pace, progress_at

OVER_BELOW = 0.5
"""A queue that was late is in time again when its oldest job waits for less than this share of the limit."""

UNATTENDED_AFTER = 15 * SECOND
"""Microseconds after the grace of a schedule in which a worker that runs may still deal with a time that passed."""


class ConditionChange(NamedTuple):
    """A condition of a subject that began, or that is over."""

    name: str
    """Whose: the name of the rule."""
    subject: str
    since: int
    looked: int
    """When the state was as it says."""
    is_over: bool
    event: Condition | None
    """What its observer receives; None if there is nothing to say of the end."""


def queues_late(
    rule: QueueLateRule, waits: Iterable[LaneWait], open: Mapping[str, int], now: int
) -> Sequence[ConditionChange]:
    """Return which queues are late, and which are no more. open: those that were reported, since when they are late."""
    oldest: dict[str, LaneWait] = {}
    for wait in waits:
        if rule.counts(wait.queue) and (wait.queue not in oldest or wait.since < oldest[wait.queue].since):
            oldest[wait.queue] = wait
    late = {queue: wait for queue, wait in oldest.items() if now - wait.since > rule.after}
    found: list[ConditionChange] = []
    for queue, wait in late.items():
        if queue not in open:
            since = wait.since + rule.after
            found.append(ConditionChange(rule.name, queue, since, now, False, _late(rule, queue, wait, since, now)))
    for queue, since in open.items():
        head = oldest.get(queue)
        if head is None or now - head.since < OVER_BELOW * rule.after:
            found.append(
                ConditionChange(rule.name, queue, since, now, True, _late(rule, queue, head, since, now, is_over=True))
            )
    return found


def _late(
    rule: QueueLateRule, queue: str, wait: LaneWait | None, since: int, now: int, *, is_over: bool = False
) -> QueueLate:
    return QueueLate(
        queue=queue,
        limit=timedelta(microseconds=rule.after),
        waited=timedelta(microseconds=0 if wait is None else max(0, now - wait.since)),
        job=None if wait is None else wait.job,
        since=moment(since),
        at=moment(now),
        is_over=is_over,
    )


def jobs_behind(
    rule: JobBehindRule, jobs: Iterable[LongJob], open: Mapping[str, int], now: int
) -> Sequence[ConditionChange]:
    """Return which jobs are behind, and which are no more. open: those that were reported, since when.

    jobs: those that run, and those that were reported. One that waits to go on is as far behind as it was.
    """
    found: list[ConditionChange] = []
    gone = dict(open)
    for job in jobs:
        since = gone.pop(job.id, None)
        due = job.created_at + rule.within
        if job.state != State.PROCESSING:
            if since is not None and State(job.state).is_final:
                found.append(
                    ConditionChange(
                        rule.name, job.id, since, job.now, True, _behind(rule, job, since, None, is_over=True)
                    )
                )
            continue
        likely, latest = _ends_at(job)
        if since is None and likely > due and rule.counts(job.kind, job.queue):
            found.append(
                ConditionChange(rule.name, job.id, job.now, job.now, False, _behind(rule, job, job.now, likely))
            )
        elif since is not None and latest <= due:
            found.append(
                ConditionChange(
                    rule.name, job.id, since, job.now, True, _behind(rule, job, since, likely, is_over=True)
                )
            )
    # Of those that retention removed nothing is known but the id.
    return found + [ConditionChange(rule.name, job, since, now, True, None) for job, since in gone.items()]


def _ends_at(job: LongJob) -> tuple[int, int]:
    """Return when a job that runs will likely be over, and when at the latest; now, if nothing tells."""
    if job.done is None or job.pace is None or job.updated_at is None:
        return job.now, job.now
    pace = Pace.decode(job.pace)
    progress = progress_at(job.done, job.total, pace, moment(job.now), since=moment(job.updated_at))
    if progress.eta is None or progress.eta_range is None:
        return job.now, job.now
    return max(job.now, micros_of(progress.eta)), max(job.now, micros_of(progress.eta_range[1]))


def _behind(rule: JobBehindRule, job: LongJob, since: int, likely: int | None, *, is_over: bool = False) -> JobBehind:
    has_forecast = likely is not None and likely > job.now
    return JobBehind(
        job=job.id,
        kind=job.kind,
        queue=job.queue,
        tenant=job.tenant,
        within=timedelta(microseconds=rule.within),
        due=moment(job.created_at + rule.within),
        eta=moment(likely) if likely is not None and has_forecast else None,
        since=moment(since),
        at=moment(job.now),
        is_over=is_over,
    )


def schedules_unattended(
    name: str, schedules: Iterable[ScheduleSeen], open: Mapping[str, int], now: int
) -> Sequence[ConditionChange]:
    """Return which schedules have a time that no worker has dealt with, and for which that is over.

    What a worker then does about the time is noted by that worker, under the same subject. So it is reported once.
    """
    found: list[ConditionChange] = []
    still: set[str] = set()
    for schedule in schedules:
        missed = schedule.timing.next_after(schedule.handled_until)
        if missed is None or missed + schedule.policies.grace + UNATTENDED_AFTER >= now:
            continue
        subject = subject_of_miss(schedule.name, missed)
        still.add(subject)
        if subject not in open:
            event = ScheduleMissed(schedule=schedule.name, since=moment(missed), until=None, jobs=None, at=moment(now))
            found.append(ConditionChange(name, subject, missed, now, False, event))
    return found + [
        ConditionChange(name, subject, since, now, True, None)
        for subject, since in open.items()
        if subject not in still
    ]
