"""The only place that says what may follow what: the graph of states, and `decide` on outcomes.

Pure. Running a job returns one of `rules/outcomes`; `decide` turns it into a transition; the store applies that in one
fenced statement. What users request of jobs leads to one action in the table of `rules/requests`.

Lost workers, crashes and errors are counted separately. Only errors spend attempts. Only a crash while running alone
spends the crash budget. Deploys, pauses, windows and time boxes spend nothing. Interruptions and crashes wait longer
each time, so that a lasting cause does not empty a budget in a moment.
"""

from __future__ import annotations

import msgspec

from posthorse.rules.event_names import EventName
from posthorse.rules.job import JobError, State
from posthorse.rules.joins import HAS_CHILDREN, WAITS_FOR_ROOM, Phase
from posthorse.rules.outcomes import (
    Crashed,
    Expired,
    Joined,
    Lost,
    Outcome,
    Raised,
    Returned,
    Skipped,
    Snoozed,
    Split,
    Stopped,
    Unfit,
    Waits,
)
from posthorse.rules.repeated_events import YIELDED
from posthorse.rules.retry import Backoff
from posthorse.rules.topics import Topic
from posthorse.rules.tuning import DEFAULTS

GRAPH: dict[State, frozenset[State]] = {
    State.SCHEDULED: frozenset({State.PENDING, State.PAUSED, State.CANCELLED}),
    State.BLOCKED: frozenset(
        {State.PENDING, State.SCHEDULED, State.PAUSED, State.COMPLETED, State.FAILED, State.CANCELLED}
    ),
    State.PENDING: frozenset({State.PROCESSING, State.BLOCKED, State.SCHEDULED, State.PAUSED, State.CANCELLED}),
    State.PROCESSING: frozenset(
        {
            State.PENDING,
            State.SCHEDULED,
            State.BLOCKED,
            State.PAUSED,
            State.COMPLETED,
            State.FAILED,
            State.CANCELLED,
        }
    ),
    State.PAUSED: frozenset({State.PENDING, State.SCHEDULED, State.BLOCKED, State.CANCELLED}),
    State.COMPLETED: frozenset({State.PENDING, State.BLOCKED}),
    State.FAILED: frozenset({State.PENDING, State.SCHEDULED, State.BLOCKED, State.CANCELLED}),
    State.CANCELLED: frozenset({State.PENDING, State.SCHEDULED, State.BLOCKED}),
}
"""Which state may follow which. Only an explicit retry leaves a final state (`completed`: only for its bad items),
except that a dead letter may be discarded, that a parent waits again when a job of its family is retried, and that a
skipped job comes back when its needs are met. A pending job is blocked when it meets a limit, and scheduled when it is
rescheduled. A blocked job is scheduled if it waits for its time after what it needs, and ends by its children if it has
some.
"""


class Spent(msgspec.Struct, frozen=True):
    """What a job has used of its budgets.

    A committed slice resets `crashes` and `interruptions`, and forgives `errors`, which still number the attempts.
    """

    errors: int = 0
    crashes: int = 0
    interruptions: int = 0
    forgiven: int = 0
    """How many of the errors came before the last committed slice."""


class Policy(msgspec.Struct, frozen=True):
    """The budgets of a job."""

    max_attempts: int = 5
    max_crashes: int = 3
    max_interruptions: int = 10
    backoff: Backoff = Backoff()
    unfit_wait: int = DEFAULTS.unfit_wait
    """Microseconds."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """Where the job goes. `wait` is microseconds from the store's now; `until`, if it is known, the moment when it is
    over. `solo` sends the job to the lane of suspects.
    """

    state: State
    event: EventName
    spent: Spent
    reason: str | None = None
    error: JobError | None = None
    result: str | None = None
    wait: int | None = None
    until: int | None = None
    topic: Topic | None = None
    """What it listens to."""
    solo: bool = False
    phase: Phase | None = None
    """What follows when its children are over, if it waits for them."""
    passed: int = 0
    """How many joins its code went past before it returned."""
    waits_for_room: bool = False
    """Whether it is a part that waits until fewer of its job run."""


MAX_UNFIT_WAIT = 600_000_000
"""The longest wait of a job whose arguments do not fit, in microseconds. The wait doubles each time, and a deploy is
noticed this late at worst."""

FIRST_WAIT, MAX_WAIT = 1_000_000, 60_000_000
"""Microseconds that a job waits after its second interruption or crash without progress, and at most."""

_REASONS = {
    "pause": "paused on request",
    "cancel": "cancelled on request",
    "shutdown": "released by its worker",
    "window": "its queue is closed",
    "yield": YIELDED,
    "room": WAITS_FOR_ROOM,
}
_STOPPED = {
    "pause": State.PAUSED,
    "cancel": State.CANCELLED,
    "shutdown": State.PENDING,
    "window": State.PENDING,
    "yield": State.PENDING,
    "room": State.BLOCKED,
}
_STOP_EVENTS: dict[str, EventName] = {
    "pause": "paused",
    "cancel": "cancelled",
    "shutdown": "released",
    "window": "released",
    "yield": "released",
    "room": "released",
}


def decide(spent: Spent, outcome: Outcome, policy: Policy, *, chance: float = 0.0) -> Transition:
    """Return what follows from an outcome. `chance` in [0, 1) draws the jitter of a retry."""
    match outcome:
        case Returned(result):
            return Transition(state=State.COMPLETED, event="completed", spent=spent, result=result)
        case Raised(error, wait, None):
            return _after_error(spent, error, wait, policy, chance)
        case Raised(error, _, why):
            spent = msgspec.structs.replace(spent, errors=spent.errors + 1)
            return _dead(spent, f"gave up: {why}", error)
        case Snoozed(wait, reason, until):
            state = State.SCHEDULED if wait else State.PENDING
            return Transition(state=state, event="snoozed", spent=spent, reason=reason, wait=wait or None, until=until)
        case Waits(_, topic, until):
            return Transition(
                state=State.BLOCKED, event="waiting", spent=spent, reason=outcome.reason, until=until, topic=topic
            )
        case Joined(result, passed):
            return Transition(
                state=State.BLOCKED,
                event="released",
                spent=spent,
                reason=HAS_CHILDREN,
                result=result,
                phase=outcome.phase,
                passed=passed,
            )
        case Split(_, ranges):
            reason = f"waits for its {len(ranges):,} part{'' if len(ranges) == 1 else 's'}"
            return Transition(state=State.BLOCKED, event="split", spent=spent, reason=reason)
        case Expired():
            return Transition(state=State.CANCELLED, event="expired", spent=spent, reason="expired")
        case Skipped(reason):
            return Transition(state=State.CANCELLED, event="cancelled", spent=spent, reason=reason)
        case Stopped(request, reason):
            why = reason or _REASONS[request]
            return Transition(
                state=_STOPPED[request],
                event=_STOP_EVENTS[request],
                spent=spent,
                reason=why,
                waits_for_room=request == "room",
            )
        case Lost(detail):
            return _after_loss(spent, detail, policy)
        case Crashed(detail, alone, is_contained):
            return _after_crash(spent, detail, alone, policy, solo=not is_contained)
        case Unfit(detail, times):
            wait = _unfit_wait(times, chance, policy)
            return Transition(state=State.BLOCKED, event="unfit", spent=spent, reason=f"unfit: {detail}", wait=wait)


def _after_error(spent: Spent, error: JobError, wait: int | None, policy: Policy, chance: float) -> Transition:
    spent = msgspec.structs.replace(spent, errors=spent.errors + 1)
    errors = spent.errors - spent.forgiven
    since = " since its last committed slice" if spent.forgiven else ""
    if errors >= policy.max_attempts:
        attempts = "attempt" if errors == 1 else "attempts"
        return Transition(
            state=State.FAILED,
            event="failed",
            spent=spent,
            reason=f"failed in {errors} {attempts}{since}",
            error=error,
        )
    micros = round(policy.backoff.wait(errors, chance).total_seconds() * 1_000_000) if wait is None else wait
    return Transition(
        state=State.SCHEDULED if micros else State.PENDING,
        event="attempt_failed",
        spent=spent,
        reason=f"attempt {errors} of {policy.max_attempts}{since} failed",
        error=error,
        wait=micros or None,
    )


def _unfit_wait(times: int, chance: float, policy: Policy) -> int:
    doubled = policy.unfit_wait << min(times - 1, 20)
    return round(min(MAX_UNFIT_WAIT, doubled) * (1 - chance / 4))


def _after_loss(spent: Spent, detail: str, policy: Policy, *, solo: bool = False) -> Transition:
    spent = msgspec.structs.replace(spent, interruptions=spent.interruptions + 1)
    if spent.interruptions >= policy.max_interruptions:
        message = f"interrupted {spent.interruptions} times without progress; the last time: {detail}"
        return _dead(spent, "no progress", JobError(type="NoProgress", message=message))
    return _again(spent, "lost", detail, times=spent.interruptions, solo=solo)


def _after_crash(spent: Spent, detail: str, alone: bool, policy: Policy, *, solo: bool) -> Transition:
    if not alone:
        return _after_loss(spent, detail, policy, solo=True)
    spent = msgspec.structs.replace(spent, crashes=spent.crashes + 1)
    if spent.crashes >= policy.max_crashes:
        message = f"crashed its {'worker' if solo else 'process'} {spent.crashes} times; the last time: {detail}"
        return _dead(spent, "crashed", JobError(type="Crashed", message=message))
    return _again(spent, "crashed", detail, times=spent.crashes, solo=solo)


def _again(spent: Spent, event: EventName, detail: str, *, times: int, solo: bool) -> Transition:
    """Let the job go on at once the first time, because a worker was lost; wait longer if the cause lasts."""
    wait = min(MAX_WAIT, FIRST_WAIT << min(times - 2, 10)) if times > 1 else None
    state = State.PENDING if wait is None else State.SCHEDULED
    return Transition(state=state, event=event, spent=spent, reason=detail, solo=solo, wait=wait)


def _dead(spent: Spent, reason: str, error: JobError) -> Transition:
    return Transition(state=State.FAILED, event="failed", spent=spent, reason=reason, error=error)
