"""Leases: who may run a job, and which writes count: I4, I5, I8, I11, I12. Each function yields violations."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.faults.case import FOREVER, SECOND, Case, Run

TAKEN = ("lost", "crashed")


def one_lease(case: Case) -> Iterator[str]:
    """I4: one holder per epoch; epochs rise; and no healthy runner loses a lease."""
    for job_id, runs in case.runs.items():
        by_epoch: defaultdict[int, set[str]] = defaultdict(set)
        for run in runs:
            by_epoch[run.epoch].add(run.token)
        for epoch, tokens in by_epoch.items():
            if len(tokens) > 1:
                yield f"job {job_id} was run {len(tokens)} times under epoch {epoch}: {', '.join(sorted(tokens))}"
        for earlier, later in itertools.pairwise(runs):
            if later.epoch < earlier.epoch and not _may_be_late(case, later):
                yield f"{later} of job {job_id} began after {earlier}"
    window = round((case.lease + case.bound) * SECOND)
    for job_id, events in case.stored_events.items():
        for event in events:
            if event.name in TAKEN and not case.faults_between(event.at - window, event.at):
                yield f"job {job_id} was {event.name} at {event.at}, and nothing was done to anybody before"


def fenced(case: Case) -> Iterator[str]:
    """I5: nothing is accepted under a superseded epoch: no slice, no effect, no result."""
    superseded: dict[str, int] = {}
    by_token = {run.token: run for run in case.all_runs}
    for runs in case.runs.values():
        for run in runs:
            later = [other.begin for other in runs if other.epoch > run.epoch]
            superseded[run.token] = min(later, default=FOREVER)
    asked = {(event.token, event.value.item): event.t for event in case.said("slice", "invoke")}
    for event in case.said("slice"):
        begun = asked.get((event.token, event.value.item), event.t)
        if event.token is not None and begun > superseded.get(event.token, FOREVER):
            yield (
                f"slice {event.value.item} of job {event.job} was accepted from {by_token[event.token]} at {event.t}, "
                f"which had been superseded by {superseded[event.token]}"
            )
    for job_id, effects in case.effects.items():
        for before, after in itertools.pairwise(effects):
            if after.epoch < before.epoch:
                yield f"item {after.item} of job {job_id} was written under epoch {after.epoch} after {before.epoch}"
    for job in case.final.jobs:
        if job.state == "completed" and job.result is not None:
            if job.result not in by_token or by_token[job.result].job != job.id:
                yield f"job {job.id} has the result {job.result}, of no run of it that began"
            elif by_token[job.result].epoch != job.epoch:
                yield f"job {job.id} ended under epoch {job.epoch} with the result of {by_token[job.result]}"


def within_budget(case: Case) -> Iterator[str]:
    """I8: no more failed attempts than max_attempts, no more crashes than the crash budget."""
    for job in case.final.jobs:
        allowed = job.max_attempts or case.max_attempts
        if job.errors > allowed:
            yield f"job {job.id} failed {job.errors} times; {allowed} attempts were allowed"
        if job.crashes > case.max_crashes(job.kind):
            yield f"job {job.id} crashed {job.crashes} times; {case.max_crashes(job.kind)} were allowed"
        for generation in case.generations(job.id):
            counts = Counter(event.name for event in generation)
            if counts["attempt_failed"] >= allowed:
                yield f"job {job.id} was given attempt {counts['attempt_failed'] + 1} of {allowed}"
        for run in case.runs.get(job.id, ()):
            if run.attempt > allowed:
                yield f"{run} of job {job.id} is attempt {run.attempt} of {allowed}"


def starts_in_time(case: Case) -> Iterator[str]:
    """I11: after the heal, no eligible job waits longer than the bound while no other job starts either. Runners that
    still work through what others left behind are not to blame."""
    if case.healed_at is None:
        return
    bound = round(case.bound * SECOND)
    starts = [run.begin for run in case.all_runs if run.begin >= case.healed_at]
    moments = [case.healed_at, *starts, case.history[-1].t]
    idle = [(before, after) for before, after in itertools.pairwise(moments) if after - before > bound]
    for call in case.submits:
        if call.phase != "ok" or call.begin < case.healed_at:
            continue
        for job_id in call.answer.jobs:
            job = case.jobs.get(job_id)
            runs = case.runs.get(job_id, [])
            due = max(call.end, (job.run_at if job else None) or 0)
            if not runs and (job is None or job.state != "cancelled"):
                yield f"job {job_id} could start at {due} and never did"
            begun = runs[0].begin if runs else due
            if any(min(after, begun) - max(before, due) > bound for before, after in idle):
                yield f"job {job_id} could start at {due} and did at {begun}; nothing began for {case.bound:g} s"


def recovered(case: Case) -> Iterator[str]:
    """I12: a dead worker's job is free again within lease and sweep, counted from the last fault that interfered."""
    for fault in case.faults:
        if "kill" not in fault.op:
            continue
        for run in case.all_runs:
            if run.process not in map(str, fault.value.pids) or not run.begin <= fault.begin:
                continue
            if run.end is not None and run.end <= fault.begin and _is_known_to_end(case, run):
                continue
            deadline = case.recovered_by(fault.begin)
            freed = _freed_at(case, run)
            if freed is None:
                yield f"job {run.job} was never freed after the death of {run} at {fault.begin}"
            elif freed > deadline:
                yield f"job {run.job} was freed at {freed}; {run} had died at {fault.begin}, so by {deadline}"


def _may_be_late(case: Case, run: Run) -> bool:
    """Return whether a job may start late, because it was claimed and then held up; all that it writes is refused."""
    return case.was_struck(run.process, run.begin) or case.may_have_been_forced(run.job)


def _is_known_to_end(case: Case, run: Run) -> bool:
    job = case.jobs.get(run.job)
    return job is not None and job.result == run.token


def _freed_at(case: Case, run: Run) -> int | None:
    """Return when the store knew that this run was over."""
    ends = [event.at for event in case.stored_events.get(run.job, ()) if event.at >= run.begin]
    ends += [other.begin for other in case.runs[run.job] if other.epoch > run.epoch]
    job = case.jobs.get(run.job)
    if job is not None and job.finished_at is not None and job.finished_at >= run.begin:
        ends.append(job.finished_at)
    return min(ends, default=None)
