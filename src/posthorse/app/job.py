"""The handle of one job: its status, its result, and the requests that it accepts. Only the id is cached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from posthorse.app.attempts import attempts_of
from posthorse.app.editing import rebound, replaced
from posthorse.app.reading import bad_items_of, check_kind, outcome_of, status_of
from posthorse.app.verbs import Verb, commit, look_up, sleep, twin, verb, waiting_verb
from posthorse.clock import monotonic
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import Attempt, BadItem, State, Status
from posthorse.rules.lifecycle import Request
from posthorse.store.operations import control, read
from posthorse.store.operations.bad_items import retry_bad_items
from posthorse.store.patience import waiting_at_most

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

R = TypeVar("R", covariant=True)

FIRST_LOOK, MAX_PAUSE = 0.005, 0.25


class Job(Generic[R]):
    """A handle of one job, known by its id. `R` is the type of its result.

    Every method reads from or writes to the store, so a handle never shows old data. Each method has a twin with an `a`
    in front, to be awaited: `await job.astatus()`.
    """

    def __init__(self, app: Posthorse, job_id: str, created: bool = False, *, kind: str | None = None) -> None:
        self._app = app
        self._kind = kind  # the kind that it must have, until that is checked
        self.id = job_id
        self.created = created
        """False if a key or `unique` matched an earlier job, which this handle then names."""

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    @verb
    def status(self) -> Verb[Status]:
        """Read the current state of the job, with progress, attempts and times. Raises JobNotFound."""
        return (yield from status_of(self._app, (yield from self._known())))

    astatus = twin(status)

    @verb
    def attempts(self) -> Verb[list[Attempt]]:
        """Return every run of the job's code, in order, with its evidence. Raises JobNotFound."""
        return (yield from attempts_of(self._app, (yield from self._known())))

    aattempts = twin(attempts)

    @waiting_verb
    def result(self, timeout: Duration | None = None) -> Verb[R]:
        """Wait until the job ends, and return what its function returned.

        timeout: the longest wait, such as 30 (seconds) or "10m"; None waits for ever.

        Raises JobFailed, with the job's error; JobCancelled; JobNotFound; CodecError; TimeoutError. Inside a running
        event loop, `result` raises InvalidCall, because the job may need the loop that it would block: await `aresult`
        there.
        """
        patience = _Patience((yield from self._known()), timeout)
        while True:
            with waiting_at_most(patience.left):
                outcome = yield from outcome_of(self._app, self.id)
            if outcome is not None:
                return cast("R", outcome.value())  # as the kind declares
            yield from sleep(patience.pause())

    aresult = twin(result)

    # ── steering ─────────────────────────────────────────────────────────────────────────────────────

    @verb
    def pause(self, *, force: bool = False) -> Verb[State]:
        """Stop the job so that it can continue later; return the state that it has now.

        A running job stops at its next slice or checkpoint and is then `paused`. With `force` its lease ends now, and
        whatever its code still does has no effect. Raises JobNotFound, InvalidTransition.
        """
        return self._request("pause", force=force)

    apause = twin(pause)

    @verb
    def resume(self) -> Verb[State]:
        """Continue a paused job from its last committed slice; return the new state. Raises JobNotFound,
        InvalidTransition.
        """
        return self._request("resume")

    aresume = twin(resume)

    @verb
    def cancel(self, *, force: bool = False) -> Verb[State]:
        """End the job for good; return the state that it has now.

        A waiting job ends at once, a running one at its next checkpoint, an async one at its next await. With `force`
        its lease ends now, and whatever its code still does has no effect. Raises JobNotFound, InvalidTransition.
        """
        return self._request("cancel", force=force)

    acancel = twin(cancel)

    @verb
    def retry(self, *, arguments: Mapping[str, object] | None = None) -> Verb[State]:
        """Start a failed or cancelled job again with fresh budgets; a long job continues from its last committed slice.

        arguments: new values for some of its arguments, by name.

        Raises JobNotFound, InvalidTransition, InvalidArgument.
        """
        text = None
        if arguments is not None:
            text = yield from replaced(self._app, (yield from self._known()), arguments)
        return (yield from self._request("retry", arguments=text))

    aretry = twin(retry)

    @verb
    def retry_with(self, /, *args: object, **kwargs: object) -> Verb[State]:
        """Retry with these arguments instead of those that the job had. Raises as `retry`."""
        text = yield from rebound(self._app, (yield from self._known()), args, kwargs)
        return (yield from self._request("retry", arguments=text))

    aretry_with = twin(retry_with)

    @verb
    def discard(self) -> Verb[State]:
        """Remove a dead letter from the list; it stays readable as cancelled. Raises JobNotFound, InvalidTransition."""
        return self._request("discard")

    adiscard = twin(discard)

    # ── bad items ────────────────────────────────────────────────────────────────────────────────────

    @verb
    def bad_items(self, *, limit: int = 100, after: BadItem | None = None) -> Verb[list[BadItem]]:
        """Return items that the job tolerated, in order of loop and number.

        limit: how many at most. after: the last item of the previous page.

        Raises JobNotFound, InvalidOption.
        """
        return (yield from bad_items_of(self._app, (yield from self._known()), limit=limit, after=after))

    abad_items = twin(bad_items)

    @verb
    def retry_bad_items(self) -> Verb[State]:
        """Run a completed or failed job again for its bad items only; those that succeed are forgotten.

        A failed job then continues where it stopped. Raises JobNotFound, InvalidTransition.
        """
        return (yield from commit(self._app, retry_bad_items((yield from self._known()), self._app.registry.packing)))

    aretry_bad_items = twin(retry_bad_items)

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def _known(self) -> Verb[str]:
        """Return the id after checking that the job has the kind of this handle. Raises JobNotFound."""
        if self._kind is not None:
            row = yield from look_up(self._app, read.job(self.id))
            check_kind(self._app, self.id, self._kind, row)
            self._kind = None
        return self.id

    def _request(self, action: Request, *, force: bool = False, arguments: str | None = None) -> Verb[State]:
        job = yield from self._known()
        asked = control.request(job, action, force=force, arguments=arguments, packing=self._app.registry.packing)
        return (yield from commit(self._app, asked))


class _Patience:
    """The pauses between two looks: short at first, then longer, never beyond the timeout."""

    def __init__(self, job_id: str, timeout: Duration | None) -> None:
        self._job_id = job_id
        self._seconds = None if timeout is None else as_timedelta(timeout, name="timeout").total_seconds()
        self._start = monotonic()
        self._pause = FIRST_LOOK

    @property
    def left(self) -> float | None:
        """The seconds until the timeout; None without one."""
        return None if self._seconds is None else max(0.0, self._start + self._seconds - monotonic())

    def pause(self) -> float:
        """Return the seconds until the next look. Raises TimeoutError if there is none."""
        pause, self._pause = self._pause, min(MAX_PAUSE, self._pause * 1.3)
        if self._seconds is None:
            return pause
        left = self._start + self._seconds - monotonic()
        if left <= 0:
            raise TimeoutError(f"job {self._job_id} was not over within {self._seconds:g} s; it goes on")
        return min(pause, left)
