"""The only place that says what may follow what: the graph of states, the actions on requests, and `decide` on
outcomes.

Pure. A request of a user leads to one action in a table, chosen by the state of the job. Running a job returns an
outcome; `decide` turns it into a transition; the store applies that in one fenced statement.

Lost workers, crashes and errors are counted separately. Only errors spend attempts. Only a crash while running alone
spends the crash budget. Deploys, pauses, windows and time boxes spend nothing. Interruptions and crashes wait longer
each time, so that a lasting cause does not empty a budget in a moment.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, get_args

import msgspec

from posthorse.clock import moment
from posthorse.errors import InvalidOption
from posthorse.rules.event_names import EventName
from posthorse.rules.job import JobError, State, checked_name
from posthorse.rules.joins import HAS_CHILDREN, Phase
from posthorse.rules.ranges import Range
from posthorse.rules.repeated_events import YIELDED
from posthorse.rules.retry import Backoff
from posthorse.rules.tuning import DEFAULTS
from posthorse.rules.values.texts import one_line

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


# ── requests: what users ask of jobs ─────────────────────────────────────────────────────────────────

Request = Literal["pause", "resume", "cancel", "retry", "discard"]
REQUESTS: tuple[Request, ...] = get_args(Request)


class Action(Enum):
    """What the store does with a job when a user requests something of it."""

    PAUSE = "set it aside until it is resumed"
    RESUME = "put it into its lane, or back among those that wait for their time"
    CANCEL = "end it"
    RETRY = "start it again, with new budgets"
    ASK_RUNNER = "tell its runner, which stops it at its next checkpoint"
    WITHDRAW_PAUSE = "take back a pause that its runner was told and has not obeyed yet"
    KEEP = "change nothing: what is requested is so already"
    REFUSE = "raise InvalidTransition"


_ROWS: dict[State, tuple[Action, ...]] = {
    #                  pause              resume                 cancel             retry          discard
    State.SCHEDULED:  (Action.PAUSE,      Action.KEEP,           Action.CANCEL,     Action.REFUSE, Action.REFUSE),
    State.BLOCKED:    (Action.PAUSE,      Action.KEEP,           Action.CANCEL,     Action.REFUSE, Action.REFUSE),
    State.PENDING:    (Action.PAUSE,      Action.KEEP,           Action.CANCEL,     Action.REFUSE, Action.REFUSE),
    State.PROCESSING: (Action.ASK_RUNNER, Action.WITHDRAW_PAUSE, Action.ASK_RUNNER, Action.REFUSE, Action.REFUSE),
    State.PAUSED:     (Action.KEEP,       Action.RESUME,         Action.CANCEL,     Action.REFUSE, Action.REFUSE),
    State.COMPLETED:  (Action.REFUSE,     Action.REFUSE,         Action.REFUSE,     Action.REFUSE, Action.REFUSE),
    State.FAILED:     (Action.REFUSE,     Action.REFUSE,         Action.REFUSE,     Action.RETRY,  Action.CANCEL),
    State.CANCELLED:  (Action.REFUSE,     Action.REFUSE,         Action.KEEP,       Action.RETRY,  Action.REFUSE),
}  # fmt: skip

ACTIONS: dict[tuple[State, Request], Action] = {
    (state, request): action for state, row in _ROWS.items() for request, action in zip(REQUESTS, row, strict=True)
}
"""The action for each request in each state. A job on which a runner holds a lease is `processing`."""

_TARGETS = {
    Action.PAUSE: State.PAUSED,
    Action.RESUME: State.PENDING,
    Action.CANCEL: State.CANCELLED,
    Action.RETRY: State.PENDING,
}


def target_of(action: Action, *, waits: bool, blocks: bool = False) -> State | None:
    """Return the state to which an action takes a job; None if the state stays.

    `waits`: it may not start yet. `blocks`: it waits for other jobs.
    """
    target = _TARGETS.get(action)
    if target is not State.PENDING:
        return target
    return State.BLOCKED if blocks else State.SCHEDULED if waits else target


# ── outcomes: how running a job ended ────────────────────────────────────────────────────────────────


MAX_REASON = 500
"""Maximum length of a stored reason, in characters."""


class Returned(msgspec.Struct, frozen=True, tag=True):
    """The job's code returned; `result` is JSON."""

    result: str


class Raised(msgspec.Struct, frozen=True, tag=True):
    """The job's code raised.

    wait: microseconds until the next attempt, if the error or the backoff function set them.
    gives_up: why there will be no further attempt.
    """

    error: JobError
    wait: int | None = None
    gives_up: str | None = None

    def __post_init__(self) -> None:
        if self.gives_up is not None:
            _make_reason(self, "gives_up", self.gives_up)


class Snoozed(msgspec.Struct, frozen=True, tag=True):
    """The job's code asked to run again after so many microseconds.

    until: the exact moment, in microseconds on the store's clock, if the code asked for one.
    """

    wait: int
    reason: str
    until: int | None = None

    def __post_init__(self) -> None:
        _make_reason(self, "reason", self.reason)


class Topic(msgspec.Struct, frozen=True):
    """What events are sent to, and jobs listen to. `tenant` is "" for none."""

    tenant: str
    name: str


def topic_of(event: str, to: str, tenant: str | None) -> Topic:
    """Return where an event of this name goes that is sent to a job, by its id, or to a topic. Raises InvalidOption."""
    if "/" in checked_name(event, what="the name of an event"):
        raise InvalidOption(
            f"the name of an event is {event!r}; it must have no /, which stands before it in its topic"
        )
    return Topic(tenant or "", f"{checked_name(to, what='a topic')}/{event}")


class Waits(msgspec.Struct, frozen=True, tag=True):
    """The job's code waits for an event of this name: until then it holds no worker.

    until: when it goes on without, in microseconds on the store's clock; None if it waits for ever.
    """

    event: str
    topic: Topic
    until: int | None = None

    @property
    def reason(self) -> str:
        """What it waits for, in words."""
        until = "" if self.until is None else f" until {moment(self.until):%Y-%m-%d %H:%M:%S} UTC"
        return one_line(f"waits for the event {self.event}{until}", MAX_REASON)


class Joined(msgspec.Struct, frozen=True, tag=True):
    """The job has children, and its code is done until they are over: it holds no worker meanwhile.

    result: JSON, if its code returned; None if it runs again after its children.
    """

    result: str | None = None

    @property
    def phase(self) -> Phase:
        """What follows when its children are over."""
        return "run" if self.result is None else "end"


class Expired(msgspec.Struct, frozen=True, tag=True):
    """The job was not started in time; its code did not run."""


class Skipped(msgspec.Struct, frozen=True, tag=True):
    """The job's code found nothing to do."""

    reason: str

    def __post_init__(self) -> None:
        _make_reason(self, "reason", self.reason)


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """The job stopped at a checkpoint or before it began, because of a request: "pause", "cancel", "shutdown" (a
    deploy: it goes on elsewhere), "window" (its queue closed) or "yield" (its time box is over).

    reason: what to tell users instead of the usual words.
    """

    request: str
    reason: str | None = None


class Split(msgspec.Struct, frozen=True, tag=True):
    """The job's loop was cut into ranges, which its parts run over; the job waits for them, and runs again then."""

    loop: str
    ranges: tuple[Range, ...]


class Lost(msgspec.Struct, frozen=True, tag=True):
    """The job's worker vanished: no process renews its lease any more. Whether the job was the cause is not known."""

    detail: str

    def __post_init__(self) -> None:
        _make_reason(self, "detail", self.detail)


class Crashed(msgspec.Struct, frozen=True, tag=True):
    """The job's process died while its supervisor lived.

    alone: no other job ran in it. is_contained: the job is isolated, so it cannot harm others and needs no quarantine.
    """

    detail: str
    alone: bool
    is_contained: bool = False

    def __post_init__(self) -> None:
        _make_reason(self, "detail", self.detail)


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """The stored arguments do not fit this version of the code; another version may still take the job.

    times: how often this happened in a row, including now.
    """

    detail: str
    times: int = 1

    def __post_init__(self) -> None:
        _make_reason(self, "detail", self.detail)


def _make_reason(outcome: msgspec.Struct, field: str, text: str) -> None:
    """Make the reason of an outcome a line that any database can store."""
    msgspec.structs.force_setattr(outcome, field, one_line(text, MAX_REASON))


Outcome = Returned | Raised | Snoozed | Waits | Joined | Split | Skipped | Stopped | Expired | Lost | Crashed | Unfit


# ── the decision ─────────────────────────────────────────────────────────────────────────────────────


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
}
_STOPPED = {
    "pause": State.PAUSED,
    "cancel": State.CANCELLED,
    "shutdown": State.PENDING,
    "window": State.PENDING,
    "yield": State.PENDING,
}
_STOP_EVENTS: dict[str, EventName] = {
    "pause": "paused",
    "cancel": "cancelled",
    "shutdown": "released",
    "window": "released",
    "yield": "released",
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
        case Joined(result):
            return Transition(
                state=State.BLOCKED,
                event="released",
                spent=spent,
                reason=HAS_CHILDREN,
                result=result,
                phase=outcome.phase,
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
            return Transition(state=_STOPPED[request], event=_STOP_EVENTS[request], spent=spent, reason=why)
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
