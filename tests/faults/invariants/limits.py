"""Limits: I13, I14, I18. Each function yields violations.

A run records in its start which limit it counts against: `limit` with `cap` (so many at once), with `rate` and `burst`
(claims in w seconds ≤ rate · w + burst), or with neither: a sequence, whose jobs run one after the other in the order
in which they were accepted.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

from tests.faults.case import SECOND, Call, Case, Run

STARTING = 1.0
"""Seconds that may pass between a claim, which is what a rate counts, and the first line of the job."""


def capped(case: Case) -> Iterator[str]:
    """I13: never more at once than a limit allows. Runs whose end is unknown are left out."""
    moments: defaultdict[tuple[str, int], list[tuple[int, int, Run]]] = defaultdict(list)
    for run in case.all_runs:
        held_until = case.held_until(run)
        if run.value.limit is not None and run.value.cap is not None and held_until is not None:
            moments[run.value.limit, run.value.cap] += [(run.begin, 1, run), (held_until, -1, run)]
    for (limit, cap), changes in moments.items():
        now = 0
        for at, step, run in sorted(changes, key=lambda change: change[:2]):
            now += step
            if step > 0 and now > cap:
                yield f"{now} runs at once under limit {limit} at {at}, when {run} of job {run.job} began; {cap} may"


def rated(case: Case) -> Iterator[str]:
    """I14: no more starts in any window than the rate and its burst allow. Processes that were stopped are left out,
    because they start late what they claimed in time."""
    starts: defaultdict[tuple[str, float, int], list[int]] = defaultdict(list)
    for run in case.all_runs:
        if run.value.limit is not None and run.value.rate is not None and not case.was_struck(run.process, run.begin):
            starts[run.value.limit, run.value.rate, run.value.burst or 0].append(run.begin)
    for (limit, rate, burst), times in starts.items():
        for first, begin in enumerate(times):
            for last in range(first, len(times)):
                seconds = (times[last] - begin) / SECOND
                count = last - first + 1
                if count > rate * (seconds + STARTING) + burst + 1:
                    yield f"{count} starts under limit {limit} in {seconds:.3f} s from {begin}; {rate:g}/s + {burst}"
                    break
            else:
                continue
            break


def in_order(case: Case) -> Iterator[str]:
    """I18: the order of a sequence is kept. If one submit returned before another was called, the first one's job is
    over when the second one's starts. A job that is paused before it starts gives way."""
    by_sequence: defaultdict[str, list[tuple[Call, str]]] = defaultdict(list)
    for call in case.submits:
        if call.phase == "ok" and call.asked.limit is not None:
            by_sequence[call.asked.limit] += [(call, job) for job in call.answer.jobs]
    for sequence, jobs in by_sequence.items():
        for (earlier, first), (later, second) in itertools.pairwise(jobs):
            runs, followers = case.runs.get(first, []), case.runs.get(second, [])
            if not runs or not followers or earlier.end >= later.begin or _gave_way(case, runs[0]):
                continue
            if followers[0].begin < runs[0].begin:
                if _was_lost_before(case, runs[0]):
                    continue
                yield f"job {second} of sequence {sequence} began before job {first}, which was accepted first"
            elif not case.may_have_been_retried(first, 0, runs[-1].begin) and any(
                run.begin > followers[0].begin and not case.was_struck(run.process, run.begin) for run in runs
            ):
                yield f"job {second} of sequence {sequence} began before job {first} was over"


def _was_lost_before(case: Case, run: Run) -> bool:
    """Return whether a process began a run after its lease was over, because it had been stopped meanwhile."""
    told = case.stored_events.get(run.job, ())
    return case.was_struck(run.process, run.begin) and any(
        event.name == "lost" and event.at <= run.begin for event in told
    )


def _gave_way(case: Case, first: Run) -> bool:
    return any(event.name == "paused" and event.at <= first.begin for event in case.stored_events.get(first.job, ()))
