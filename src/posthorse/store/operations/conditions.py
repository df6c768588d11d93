"""Conditions of the store's work: what a look finds, and reports: each is made once, whichever process looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse.rules.condition_changes import ConditionChange, jobs_behind, queues_late, schedules_unattended
from posthorse.rules.conditions import (
    ConditionRule,
    IncidentRule,
    JobBehindRule,
    LaneWait,
    LongJob,
    QueueLateRule,
    ScheduleSeen,
)
from posthorse.rules.incidents import Incident
from posthorse.rules.job import NewJob
from posthorse.rules.schedules import Policies
from posthorse.rules.timing import Timing
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, operation, query
from posthorse.store.operations import incidents
from posthorse.store.operations.schedules import SCHEDULES
from posthorse.store.operations.store_facts import now
from posthorse.store.operations.submit import EntryTerms, entering


class FoundConditions(NamedTuple):
    """What a look found to report, and which observers are new. `now` is on the store's clock."""

    changes: Sequence[ConditionChange]
    incidents: Sequence[tuple[str, Incident]]
    """Each with the name of its observer."""
    new: Sequence[ConditionRule]
    now: int


OPEN_CONDITIONS = TypedQuery("open_conditions", tuple[str, str, int])
QUEUE_WAITS = TypedQuery("queue_waits", LaneWait)
RUNNING_JOBS = TypedQuery("running_jobs", LongJob)
IDLE_JOBS = TypedQuery("idle_jobs", LongJob)
BEGIN_CONDITION = TypedQuery("begin_condition", tuple[int])
END_CONDITION = TypedQuery("end_condition", tuple[int])
TAKE_INCIDENT = TypedQuery("take_incident", tuple[int])
ENTER_OBSERVER = TypedQuery("enter_observer", tuple[int])

_decode_timing = msgspec.json.Decoder(Timing).decode
_decode_policies = msgspec.json.Decoder(Policies).decode


@operation
def look_at_conditions(rules: Sequence[ConditionRule]) -> QuerySteps[FoundConditions]:
    """Return what must be reported. The state of each sort is read once, and only if a rule asks for it."""
    moment = yield from now()
    rows = yield from OPEN_CONDITIONS([(rule.name,) for rule in rules])
    reported: dict[str, dict[str, int]] = {}
    for name, subject, since in rows:
        reported.setdefault(name, {})[subject] = since
    known = [rule for rule in rules if rule.name in reported]
    changes: list[ConditionChange] = []
    found: list[tuple[str, Incident]] = []
    changes += yield from _late([rule for rule in known if isinstance(rule, QueueLateRule)], reported, moment)
    changes += yield from _behind([rule for rule in known if isinstance(rule, JobBehindRule)], reported, moment)
    of_incidents = [rule for rule in known if isinstance(rule, IncidentRule)]
    for rule in of_incidents:
        found += [(rule.name, incident) for incident in (yield from incidents.untold(rule.name, rule.incident))]
    missed = [rule for rule in of_incidents if rule.incident == "schedule_missed"]
    changes += yield from _unattended(missed, reported, moment)
    return FoundConditions(changes, found, [rule for rule in rules if rule.name not in reported], moment)


@creating_no_work
@operation
def enter_observer(rule: ConditionRule) -> QuerySteps[None]:
    """Enter a new observer; it hears of conditions that hold, and not of incidents before."""
    entered = yield from ENTER_OBSERVER(name=rule.name)
    if entered and isinstance(rule, IncidentRule):
        yield query("pass_incidents", name=rule.name, incident=rule.incident)


@operation
def report_change(
    change: ConditionChange,
    job: NewJob | None,
    terms: EntryTerms,
) -> QuerySteps[bool]:
    """Record what a look found, in one commit with the observer's job. False if another process was first.

    Raises QueueClosed or QueueFull if the observers' queue refuses the job; then nothing counts as reported.
    """
    if change.is_over:
        first = yield from END_CONDITION(name=change.name, subject=change.subject, looked=change.looked)
    else:
        first = yield from BEGIN_CONDITION(
            name=change.name, subject=change.subject, looked=change.looked, since=change.since
        )
    if first and job is not None:
        yield from entering([job], terms)
    return bool(first)


@operation
def report_incident(
    name: str,
    incident: Incident,
    job: NewJob,
    terms: EntryTerms,
) -> QuerySteps[bool]:
    """Do the same for an incident."""
    first = yield from TAKE_INCIDENT(name=name, subject=incident.subject)
    if first:
        yield from entering([job], terms)
    return bool(first)


# ── private ──────────────────────────────────────────────────────────────────────────────────────────

_Reported = Mapping[str, Mapping[str, int]]


def _open(reported: _Reported, rule: ConditionRule) -> Mapping[str, int]:
    return {subject: since for subject, since in reported[rule.name].items() if subject}


def _late(rules: Sequence[QueueLateRule], reported: _Reported, moment: int) -> QuerySteps[list[ConditionChange]]:
    if not rules:
        return []
    waits = yield from QUEUE_WAITS()
    looked = waits[0].now if waits else moment
    return [change for rule in rules for change in queues_late(rule, waits, _open(reported, rule), looked)]


def _behind(rules: Sequence[JobBehindRule], reported: _Reported, moment: int) -> QuerySteps[list[ConditionChange]]:
    if not rules:
        return []
    running = yield from RUNNING_JOBS()
    runs = {job.id for job in running}
    open = {rule.name: _open(reported, rule) for rule in rules}
    asked = {job for jobs in open.values() for job in jobs} - runs
    idle = (yield from IDLE_JOBS([(job,) for job in sorted(asked)])) if asked else []
    jobs = [*running, *idle]
    return [change for rule in rules for change in jobs_behind(rule, jobs, open[rule.name], moment)]


def _unattended(rules: Sequence[IncidentRule], reported: _Reported, moment: int) -> QuerySteps[list[ConditionChange]]:
    if not rules:
        return []
    seen: list[ScheduleSeen] = []
    for row in (yield from SCHEDULES()):
        if row.is_paused:
            continue
        try:
            timing, policies = _decode_timing(row.timing), _decode_policies(row.policies)
        except msgspec.MsgspecError:  # of a newer version
            continue
        seen.append(ScheduleSeen(row.name, timing, policies, row.handled_until))
    return [change for rule in rules for change in schedules_unattended(rule.name, seen, _open(reported, rule), moment)]
