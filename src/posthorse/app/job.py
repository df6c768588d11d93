"""The handle of one job: its status, its result, and the requests that it accepts. Only the id is cached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, cast, overload

from posthorse.app.job_logs import FollowedLogs, logs_of
from posthorse.app.reading import bad_items_of, check_kind, end_of, is_to_be_cut, status_of
from posthorse.app.result_wait import ResultWait
from posthorse.app.retry_arguments import rebound, replaced
from posthorse.app.timeline import Following, attempts_of
from posthorse.app.timeline import events as events_of
from posthorse.app.verbs import Verb, commit, twin, verb, wait_for_end, waiting_verb
from posthorse.errors import InvalidCall, InvalidOption, PosthorseError
from posthorse.rules.durations import Duration
from posthorse.rules.events import Event
from posthorse.rules.job import Attempt, BadItem, State, Status
from posthorse.rules.job_logs import LogLine
from posthorse.rules.ranges import MAX_PARTS
from posthorse.rules.requests import Request
from posthorse.rules.values.type_mismatch import short
from posthorse.rules.why.answer import Why, clause
from posthorse.store.operations import control
from posthorse.store.operations.bad_items_of_parts import retry_bad_items
from posthorse.store.operations.retention import erase
from posthorse.store.operations.width import set_width
from posthorse.store.patience import waiting_at_most

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.rules.flow_graph import Graph

R = TypeVar("R", covariant=True)


EXCUSE = 1.0
"""Seconds that a timeout may be late because it reads why."""


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

    @overload
    def events(self, after: int = 0, *, follow: Literal[False] = False) -> list[Event]: ...
    @overload
    def events(self, after: int = 0, *, follow: Literal[True]) -> Following: ...
    def events(self, after: int = 0, *, follow: bool = False) -> list[Event] | Following:
        """Return what happened to the job, in order: every number from 1 to its version.

        after: the number of the last event that was read; only later ones are returned.
        follow: return an object for `for` and `async for` that goes on until the job is over: it yields events as they
        happen, and between them `ph.events.Progressed`, which has no number.

        Raises JobNotFound, InvalidOption.
        """
        return Following(self, after) if follow else self._events(after)

    @overload
    async def aevents(self, after: int = 0, *, follow: Literal[False] = False) -> list[Event]: ...
    @overload
    async def aevents(self, after: int = 0, *, follow: Literal[True]) -> Following: ...
    async def aevents(self, after: int = 0, *, follow: bool = False) -> list[Event] | Following:
        """Do as `events`, for code that awaits; `async for` works with `job.events(follow=True)` itself."""
        return Following(self, after) if follow else await self._aevents(after)

    _events = verb(events_of)
    _aevents = twin(_events)

    @verb
    def why(self) -> Verb[Why]:
        """Tell why the job does not run now: the leading reason first, then others that would hold it as well.

        Each reason has a code, a sentence, its facts, what to do now, and when the job may start as far as it is
        concerned. It also answers for a job that runs or is over. Raises JobNotFound.
        """
        yield from self._known()
        return (yield from self._why())

    awhy = twin(why)

    @waiting_verb
    def result(self, timeout: Duration | None = None) -> Verb[R]:
        """Wait until the job ends, and return what its function returned.

        timeout: the longest wait, such as 30 (seconds) or "10m"; None waits for ever.

        Raises JobFailed, with the job's error; JobCancelled; ResultExpired if retention removed the result, and
        JobForgotten if it removed the job; JobNotFound; CodecError; TimeoutError, which says why the job is not over.
        If no living worker would take the job, that is logged as a warning after a few seconds. Inside a running event
        loop, `result` raises InvalidCall, because the job may need the loop that it would block: await `aresult` there.
        Both raise it inside a transaction that keeps the job from ending, or cannot see its end.
        """
        wait = ResultWait((yield from self._known()), timeout, self._app.store.tuning.worry_time)
        has_ended = False
        while True:
            with waiting_at_most(wait.left):
                outcome = yield from end_of(self._app, self.id)
            if outcome is not None:
                return cast("R", outcome.value())  # as the kind declares
            if wait.is_over:
                raise TimeoutError(f"{wait.words}{(yield from self._excuse())}")
            self._raise_if_it_cannot_end_here(has_ended)
            has_ended = False
            while not has_ended and not wait.is_over:
                if wait.is_worried(self._app.unserved_warnings):
                    yield from self._app.unserved_warnings.look_at(self._app, self.id)
                has_ended = bool((yield from wait_for_end(self._app, (self.id,), wait.seconds)))

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

    @verb
    def delete(self) -> Verb[None]:
        """Remove a job that is over from the store, with its keys and all that belongs to it; this cannot be undone.

        For data that must go now; retention removes old jobs by itself. Raises JobNotFound, InvalidTransition.
        """
        yield from commit(self._app, erase((yield from self._known())))

    adelete = twin(delete)

    @verb
    def parts(self, at_once: int | None) -> Verb[None]:
        """Change how many parts of a job with `shards=` run at once, while it runs; None for no limit.

        Into how many parts it is cut stays. If there are more, running ones leave at their next checkpoint, and go on
        from there when there is room; if there are fewer, those that waited go on, and then parts that lag give half
        of their rest away. Raises JobNotFound, InvalidOption, InvalidTransition.
        """
        if at_once is not None and (type(at_once) is not int or not 1 <= at_once <= MAX_PARTS):
            raise InvalidOption(
                f"parts is {short(at_once)}; it must be a whole number from 1 to {MAX_PARTS:,}, or None for no limit; "
                "pause() stops all of them"
            )
        job = yield from self._known()
        may_be_cut = yield from is_to_be_cut(self._app, job)
        yield from commit(self._app, set_width(job, at_once, may_be_cut=may_be_cut))

    aparts = twin(parts)

    # ── logs ─────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def logs(
        self,
        *,
        attempt: int | None = None,
        after: LogLine | None = None,
        limit: int = 1000,
        follow: Literal[False] = False,
    ) -> list[LogLine]: ...
    @overload
    def logs(
        self, *, attempt: int | None = None, after: LogLine | None = None, follow: Literal[True]
    ) -> FollowedLogs: ...
    def logs(
        self, *, attempt: int | None = None, after: LogLine | None = None, limit: int = 1000, follow: bool = False
    ) -> list[LogLine] | FollowedLogs:
        """Return what the job logged, in order, also while it runs; lines arrive after about a second.

        attempt: only that one, as `ctx.attempt` was. after: the last line of the previous page. limit: how many lines
        at most. follow: return an object for `for` and `async for` that goes on until the job is over: it yields lines
        as they come, without a limit.

        Raises JobNotFound, InvalidOption, CodecError.
        """
        if follow:
            return FollowedLogs(self._app, self.id, attempt, after)
        return self._logs(attempt=attempt, after=after, limit=limit)

    @overload
    async def alogs(
        self,
        *,
        attempt: int | None = None,
        after: LogLine | None = None,
        limit: int = 1000,
        follow: Literal[False] = False,
    ) -> list[LogLine]: ...
    @overload
    async def alogs(
        self, *, attempt: int | None = None, after: LogLine | None = None, follow: Literal[True]
    ) -> FollowedLogs: ...
    async def alogs(
        self, *, attempt: int | None = None, after: LogLine | None = None, limit: int = 1000, follow: bool = False
    ) -> list[LogLine] | FollowedLogs:
        """Do as `logs`, for code that awaits; `async for` works with `job.logs(follow=True)` itself."""
        if follow:
            return FollowedLogs(self._app, self.id, attempt, after)
        return await self._alogs(attempt=attempt, after=after, limit=limit)

    @verb
    def _logs(self, *, attempt: int | None, after: LogLine | None, limit: int) -> Verb[list[LogLine]]:
        job = yield from self._known()
        return (yield from logs_of(self._app, job, attempt=attempt, after=after, limit=limit))

    _alogs = twin(_logs)

    # ── flows ────────────────────────────────────────────────────────────────────────────────────────

    @verb
    def graph(self, *, limit: int = 1000) -> Verb[Graph]:
        """Return the steps of a flow with their states and times, what needs what, and the critical path.

        limit: how many steps at most, the first ones. The graph of a job that is not a flow has the jobs that it needs,
        and those that need it. Raises JobNotFound, InvalidOption, TookTooLong.
        """
        from posthorse.app.graph import read_graph  # here, because most processes read no graphs

        return (yield from read_graph(self._app, (yield from self._known()), limit))

    agraph = twin(graph)

    # ── bad items ────────────────────────────────────────────────────────────────────────────────────

    @verb
    def bad_items(self, *, limit: int = 100, after: BadItem | None = None) -> Verb[list[BadItem]]:
        """Return items that the job tolerated, in order of loop and number; of a job that was cut, part by part.

        limit: how many at most. after: the last item of the previous page.

        Raises JobNotFound, InvalidOption.
        """
        return (yield from bad_items_of(self._app, (yield from self._known()), limit=limit, after=after))

    abad_items = twin(bad_items)

    @verb
    def retry_bad_items(self) -> Verb[State]:
        """Run a completed or failed job again for its bad items only; those that succeed are forgotten.

        A failed job then continues where it stopped. Of a job that was cut, the parts that have some run again, and
        then it joins their results anew. Raises JobNotFound, InvalidTransition.
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
            yield from check_kind(self._app, self.id, self._kind)
            self._kind = None
        return self.id

    def _raise_if_it_cannot_end_here(self, has_ended: bool) -> None:
        """Refuse to wait inside a transaction that the end of the job would have to wait for, or that cannot see it.

        has_ended: whether the job is over, or not stored, outside of the transaction.
        """
        store = self._app.store
        if not store.is_in_transaction:
            return
        if not store.backend.capabilities.has_rivals:
            why = "no other process can write before it ends, so the job could not either"
        elif has_ended:
            why = "the job is stored by the transaction itself, or ended after what the transaction sees"
        else:
            return
        raise InvalidCall(
            f"job {self.id} is not over, and cannot be waited for inside this transaction: {why}; wait after the block"
        )

    def _excuse(self) -> Verb[str]:
        """Return why the job is not over, as the rest of a sentence; nothing if that cannot be read now."""
        try:
            with waiting_at_most(EXCUSE):
                why = yield from self._why()
        except PosthorseError:
            return ""
        from posthorse.app.why import app_target  # here, as below

        target = app_target(self._app)
        named = "" if target is None else f" --app {target}"
        return f": {clause(why.leading.sentence)}; see `posthorse why {self.id}{named}`"

    def _why(self) -> Verb[Why]:
        from posthorse.app.why import why_of  # here, because most processes never ask

        return why_of(self._app, self.id)

    def _request(self, action: Request, *, force: bool = False, arguments: str | None = None) -> Verb[State]:
        job = yield from self._known()
        asked = control.request(job, action, force=force, arguments=arguments, packing=self._app.registry.packing)
        return (yield from commit(self._app, asked))
