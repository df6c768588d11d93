"""The handle of one job: its status, its result, and what may be asked of it. Nothing is cached but the id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from posthorse.app.attempts import aattempts_of, attempts_of
from posthorse.app.editing import arebound, areplaced, rebound, replaced
from posthorse.app.reading import (
    abad_items_of,
    aoutcome_of,
    astatus_of,
    bad_items_of,
    check_kind,
    outcome_of,
    status_of,
)
from posthorse.clock import monotonic
from posthorse.errors import InvalidCall
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import Attempt, BadItem, State, Status
from posthorse.store.operations import control, read
from posthorse.store.operations.bad_items import retry_bad_items
from posthorse.store.patience import waiting_at_most

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

R = TypeVar("R", covariant=True)

FIRST_LOOK, MAX_PAUSE = 0.005, 0.25


class Job(Generic[R]):
    """One job. `R` is what it returns."""

    def __init__(self, app: Posthorse, job_id: str, *, created: bool = False, kind: str | None = None) -> None:
        self._app = app
        self._kind = kind  # what it must be, while that is not known
        self.id = job_id
        self.created = created
        """False when a key matched an earlier job, or a unique one was not over, which this handle then names."""

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    def status(self) -> Status:
        """The job as it stands. Raises JobNotFound."""
        return status_of(self._app, self._known())

    async def astatus(self) -> Status:
        """The job as it stands. Raises JobNotFound."""
        return await astatus_of(self._app, await self._aknown())

    def attempts(self) -> list[Attempt]:
        """Every run of the job's code, in order, with its evidence. Raises JobNotFound."""
        return attempts_of(self._app, self._known())

    async def aattempts(self) -> list[Attempt]:
        """See `attempts`."""
        return await aattempts_of(self._app, await self._aknown())

    def result(self, timeout: Duration | None = None) -> R:
        """Waits for the end and returns what the job returned.

        Raises JobFailed, JobCancelled, JobNotFound, TimeoutError; and InvalidCall inside a running event
        loop, which it would block: await `aresult()` there.
        """
        if _is_in_loop():
            raise InvalidCall("result() would block the running event loop; use `await job.aresult()`")
        patience = _Patience(self._known(), timeout)
        while True:
            with waiting_at_most(patience.left):
                outcome = outcome_of(self._app, self.id)
            if outcome is not None:
                return cast("R", outcome.value())  # as the kind declares
            time.sleep(patience.pause())

    async def aresult(self, timeout: Duration | None = None) -> R:
        """Waits for the end and returns what the job returned. Raises as `result`."""
        patience = _Patience(await self._aknown(), timeout)
        while True:
            with waiting_at_most(patience.left):
                outcome = await aoutcome_of(self._app, self.id)
            if outcome is not None:
                return cast("R", outcome.value())  # as the kind declares
            await asyncio.sleep(patience.pause())

    # ── steering ─────────────────────────────────────────────────────────────────────────────────────

    def pause(self, *, force: bool = False) -> State:
        """Stops the job where it can go on later; answers with the state that this led to at once.

        A running job stops at its next slice or checkpoint and then is `paused`. With `force` its lease is
        taken away now: what its code still does counts for nothing. Raises JobNotFound, InvalidTransition.
        """
        return self._request("pause", force=force)

    async def apause(self, *, force: bool = False) -> State:
        """See `pause`."""
        return await self._arequest("pause", force=force)

    def resume(self) -> State:
        """Lets a paused job go on from its last committed slice. Raises JobNotFound, InvalidTransition."""
        return self._request("resume")

    async def aresume(self) -> State:
        """See `resume`."""
        return await self._arequest("resume")

    def cancel(self, *, force: bool = False) -> State:
        """Ends the job for good: at once if it waits, at its next checkpoint if it runs; async jobs are
        cancelled at their next await. Raises JobNotFound, InvalidTransition."""
        return self._request("cancel", force=force)

    async def acancel(self, *, force: bool = False) -> State:
        """See `cancel`."""
        return await self._arequest("cancel", force=force)

    def retry(self, *, arguments: Mapping[str, object] | None = None) -> State:
        """Starts a failed or cancelled job again with fresh budgets; a long job goes on from its last slice.

        arguments: new values for some of them, by name. Raises JobNotFound, InvalidTransition, InvalidArgument.
        """
        return self._request(
            "retry", arguments=None if arguments is None else replaced(self._app, self._known(), arguments)
        )

    async def aretry(self, *, arguments: Mapping[str, object] | None = None) -> State:
        """See `retry`."""
        text = None if arguments is None else await areplaced(self._app, await self._aknown(), arguments)
        return await self._arequest("retry", arguments=text)

    def retry_with(self, /, *args: object, **kwargs: object) -> State:
        """The same with these arguments in place of all that the job had. Raises as `retry`."""
        return self._request("retry", arguments=rebound(self._app, self._known(), args, kwargs))

    async def aretry_with(self, /, *args: object, **kwargs: object) -> State:
        """See `retry_with`."""
        text = await arebound(self._app, await self._aknown(), args, kwargs)
        return await self._arequest("retry", arguments=text)

    def discard(self) -> State:
        """Takes a dead letter off the list: it stays readable, as cancelled. Raises JobNotFound, InvalidTransition."""
        return self._request("discard")

    async def adiscard(self) -> State:
        """See `discard`."""
        return await self._arequest("discard")

    # ── bad items ────────────────────────────────────────────────────────────────────────────────────

    def bad_items(self, *, limit: int = 100, after: BadItem | None = None) -> list[BadItem]:
        """Items that the job tolerated, by loop and number; `after` is the last one that was read before."""
        return bad_items_of(self._app, self._known(), limit=limit, after=after)

    async def abad_items(self, *, limit: int = 100, after: BadItem | None = None) -> list[BadItem]:
        """See `bad_items`."""
        return await abad_items_of(self._app, await self._aknown(), limit=limit, after=after)

    def retry_bad_items(self) -> State:
        """Lets a completed or failed job run again with its bad items alone; those that succeed are forgotten.

        A failed job goes on where it stopped after them. Raises JobNotFound, InvalidTransition.
        """
        store = self._app.store
        return store.run(retry_bad_items(self._known(), channel=store.backend.channel))

    async def aretry_bad_items(self) -> State:
        """See `retry_bad_items`."""
        store = self._app.store
        return await store.arun(retry_bad_items(await self._aknown(), channel=store.backend.channel))

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def _known(self) -> str:
        """The id, of a job that is known to be of the kind that was asked for. Raises JobNotFound."""
        if self._kind is not None:
            check_kind(self._app, self.id, self._kind, self._app.store.read(read.job(self.id)))
            self._kind = None
        return self.id

    async def _aknown(self) -> str:
        if self._kind is not None:
            check_kind(self._app, self.id, self._kind, await self._app.store.aread(read.job(self.id)))
            self._kind = None
        return self.id

    def _request(self, action: control.Request, *, force: bool = False, arguments: str | None = None) -> State:
        store = self._app.store
        asked = control.request(self._known(), action, force=force, channel=store.backend.channel, arguments=arguments)
        return store.run(asked)

    async def _arequest(self, action: control.Request, *, force: bool = False, arguments: str | None = None) -> State:
        store = self._app.store
        asked = control.request(
            await self._aknown(), action, force=force, channel=store.backend.channel, arguments=arguments
        )
        return await store.arun(asked)


class _Patience:
    """How long to wait between two looks: short at first, then longer, and not beyond the timeout."""

    def __init__(self, job_id: str, timeout: Duration | None) -> None:
        self._job_id = job_id
        self._seconds = None if timeout is None else as_timedelta(timeout, name="timeout").total_seconds()
        self._start = monotonic()
        self._pause = FIRST_LOOK

    @property
    def left(self) -> float | None:
        """Seconds until the timeout; None without one."""
        return None if self._seconds is None else max(0.0, self._start + self._seconds - monotonic())

    def pause(self) -> float:
        """Seconds until the next look. Raises TimeoutError when there is none."""
        pause, self._pause = self._pause, min(MAX_PAUSE, self._pause * 1.3)
        if self._seconds is None:
            return pause
        left = self._start + self._seconds - monotonic()
        if left <= 0:
            raise TimeoutError(f"job {self._job_id} was not over within {self._seconds:g} s; it goes on")
        return min(pause, left)


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
