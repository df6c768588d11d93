"""What a drain did: the attempts that it ran, what became of them, and the jobs that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from posthorse.errors import JobFailed
from posthorse.rules.events import Ended
from posthorse.rules.job import State
from posthorse.rules.steering import Retry, leaves

MAX_LEFT_SHOWN = 5
MAX_RAN_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """One attempt that a drain ran.

    outcome: returned, raised, snoozed, stopped, lost or unfit. state: that of the job afterwards.
    error: what the code of the job raised.
    """

    job: str
    kind: str
    queue: str
    attempt: int
    outcome: str
    state: State
    error: BaseException | None

    def __str__(self) -> str:
        raised = "" if self.error is None else f" {self.error!r}"
        return f"{self.kind} {self.job} (attempt {self.attempt}): {self.outcome}{raised}, now {self.state.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A job that is not over after a drain. why: the first reason why it does not run now."""

    job: str
    kind: str
    queue: str
    state: State
    why: str

    def __str__(self) -> str:
        return f"{self.kind} {self.job} is {self.state.value}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drain did. `repr` counts it in one line; `str`, and so `print`, lists the attempts and what is left."""

    ran: Sequence[Attempted]
    """Every attempt, in order."""
    left: Sequence[Left]
    """The jobs that are not over, the oldest first."""

    @property
    def completed(self) -> int:
        """How many jobs completed."""
        return self._count(State.COMPLETED)

    @property
    def failed(self) -> int:
        """How many jobs failed for good."""
        return self._count(State.FAILED)

    @property
    def cancelled(self) -> int:
        """How many jobs were cancelled while they ran."""
        return self._count(State.CANCELLED)

    @property
    def retried(self) -> int:
        """How many attempts raised an error after which their job is tried again."""
        return sum(one.outcome == "raised" and not one.state.is_final for one in self.ran)

    @property
    def snoozed(self) -> int:
        """How many attempts raised ph.Snooze."""
        return sum(one.outcome == "snoozed" for one in self.ran)

    def _count(self, state: State) -> int:
        return sum(one.state is state for one in self.ran)

    def __repr__(self) -> str:
        return f"<Drained: {self._counts()}>"

    def __str__(self) -> str:
        return "\n".join(
            [self._counts(), *_listed("ran", self.ran, MAX_RAN_SHOWN), *_listed("left", self.left, MAX_LEFT_SHOWN)]
        )

    def _counts(self) -> str:
        counts = {
            "completed": self.completed,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "retried": self.retried,
            "snoozed": self.snoozed,
            **{outcome: sum(one.outcome == outcome for one in self.ran) for outcome in ("stopped", "lost", "unfit")},
            "left": len(self.left),
        }
        return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing ran"


@dataclass(slots=True)
class DrainLog:
    """The attempts of one drain while it runs. It hears of their ends, and of errors before the worker stores them."""

    ran: list[Attempted] = field(default_factory=list[Attempted])
    errors: dict[str, BaseException] = field(default_factory=dict[str, BaseException])
    """The last error of each job, with its traceback."""

    runners: set[str] = field(default_factory=set[str])
    """The runners of this drain: a job may start another one, whose attempts are its own."""

    def hear(self, event: Ended) -> None:
        """Note the end of an attempt."""
        if event.runner not in self.runners:
            return
        error = self.errors.get(event.job) if event.outcome != "returned" else None
        if error is None and event.error is not None:
            error = JobFailed(f"job {event.job} ({event.kind}): {event.error}")
        self.ran.append(
            Attempted(
                job=event.job,
                kind=event.kind,
                queue=event.queue,
                attempt=event.attempt,
                outcome=event.outcome,
                state=event.state,
                error=error,
            )
        )

    def raise_first_error(self, left: Sequence[Left]) -> None:
        """Raise the first error that no later attempt of its job made up for, as the job's code raised it.

        ph.Retry is not an error: the job asked for another attempt.
        """
        last = {one.job: one for one in self.ran}
        unsettled = [
            one
            for one in last.values()
            if one.outcome in ("raised", "unfit") and not (one.error is not None and asks_for_retry(one.error))
        ]
        if not unsettled:
            return
        first, *others = unsettled
        error = first.error
        if error is None:  # its arguments do not fit
            why = next((one.why for one in left if one.job == first.job), "")
            error = JobFailed(f"job {first.job} ({first.kind}) could not be run: {why}")
        error.add_note(
            f"raised in attempt {first.attempt} of job {first.kind} {first.job}, which is now {first.state.value}; "
            "drain(raise_errors=False) returns errors instead"
        )
        for other in others[:MAX_LEFT_SHOWN]:
            error.add_note(f"another job failed, too: {other}")
        raise error


def _listed(what: str, each: Sequence[object], most: int) -> list[str]:
    if not each:
        return []
    more = [f"  … and {len(each) - most} more"] if len(each) > most else []
    return [f"{what}:", *(f"  {one}" for one in each[:most]), *more]


def asks_for_retry(error: BaseException) -> bool:
    """Return whether the job itself asked to be tried again."""
    return any(isinstance(part, Retry) for part in leaves(error))
