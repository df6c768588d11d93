"""Lives of jobs, step by step: I6, I7, I10, I15, I20, I28. Each function yields violations."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from posthorse.rules.job import State
from posthorse.rules.lifecycle import GRAPH
from tests.faults.case import FINAL_STATES, Call, Case
from tests.faults.final import FinalJob

ENDS = ("failed", "cancelled", "expired")
CLOCK_GRAIN = 2_000
"""Microseconds by which two readings of one clock may differ."""

_LEADS_TO: dict[str, tuple[str, ...]] = {
    "attempt_failed": ("pending", "scheduled"),
    "failed": ("failed",),
    "lost": ("pending",),
    "crashed": ("pending",),
    "released": ("pending",),
    "snoozed": ("pending", "scheduled"),
    "unfit": ("blocked",),
    "waiting": ("blocked",),
    "split": ("blocked",),
    "expired": ("cancelled",),
    "paused": ("paused",),
    "cancelled": ("cancelled",),
    "discarded": ("cancelled",),
    "resumed": ("pending", "scheduled"),
    "retried": ("pending", "scheduled", "blocked"),
}
_ENDS_A_RUN = (
    "attempt_failed",
    "failed",
    "lost",
    "crashed",
    "released",
    "snoozed",
    "waiting",
    "split",
    "unfit",
    "expired",
)
_COMES_FROM: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_ENDS_A_RUN, ("processing",)),
    "resumed": ("paused",),
    "discarded": ("failed",),
    "retried": FINAL_STATES,
}
_SILENT = {"scheduled": "pending", "blocked": "pending", "pending": "processing"}
"""Steps without an event: a promotion and a claim."""

_BY_PEOPLE = {1, 2, 3}
_BY_RUNS = {2, 3}


def one_end(case: Case) -> Iterator[str]:
    """I6: one end per generation; only a retry opens another."""
    for job in case.final.jobs:
        generations = case.generations(job.id)
        for number, generation in enumerate(generations):
            ends = [event.name for event in generation if event.name in ENDS]
            if len(ends) > 1:
                yield f"job {job.id} ended more than once without a retry: {', '.join(ends)}"
            if number == len(generations) - 1 and job.state == "completed" and ends:
                yield f"job {job.id} is completed, and was {ends[0]} in the same generation"
    results: defaultdict[str, list[Call]] = defaultdict(list)
    for call in case.calls_of("result"):
        if call.phase == "ok" and call.job is not None:
            results[call.job].append(call)
    for job_id, calls in results.items():
        for one, other in itertools.pairwise(calls):
            told = (one.answer.state, one.answer.result), (other.answer.state, other.answer.result)
            if told[0] != told[1] and not case.may_have_been_retried(job_id, 0, other.end):
                yield f"job {job_id} ended as {told[0]} for {one.process} and as {told[1]} for {other.process}"


def legal_edge(case: Case) -> Iterator[str]:
    """I7: every transition is in the published graph."""
    for job in case.final.jobs:
        states = {"scheduled", "blocked", "pending"}
        for event in case.stored_events.get(job.id, ()):
            targets = _LEADS_TO.get(event.name)
            if targets is None:
                yield f"job {job.id} has an event {event.name!r} that leads nowhere"
                break
            sources = _reached(states) & set(_COMES_FROM.get(event.name, State))
            following = {target for target in targets if any(State(target) in GRAPH[State(one)] for one in sources)}
            if not following:
                before = " or ".join(sorted(states))
                yield f"job {job.id} was {event.name} (version {event.version}) when it was {before}"
                break
            states = following
        else:
            reached = _reached(states)
            if job.state not in reached and not (job.state == "completed" and "processing" in reached):
                yield f"job {job.id} is {job.state}; its events end where it is {' or '.join(sorted(states))}"


def not_early(case: Case) -> Iterator[str]:
    """I10: no start before its time, by the store's clock; a retry sets a new time."""
    for job_id, runs in case.runs.items():
        job = case.jobs.get(job_id)
        due = None if job is None else _due(case, job)
        if due is None:
            continue
        for run in runs:
            if run.begin < due - CLOCK_GRAIN and not case.may_have_been_retried(job_id, 0, run.begin):
                yield f"{run} of job {job_id} began at {run.begin}, before its time {due}"


def cancelled_for_good(case: Case) -> Iterator[str]:
    """I15: after an acknowledged cancel there is no new attempt; and cancel or completion wins, never both.

    A running job may have been claimed just before, so one start may still come.
    """
    for call in case.calls_of("cancel"):
        if call.phase != "ok" or call.job is None or call.job not in case.jobs:
            continue
        later = [
            run
            for run in case.runs.get(call.job, ())
            if run.begin > call.end and not case.may_have_been_retried(call.job, call.begin, run.begin)
        ]
        # A runner that holds the job may still start it; if its lease was taken away, its writes are refused.
        allowed = 0 if call.answer.state == "cancelled" and not call.asked.force else 1
        for run in later[allowed:]:
            yield f"{run} of job {call.job} began after its cancel was answered ({call.answer.state}) at {call.end}"
        job = case.jobs[call.job]
        if (
            call.answer.state == "cancelled"
            and job.state != "cancelled"
            and not case.may_have_been_retried(call.job, call.begin, 2**62)
        ):
            yield f"job {call.job} is {job.state}; {call.process} was told at {call.end} that it is cancelled"


def gapless(case: Case) -> Iterator[str]:
    """I20: the versions of a job's events have no gaps except for steps that have no events.

    These are claims, promotions, and jobs that were claimed and given back. How many were given back at most is known
    from the epoch, which each claim and each retry raises.
    """
    for job in case.final.jobs:
        events = case.stored_events.get(job.id, ())
        version, is_completed = 1, job.state == "completed"
        known = sum(event.name in (*_ENDS_A_RUN, "retried") for event in events) + is_completed
        returns = max(0, job.epoch - known)
        for event in events:
            steps = _BY_RUNS if event.name in _ENDS_A_RUN else _BY_PEOPLE
            returns -= max(0, event.version - version - max(steps))
            if event.version - version < min(steps) or returns < 0:
                yield f"job {job.id}: event {event.name} has version {event.version} after {version}"
            version = event.version
        left = job.version - version
        steps = {2, 3} if is_completed else {0, 1} if job.state == "pending" else {0}
        if left < min(steps) or left - max(steps) > returns:
            yield f"job {job.id} is {job.state} at version {job.version}; its last event has version {version}"


def monotone(case: Case) -> Iterator[str]:
    """I28: one session never sees a job go backwards."""
    last: dict[tuple[str, str], Call] = {}
    for call in sorted(case.calls_of("status"), key=lambda call: call.end):
        if call.phase != "ok" or call.job is None:
            continue
        before = last.get((call.process, call.job))
        last[call.process, call.job] = call
        if before is None:
            continue
        seen, sees = before.answer, call.answer
        if (sees.done or 0) < (seen.done or 0):
            yield f"{call.process} saw job {call.job} at {seen.done} and then at {sees.done} items"
        if case.may_have_been_retried(call.job, before.begin, call.end):
            continue
        if seen.state in FINAL_STATES and sees.state != seen.state and (seen.state, sees.state) != _DISCARDED:
            yield f"{call.process} saw job {call.job} {seen.state} and then {sees.state}"
        if (sees.code or 0) < (seen.code or 0):
            yield f"{call.process} saw job {call.job} at attempt {seen.code} and then at {sees.code}"


_DISCARDED = ("failed", "cancelled")


def _reached(states: set[str]) -> set[str]:
    """Return these states and those that can be reached from them without an event."""
    found = set(states)
    for state in ("scheduled", "blocked", "pending"):
        if state in found:
            found.add(_SILENT[state])
    return found


def _due(case: Case, job: FinalJob) -> int | None:
    if job.scheduled_at is not None:
        return job.scheduled_at
    call = case.submit_of.get(job.label)
    if call is None:
        return None
    return call.asked.run_at if call.asked.delay is None else call.begin + call.asked.delay
