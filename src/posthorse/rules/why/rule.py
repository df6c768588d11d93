"""Which reasons keep a job from running now, in the order in which they have to go. Pure.

The facts are what was read of the job, its queue, the workers and its gates at one moment. Each reason has a code that
stays, a sentence, its facts as fields, what to do now, and when the job will start as far as this reason is concerned.
A start is told only if something that was measured or decided gives it: else it is unknown, and the basis says why.

The order is the order in which causes have to go. First what the job itself waits for: a request, a time, other code.
Then what keeps its whole queue: a pause, a window, no worker for it. Then its gates, and at last the jobs ahead of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from posthorse.rules.job import State
from posthorse.rules.why.answer import Reason, Why, together
from posthorse.rules.why.at_gates import at_gates, opened
from posthorse.rules.why.facts import Facts
from posthorse.rules.why.job_itself import (
    blocked,
    has_children,
    is_unfit,
    lining_up,
    needs_others,
    of_time,
    over,
    paused,
    running,
    unfit,
    waiting,
)
from posthorse.rules.why.queue_and_workers import outside_window, queue_paused, why_unserved
from posthorse.rules.why.turn import are_full, behind, full, next_in_lane, quarantined
from posthorse.rules.why.words import micros


def why(facts: Facts) -> Why:
    """Return why a job does not run now. There is always a leading reason, and no code comes twice."""
    job = facts.job
    reasons = tuple(_reasons(facts))
    return Why(
        job=job.id,
        state=job.state,
        kind=job.kind,
        queue=job.queue,
        at=facts.now,
        reasons=reasons,
        start=together(reason.start for reason in reasons),
    )


def _reasons(facts: Facts) -> Iterator[Reason]:
    match facts.job.state:
        case State.COMPLETED | State.FAILED | State.CANCELLED:
            yield over(facts)
        case State.PROCESSING:
            yield from running(facts)
        case State.PAUSED:
            yield paused(facts)
            yield from _around(facts)
        case State.SCHEDULED:
            is_early = facts.due is not None and facts.due > facts.now
            yield from (of_time(facts), *_around(facts)) if is_early else _due(facts)
        case State.BLOCKED if facts.gate is None:
            is_over = facts.due is not None and facts.due <= facts.now
            yield from _due(facts) if is_over else (*_own(facts), *_around(facts))
        case State.BLOCKED | State.PENDING:
            yield from _waiting(facts)


def _own(facts: Facts) -> Iterator[Reason]:
    """Yield why a job is blocked by itself."""
    others = facts.others
    if others is not None and others.missing:
        yield needs_others(facts, others)
    if others is not None and others.open:
        yield has_children(facts, others)
    if others is None or not (others.missing or others.open):
        yield _set_aside(facts)


def _set_aside(facts: Facts) -> Reason:
    """Return why a job is blocked that neither a gate holds nor another job."""
    if is_unfit(facts.job):
        return unfit(facts)
    return blocked(facts) if facts.topic is None else waiting(facts)


def _due(facts: Facts) -> Iterator[Reason]:
    """Yield the reasons of a job whose time has come: a living worker has to line it up."""
    yield from _around(facts)
    yield lining_up(facts)


def _around(facts: Facts) -> Iterator[Reason]:
    """Yield what keeps all jobs of the queue and kind."""
    if facts.settings.paused:
        yield queue_paused(facts)
    if facts.settings.window is not None and not facts.settings.window.is_open(micros(facts.now)):
        yield outside_window(facts)
    unserved = why_unserved(facts.job.kind, facts.job.queue, facts.settings, facts.servers, facts.start)
    if unserved is not None:
        yield unserved


def _waiting(facts: Facts) -> Iterator[Reason]:
    """Yield the reasons of a job that could start now: in its lane, or held before a gate."""
    around = list(_around(facts))
    gates = at_gates(facts)
    yield from around
    yield from gates
    if facts.job.state is State.BLOCKED:
        if not gates:
            yield opened(facts)
        return
    if facts.is_suspect:
        yield quarantined(facts)
        return
    has_no_place = not around and are_full(facts)
    if has_no_place:
        yield full(facts)
    if facts.ahead is not None and facts.ahead.count:
        yield behind(facts, facts.ahead)
    elif not has_no_place and not around and not gates:
        yield next_in_lane(facts)
