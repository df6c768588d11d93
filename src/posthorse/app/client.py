"""The application: jobs are declared on it and enqueued through it; it owns the settings and the store."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import msgspec

from posthorse import ids
from posthorse.app.configure import load_settings
from posthorse.app.job import Job
from posthorse.app.kind import Call, JobFunction
from posthorse.clock import Clock
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration
from posthorse.rules.job import NewJob, checked_name
from posthorse.rules.registry import Registry, make_kind_options, register
from posthorse.rules.retry import Backoff
from posthorse.store.operations.submit import Submitted, enqueue
from posthorse.store.store import Store
from posthorse.worker.context import Context
from posthorse.worker.embedded import EmbeddedWorker

P = ParamSpec("P")
R = TypeVar("R")

_OWN = f"{__name__.partition('.')[0]}."


class Posthorse:
    """An application with background jobs.

    `url` is `sqlite:///file.db` or `postgresql://…`; left out, `$POSTHORSE_URL`, then `posthorse.toml`, then
    `sqlite:///posthorse.db`. Works straight after construction, from threads, coroutines and forked children;
    nothing is opened before the first use. Other settings by name: see Settings. Raises InvalidSettings.
    """

    def __init__(self, url: str | None = None, *, clock: Clock | None = None, **settings: object) -> None:
        given = settings if url is None else {"url": url, **settings}
        self.settings = load_settings(given)
        self.registry = Registry()
        self.store = Store(self.settings.url, schema=self.settings.schema, clock=clock)

    # ── declaring ────────────────────────────────────────────────────────────────────────────────────

    @overload
    def job(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> JobFunction[P, R, Concatenate[Context, P], Coroutine[Any, Any, R]]: ...
    @overload
    def job(
        self, function: Callable[Concatenate[Context, P], R], /
    ) -> JobFunction[P, R, Concatenate[Context, P], R]: ...
    @overload
    def job(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> JobFunction[P, R, P, Coroutine[Any, Any, R]]: ...
    @overload
    def job(self, function: Callable[P, R], /) -> JobFunction[P, R, P, R]: ...
    @overload
    def job(
        self,
        /,
        *,
        kind: str | None = None,
        aliases: Sequence[str] = (),
        queue: str | None = None,
        priority: int | None = None,
        tags: Sequence[str] | None = None,
        max_attempts: int | None = None,
        max_crashes: int | None = None,
        backoff: Backoff | Duration | None = None,
        timeout: Duration | None = None,
    ) -> JobDecorator: ...

    def job(self, function: Callable[..., object] | None = None, /, **options: object) -> object:
        """Makes a function into a kind of job: `@app.job`, or `@app.job(queue="mail", max_attempts=5)`.

        The kind is the function's name unless said. Async functions run on the worker's loop, others on its
        threads. A first parameter that is a `ph.Context` is given by the worker. The function stays callable.
        Raises DuplicateKind, InvalidOption.
        """
        decorator = JobDecorator(self, options)
        return decorator if function is None else decorator(function)

    # ── enqueuing ────────────────────────────────────────────────────────────────────────────────────

    def enqueue_many(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """Stores jobs, all or none, in order; durable when this returns. Raises KeyConflict, StoreError."""
        _warn_in_loop()
        jobs = self._new_jobs(calls)
        if not jobs:
            return []
        lanes = self.store.lanes({job.lane for job in jobs})
        submitted = self.store.run(enqueue(jobs, lanes, channel=self.store.backend.channel))
        return self._handles(calls, submitted)

    async def aenqueue_many(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """Stores jobs, all or none, in order; durable when this returns. Raises KeyConflict, StoreError."""
        jobs = self._new_jobs(calls)
        if not jobs:
            return []
        lanes = await self.store.alanes({job.lane for job in jobs})
        submitted = await self.store.arun(enqueue(jobs, lanes, channel=self.store.backend.channel))
        return self._handles(calls, submitted)

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    def get_job(self, job_id: str) -> Job[object]:
        """A job by its id; it is looked up at first use. Raises InvalidOption for what can be no id."""
        return Job(self, _checked_id(job_id))

    # ── running ──────────────────────────────────────────────────────────────────────────────────────

    def worker(self, *, queues: Sequence[str] = (), concurrency: int = 10) -> EmbeddedWorker:
        """A worker inside this process, for applications and tests: `with app.worker(): …`.

        No queues means all. It has no supervisor: a job that holds the interpreter lock beyond the lease loses
        its lease, is retried, and what the first run still does counts for nothing.
        """
        return EmbeddedWorker(self.store, self.registry, self.settings, queues=queues, concurrency=concurrency)

    def migrate(self) -> int:
        """Makes the schema or brings it up to date; answers with the number of steps taken."""
        return self.store.migrate()

    def use_url(self, url: str) -> None:
        """Points the application at another store; handles made before keep working, on the new one."""
        self.store.close()
        self.settings = msgspec.structs.replace(self.settings, url=url)
        self.store = Store(url, schema=self.settings.schema, clock=self.store.clock)

    def close(self) -> None:
        """Closes all connections; the next use opens them anew."""
        self.store.close()

    def _new_jobs(self, calls: Sequence[Call[R]]) -> list[NewJob]:
        for call in calls:
            if call.app is not self:
                raise InvalidOption(f"{call.template.lane.kind!r} belongs to another application")
        fresh = ids.new_ids(len(calls))
        return [msgspec.structs.replace(call.template, id=job_id) for call, job_id in zip(calls, fresh, strict=True)]

    def _handles(self, calls: Sequence[Call[R]], submitted: Sequence[Submitted]) -> list[Job[R]]:
        return [Job(self, job_id, created=created) for _, (job_id, created) in zip(calls, submitted, strict=True)]


class JobDecorator:
    """What `@app.job(…)` is before it meets its function."""

    def __init__(self, app: Posthorse, options: dict[str, object]) -> None:
        self._app = app
        kind = options.pop("kind", None)
        self._kind = None if kind is None else checked_name(kind, what="kind")
        self._options = make_kind_options(options)

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> JobFunction[P, R, Concatenate[Context, P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], R], /
    ) -> JobFunction[P, R, Concatenate[Context, P], R]: ...
    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> JobFunction[P, R, P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> JobFunction[P, R, P, R]: ...

    def __call__(self, function: Callable[..., object], /) -> object:
        """Registers the function."""
        registered = register(function, kind=self._kind, options=self._options, context_type=Context)
        self._app.registry.add(registered)
        made: JobFunction[..., object, ..., object] = JobFunction(self._app, registered, function)
        return made


def _checked_id(value: object) -> str:
    if isinstance(value, str) and ids.is_id(value.lower()):
        return value.lower()
    raise InvalidOption(f"{repr(value)[:60]} is no job id; ids look like 01936f5e-7c1a-7d2b-8e3f-0123456789ab")


def _warn_in_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    warnings.warn(
        "enqueue() inside a running event loop blocks it until the commit; use `await ….aenqueue()`",
        RuntimeWarning,
        stacklevel=_depth_of_caller(),
    )


def _depth_of_caller() -> int:
    """How far above `warnings.warn` the first line stands that is not ours: the warning is about that one."""
    depth, frame = 0, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_OWN):
        depth, frame = depth + 1, frame.f_back
    return depth
