"""Processes and files that are left: I22, I23, I27, I30. Each function yields violations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.case import SECOND, Case

LAST_WORDS = 8.0
"""Seconds beyond its grace that a worker may take to write its outcomes, on a busy machine."""

IN_FLIGHT = 1.0
"""Seconds in which jobs that were claimed before a stop may still start."""

IN_CHILDREN = {"apart"}
"""Kinds that start once their child has started, which takes seconds on a busy machine: they have the whole grace."""


def no_orphan(case: Case) -> Iterator[str]:
    """I22: after an attempt ends, nothing of its process tree lives: a survey after all workers stopped (`leftovers`)
    finds none of the processes that jobs started."""
    started = {str(pid): event for event in case.said("child") for pid in event.value.pids}
    for event in case.history:
        if event.op == "leftovers":
            for pid in map(str, event.value.pids):
                whose = f"of job {started[pid].job}" if pid in started else "of a worker"
                yield f"process {pid} {whose} lived on at {event.t}"


def sound(case: Case) -> Iterator[str]:
    """I23: the database reports no errors, each job is where its state says, and nothing else is there."""
    yield from case.final.complaints
    places = Counter[str]()
    for job in case.final.jobs:
        for place in job.places:
            places[{"ready": "ready", "leased": "leases"}.get(place, "parked")] += 1
        if not _is_in_place(job.state, list(job.places)):
            yield f"job {job.id} is {job.state} and lies in {', '.join(job.places) or 'no place'}"
    for name, count in case.final.rows.items():
        if places[name] != count:
            yield f"{name} holds {count} rows; jobs account for {places[name]}"


def bounded(case: Case) -> Iterator[str]:
    """I27: what a survey measured stays within its limits."""
    for event in case.history:
        if event.op == "survey":
            for name, limit in event.value.limits.items():
                if event.value.figures.get(name, 0) > limit:
                    yield f"{name} of {event.process} was {event.value.figures[name]:g} at {event.t}; {limit:g} may be"


def clean_stop(case: Case) -> Iterator[str]:
    """I30: a worker that is asked to stop starts nothing more, ends within its grace, and its jobs spend nothing."""
    for fault in case.faults:
        if fault.op != "terminate":
            continue
        pids = set(map(str, fault.value.pids))
        grace = fault.value.grace or 0.0
        is_alone = len(case.faults_between(fault.begin, fault.end)) == 1
        for run in case.all_runs:
            is_in_child = run.job in case.jobs and case.jobs[run.job].kind in IN_CHILDREN
            in_flight = max(IN_FLIGHT, grace) if is_in_child else IN_FLIGHT
            if run.process in pids and run.begin > fault.begin + round(in_flight * SECOND) and is_alone:
                late = (run.begin - fault.begin) / SECOND
                yield f"{run} of job {run.job} began {late:.1f} s after the stop of its worker"
        if fault.value.code != 0 and is_alone:
            yield f"the worker that was told to stop at {fault.begin} ended with {fault.value.code}"
        if (fault.end - fault.begin) / SECOND > grace + LAST_WORDS and is_alone:
            yield f"the worker that was told to stop at {fault.begin} took {(fault.end - fault.begin) / SECOND:.1f} s"
        for run in case.all_runs:
            if run.process not in pids or run.begin > fault.begin or (run.end or fault.end + 1) < fault.begin:
                continue
            for event in case.stored_events.get(run.job, ()):
                spent = event.name in ("lost", "crashed") and fault.begin <= event.at <= fault.end
                if spent and not case.faults_between(event.at - round(case.lease * 2 * SECOND), fault.begin - 1):
                    yield f"job {run.job} was {event.name} by the stop of its worker at {fault.begin}"


def _is_in_place(state: str, places: list[str]) -> bool:
    match state:
        case "completed" | "cancelled":
            return places == []
        case "pending":
            return places in (["ready"], ["leased"])
        case "failed":
            return places == ["parked:failed"]
        case _:
            return places in ([f"parked:{state}"], ["leased"])
