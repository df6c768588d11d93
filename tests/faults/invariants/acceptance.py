"""Acceptance: what was accepted exists once, and nothing else exists: I1, I2, I3, I17, I19. Functions yield
violations."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from tests.faults.case import FINAL_STATES, FOREVER, SECOND, Call, Case
from tests.faults.final import FinalJob


def no_loss(case: Case) -> Iterator[str]:
    """I1: every acknowledged submit reaches a terminal state after heal and drain."""
    for call in case.submits:
        if call.phase == "ok":
            for label, job_id in zip(call.asked.labels, call.answer.jobs, strict=True):
                job = case.jobs.get(job_id)
                if job is None:
                    yield f"job {job_id} ({label}) was acknowledged to {call.process} at {call.end} and is gone"
                elif job.state not in FINAL_STATES:
                    yield f"job {job_id} ({label}), acknowledged to {call.process}, is {job.state} after the drain"
    for job in case.final.jobs:
        if job.schedule is not None and job.state not in FINAL_STATES:
            yield f"job {job.id} of schedule {job.schedule} is still {job.state} after the drain"


def no_phantom(case: Case) -> Iterator[str]:
    """I2: every job comes from a submit that was, or may have been, done; or from a schedule."""
    refused: dict[str, Call] = {}
    for call in case.submits:
        if call.phase == "fail":
            refused |= dict.fromkeys(call.asked.labels, call)
    for job in case.final.jobs:
        if job.schedule is None and job.label not in case.submit_of:
            refusal = refused.get(job.label)
            whence = f"a submit that {refusal.process} was refused at {refusal.end}" if refusal else "no submit at all"
            yield f"job {job.id} ({job.label}) is {job.state} and stems from {whence}"
    for job_id, runs in case.runs.items():
        if job_id not in case.jobs:
            yield f"{runs[0]} of job {job_id} began, and the store knows no such job"


def one_key(case: Case) -> Iterator[str]:
    """I3: at most one job for each tenant, kind and key; all replies carry its id."""
    answered: defaultdict[tuple[str | None, str | None, str], set[str]] = defaultdict(set)
    labels: defaultdict[tuple[str | None, str | None, str], set[str]] = defaultdict(set)
    for call in case.submits:
        if call.asked.key is not None:
            key = (call.tenant, call.asked.kind, call.asked.key)
            labels[key].update(call.asked.labels)
            if call.phase == "ok":
                answered[key].update(call.answer.jobs)
    for key, its_labels in labels.items():
        made = {job.id for label in its_labels for job in case.by_label.get(label, ()) if job.tenant == key[0]}
        if len(made) > 1:
            yield f"key {key[2]!r} of {key[1]} and tenant {key[0]} made {len(made)} jobs: {', '.join(sorted(made))}"
        if len(answered[key]) > 1:
            yield f"key {key[2]!r} returned different jobs: {', '.join(sorted(answered[key]))}"


def one_job_an_instant(case: Case) -> Iterator[str]:
    """I17: at most one job for each schedule and instant. Of a schedule that runs every instant (its jobs have a limit
    named `every`), none is left out."""
    made: defaultdict[tuple[str, int], list[FinalJob]] = defaultdict(list)
    for job in case.final.jobs:
        if job.schedule is not None and job.scheduled_at is not None:
            made[job.schedule, job.scheduled_at].append(job)
    for (schedule, at), jobs in made.items():
        if len(jobs) > 1:
            yield f"schedule {schedule} made {len(jobs)} jobs for {at}: {', '.join(job.id for job in jobs)}"
    for event in case.history:
        if event.op == "schedule" and event.value.seconds is not None and event.value.kind is not None:
            times = sorted(at for schedule, at in made if schedule == event.value.kind)
            step = round(event.value.seconds * SECOND)
            for before, after in itertools.pairwise(times):
                if after - before != step:
                    yield f"schedule {event.value.kind} has nothing between {before} and {after}; it runs every {step}"


def unique(case: Case) -> Iterator[str]:
    """I19: at most one live job for each identity. A submit is judged by what certainly held throughout it."""
    identities = {label: call for call in case.submits if call.asked.unique for label in call.asked.labels}
    first_answered = {
        job_id: call
        for call in sorted(case.submits, key=lambda call: -call.end)
        if call.phase == "ok" and call.asked.unique
        for job_id in call.answer.jobs
    }
    by_identity: defaultdict[tuple[str | None, str | None, str | None], list[FinalJob]] = defaultdict(list)
    for job in case.final.jobs:
        if job.label in identities:
            call = identities[job.label]
            by_identity[job.tenant, call.asked.kind, call.asked.unique].append(job)
    for identity, jobs in by_identity.items():
        jobs.sort(key=lambda job: job.created_at)
        for one, other in itertools.combinations(jobs, 2):
            # The store's clock may give its end a time before its commit, so only jobs that are clearly apart count.
            is_retried = any(event.name == "retried" for event in case.stored_events.get(one.id, ()))
            lives_until = one.finished_at if one.finished_at is not None else FOREVER
            made_by = first_answered.get(other.id)
            born = other.created_at if made_by is None else max(made_by.end, other.created_at)
            if not is_retried and born < lives_until:
                yield f"jobs {one.id} and {other.id} of identity {identity} lived at once at {other.created_at}"
