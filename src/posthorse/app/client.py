"""The application: jobs are declared on it and enqueued through it; it owns the settings and the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, overload

import msgspec

from posthorse import ids
from posthorse.app.configure import load
from posthorse.app.enqueue_one import IN_WORDS
from posthorse.app.job import Job
from posthorse.app.job_decorator import DeclaresJobs
from posthorse.app.jobs import Jobs
from posthorse.app.kind import Call, JobFunction
from posthorse.app.option_signatures import takes
from posthorse.app.pickling import application_at, place_of
from posthorse.app.queues import Patience, Queue
from posthorse.app.store_origin import Origin
from posthorse.app.verbs import Verb, adrive, commit, drive, sleep, step
from posthorse.clock import Clock
from posthorse.errors import InvalidOption, QueueFull
from posthorse.rules.durations import Duration
from posthorse.rules.events import Submitted as SubmittedEvent
from posthorse.rules.events import SubmittedJob
from posthorse.rules.job import NewJob, checked_name
from posthorse.rules.options.given import check_names_of_on
from posthorse.rules.options.option import Place
from posthorse.rules.other_systems import no_attribute
from posthorse.rules.packing import Codec, Packing
from posthorse.rules.queues import checked_layer
from posthorse.rules.registry import Registered, Registry
from posthorse.rules.search.keywords import Words, make_filter
from posthorse.rules.settings import Settings
from posthorse.rules.tuning import Tuning
from posthorse.rules.values.type_mismatch import short
from posthorse.store.admission import Admission
from posthorse.store.blocking import warn_in_loop
from posthorse.store.connections import UserConnection
from posthorse.store.operations.submit import Submitted, enqueue
from posthorse.store.store import Store

if TYPE_CHECKING:
    from posthorse.app.bundle import Bundle
    from posthorse.app.command_bus import CommandBus
    from posthorse.app.listeners import Listening
    from posthorse.app.observers import Observing
    from posthorse.app.options import ObserverOptions, QueueOptions, ScheduleOptions, SettingOptions
    from posthorse.app.schedules import Schedule
    from posthorse.rules.events import DeadLettersGrew, Event
    from posthorse.rules.middleware import RunningAttempt, Submission
    from posthorse.views.figures import By, Figures
    from posthorse.worker.embedded import EmbeddedWorker

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
E1 = TypeVar("E1", bound="Event")
E2 = TypeVar("E2", bound="Event")
E3 = TypeVar("E3", bound="Event")


class Posthorse(DeclaresJobs):
    """An application with background jobs: declare kinds of jobs on it, enqueue them, and read and steer them.

    ::

        app = ph.Posthorse("sqlite:///shop.db")


        @app.job
        def welcome(user_id: int) -> None: ...

    url: the address of the store, `sqlite:///file.db` or `postgresql://…`. Without it, `$POSTHORSE_URL` counts, then
    `posthorse.toml` or `posthorse.yaml`, then `sqlite:///posthorse.db`.
    settings: by name; those that are not given come from the environment and the file, too.

    codecs: what packs arguments, results, errors and the like before they are stored; see `ph.Codec`.

    One application can be used from threads, coroutines and forked children. It opens the store at the first use.
    Raises InvalidSettings, InvalidOption.
    """

    @takes(Place.SETTING, defaults=msgspec.structs.asdict(Settings()))
    def __init__(
        self,
        url: str | None = None,
        *,
        clock: Clock | None = None,
        tuning: Tuning | None = None,
        codecs: Sequence[Codec] = (),
        **settings: Unpack[SettingOptions],
    ) -> None:
        given = settings if url is None else {"url": url, **settings}
        self.settings, said_of_queues, self.origin = load(given)
        self.registry = Registry()
        self.registry.packing = Packing(codecs)
        self.registry.queues.read_file(said_of_queues)
        self.store = Store(
            self.settings.url,
            schema=self.settings.schema,
            clock=clock,
            tuning=tuning,
            timeout=self.settings.store_timeout,
            is_named=self.origin.is_named,
        )
        self.gate = Admission(self.store, self.registry.queues)
        self.bundles: list[Bundle] = []
        """The bundles that it includes."""

    if not TYPE_CHECKING:  # a type checker that saw it would accept misspelt methods

        def __getattr__(self, name: str) -> object:
            raise no_attribute(self, "an application", name)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return application_at, place_of(self)

    # ── declaring ────────────────────────────────────────────────────────────────────────────────────

    def include(self, bundle: Bundle, *, queue: str | None = None, prefix: str = "") -> None:
        """Make the kinds of a bundle kinds of this application.

        queue: for those of its kinds that name none. prefix: put before the name and the earlier names of each kind.
        Either all kinds are included or none. Raises DuplicateKind, InvalidOption.
        """
        from posthorse.app.bundle import include  # here, for few applications have bundles

        include(self, bundle, queue=queue, prefix=prefix)

    def exclude(self, bundle: Bundle) -> None:
        """Take the kinds of a bundle out again, so that its functions enqueue to another application.

        It is meant for tests that make an application each. Raises InvalidOption.
        """
        from posthorse.app.bundle import exclude

        exclude(self, bundle)

    @cached_property
    def bus(self) -> CommandBus:
        """The application's own command bus: `app.bus.register(SendMail, send_mail)`.

        It also knows the commands of every bus that the application includes.
        """
        from posthorse.app.command_bus import ApplicationBus  # here, because few applications have commands

        return ApplicationBus(self)

    def kind(self, function: JobFunction[P, R, Q, S]) -> JobFunction[P, R, Q, S]:
        """Return the kind that a function has in this application: `app.kind(welcome).enqueue(7)`.

        It is needed for functions of a bundle that several applications of this process include. Raises InvalidOption.
        """
        return function.kind_in(self)

    @takes(Place.SCHEDULE, defaults={"tz": "UTC", "misfire": "once", "overlap": "skip", "jitter": 0})
    def schedule(self, call: Call[R], **options: Unpack[ScheduleOptions]) -> Schedule[R]:
        """Let workers enqueue a call at certain times: `app.schedule(report.bind(), name="report", cron="0 3 * * *")`.

        Give one of cron, every and at. This does not use the store: workers store the schedule when they start. Options
        of the job belong to the call: `report.using(queue="slow").bind()`. Raises InvalidOption.
        """
        from posthorse.app.schedules import add_schedule  # here, because most processes that enqueue have no schedules

        return add_schedule(self, call, **options)

    @takes(Place.ON)
    def on(
        self,
        event: type[DeadLettersGrew],
        /,
        *,
        queue: str | None = None,
        by: int = 10,
        within: Duration = "5m",
        name: str | None = None,
        **options: Unpack[ObserverOptions],
    ) -> Observing[DeadLettersGrew]:
        """Notify a function when dead letters grow: `@app.on(ph.events.DeadLettersGrew, by=10, within="5m")`.

        The function becomes a kind of job in the queue `posthorse`, with the event as its argument. So the notification
        is durable, and is retried. It comes once for all jobs of a queue that failed for good within that time, and
        again at most once in each such time.

        queue: the only queue to watch; by default every queue, each separately.
        by, within: how many dead letters within which time lead to a notification.
        name: the name of the kind; by default that of the function.

        The other options are those of jobs. Raises DuplicateKind, InvalidOption.
        """
        from posthorse.app.observers import Observing  # here, because few applications observe

        check_names_of_on(options, ("queue", "by", "within", "name"))
        return Observing(self, event, name=name, queue=queue, by=by, within=within, options=options)

    @overload
    def listen(self, event: type[E1], /) -> Listening[E1]: ...
    @overload
    def listen(self, event: type[E1], other: type[E2], /) -> Listening[E1 | E2]: ...
    @overload
    def listen(self, event: type[E1], other: type[E2], third: type[E3], /) -> Listening[E1 | E2 | E3]: ...
    @overload
    def listen(self, /, *events: type[Event]) -> Listening[Event]: ...

    def listen(self, /, *events: type[Any]) -> Listening[Any]:
        """Call a function at each event of these types in this process: `@app.listen(ph.events.Ended)`.

        The function is called where the event happens, after the commit that it reports: in a thread that enqueues, on
        the loop of a worker, or in the thread or on the loop of the long job that committed a slice. So it must be
        quick, and must not wait or use the store. What it raises is logged once and has no other effect.

        Events are not stored; use `on` for durable notifications. Listeners hear the events of an isolated job in its
        child process. The supervisor of `posthorse worker` calls no listeners. Raises InvalidOption.
        """
        from posthorse.app.listeners import Listening  # here, because few applications listen

        return Listening(self, events)

    @overload
    def around(
        self, function: Callable[[RunningAttempt], AsyncIterator[None]], /
    ) -> Callable[[RunningAttempt], AsyncIterator[None]]: ...
    @overload
    def around(
        self, function: Callable[[RunningAttempt], Iterator[None]], /
    ) -> Callable[[RunningAttempt], Iterator[None]]: ...

    def around(self, function: Callable[[RunningAttempt], Any], /) -> Callable[[RunningAttempt], Any]:
        """Run a generator function around each job: `@app.around` above `def timed(attempt): …; yield; …`.

        The part before its `yield` runs before the job's code, in the same thread or task and the same context; the
        rest runs after it. The first one declared is the outermost.

        An error of the job is raised at the `yield` and propagates afterwards. An error of the middleware counts as an
        error of the job, and replaces the job's own. A stop, a cancellation, ph.Snooze, ph.Retry, ph.GiveUp and the
        loss of the store propagate in any case.

        A plain generator runs around sync and async jobs, and must not block, because on the loop other jobs would
        wait. An async generator runs around async jobs only. Isolated jobs run theirs in the child process. Raises
        InvalidOption.
        """
        self.registry.middleware.add_around(function)
        return function

    def around_enqueue(
        self, function: Callable[[Sequence[Submission]], Iterator[Sequence[Submission] | None]], /
    ) -> Callable[[Sequence[Submission]], Iterator[Sequence[Submission] | None]]:
        """Run a generator function around each call that enqueues: `@app.around_enqueue`.

        It receives all jobs of the call. It may raise to refuse them all, or yield them with other tags:
        `yield [job.tagged("vip") for job in jobs]`. An error of the call is raised at the `yield` and propagates
        afterwards. The first one declared is the outermost. It must not block. Raises InvalidOption.
        """
        self.registry.middleware.add_around_enqueue(function)
        return function

    def unlisten(self, listener: Callable[[Any], object], /) -> None:
        """Stop calling a function that `listen` registered; do nothing if there is none."""
        self.store.emitter.unsubscribe(listener)

    @takes(Place.QUEUE)
    def queue(self, name: str, **settings: Unpack[QueueOptions]) -> Queue:
        """Return the queue of that name; the settings given here are its defaults: `app.queue("mail", rate="100/s")`.

        The part `queues` of a file overrides them, and what is set live (`.set()`, `.pause()` …) overrides both. None
        leaves a setting as it is. This does not use the store. Raises InvalidOption.
        """
        checked_name(name, what="queue")
        layer = checked_layer(settings, queue=name)
        self.registry.queues.declare(name, {word: value for word, value in layer.items() if value is not None})
        self.gate.look_again()
        return Queue(self, name)

    def _declare(
        self, registered: Registered, function: Callable[..., object], names_queue: bool
    ) -> JobFunction[..., object, ..., object]:
        self.registry.add(registered)
        return JobFunction(self, registered, function)

    # ── enqueuing ────────────────────────────────────────────────────────────────────────────────────

    def enqueue_many(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """Store many jobs in one commit, all or none, and return their handles in the same order::

            app.enqueue_many([welcome.bind(user_id) for user_id in new_users])

        The jobs are durable when this returns. Calls made with `using(connection=…)` become part of that connection's
        transaction; all of them must then have the same one. Raises the errors of `Kind.enqueue`, but InvalidArgument
        and TooLarge are raised earlier, by `bind`.
        """
        connection = _connection_of(calls)
        if connection is None:
            warn_in_loop(self.store, *IN_WORDS)
            return drive(self._enqueue(calls))
        with self.store.joining(connection):
            return drive(self._enqueue(calls))

    async def aenqueue_many(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """Store many jobs without blocking the event loop; see `enqueue_many`. The connection may be sync or async."""
        connection = _connection_of(calls)
        if connection is None:
            return await adrive(self._enqueue(calls))
        async with self.store.ajoining(connection):
            return await adrive(self._enqueue(calls))

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    def get_job(self, job_id: str) -> Job[object]:
        """Return the handle of a job, without using the store. Raises InvalidOption for what cannot be an id.

        The id is looked up by the first method that needs it, which raises JobNotFound.
        """
        return Job(self, _checked_id(job_id))

    def jobs(self, wanted: str = "", **words: Unpack[Words]) -> Jobs:
        """Select jobs by a filter, to read or steer them together: `app.jobs("state:failed kind:mail*").retry()`.

        The filter is a text, keyword arguments, or both: `app.jobs("-tag:test", kind="mail*", age=">2h")`. Its words
        are in the documentation under Filters. This does not use the store. Raises InvalidOption.
        """
        return Jobs(self, make_filter(wanted, words))

    def figures(self, *, since: datetime | Duration = "1d", until: datetime | Duration = 0, by: By = "kind") -> Figures:
        """Read what happened within a time: `app.figures(since="1h", by="queue")`.

        since, until: aware datetimes, or how long ago: "1h", 90, a timedelta. By default the last day.
        by: what the rows are for: "kind", "queue", "tenant" (with the setting `tenant_figures`), "minute", "hour" or
            "day".

        Runners write figures every ten seconds, so the last moments are not complete. Where minutes were folded into
        hours and hours into days, a time counts as a whole if any of it lies within. Raises InvalidOption.
        """
        from posthorse.app.figures import figures_of  # here, because most processes that enqueue read no figures

        warn_in_loop(self.store, "figures()", "use `await ….afigures()`")
        return drive(figures_of(self, since, until, by))

    async def afigures(
        self, *, since: datetime | Duration = "1d", until: datetime | Duration = 0, by: By = "kind"
    ) -> Figures:
        """Read what happened within a time, without blocking the event loop; see `figures`."""
        from posthorse.app.figures import figures_of

        return await adrive(figures_of(self, since, until, by))

    # ── running ──────────────────────────────────────────────────────────────────────────────────────

    def worker(
        self,
        *,
        queues: Sequence[str] = (),
        concurrency: int = 10,
        labels: Mapping[str, str] | None = None,
        metrics: bool = False,
    ) -> EmbeddedWorker:
        """Make a worker that runs inside this process, for applications and tests: `with app.worker(): …`.

        queues: those that it serves; by default all that its labels fit.
        concurrency: how many jobs it runs at the same time.
        labels: what queues may require of it, such as `{"gpu": "yes"}`.
        metrics: whether it counts its jobs; see `worker.metrics`.

        It has no supervisor. So a job that holds the interpreter lock for longer than the lease loses its lease and is
        retried, and whatever the first run still does has no effect.
        """
        from posthorse.worker.embedded import (
            EmbeddedWorker,  # here, because most processes that enqueue run no worker
        )

        return EmbeddedWorker(
            self.store,
            self.registry,
            self.settings,
            queues=queues,
            concurrency=concurrency,
            labels=labels,
            measures=metrics,
        )

    def migrate(self) -> int:
        """Create or migrate the schema; return the number of steps taken.

        Run it when you deploy, before the new workers start; running it again does nothing. A SQLite store also
        migrates itself at its first use. Raises SchemaMismatch if a newer Posthorse made the schema, StoreUnreachable.
        """
        return self.store.migrate()

    def use_url(self, url: str) -> None:
        """Use another store from now on; existing handles then refer to the new one."""
        self.store.close()
        self.settings = msgspec.structs.replace(self.settings, url=url)
        self.origin = Origin(url, is_named=True, is_in_code=True, overruled=self.origin.overruled)
        self.store = Store(
            url,
            schema=self.settings.schema,
            clock=self.store.clock,
            tuning=self.store.tuning,
            timeout=self.settings.store_timeout,
            emitter=self.store.emitter,
        )
        self.gate = Admission(self.store, self.registry.queues)

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self.store.close()

    def _enqueue(self, calls: Sequence[Call[R]]) -> Verb[list[Job[R]]]:
        around, jobs = self.registry.middleware.around_enqueue, self._new_jobs(calls)
        if not around or not jobs:
            return self._submit(calls, jobs)
        from posthorse.app.enqueue_middleware import enqueue_around  # here, because few applications have middleware

        return enqueue_around(around, jobs, lambda jobs: self._submit(calls, jobs))

    def _submit(self, calls: Sequence[Call[R]], jobs: Sequence[NewJob]) -> Verb[list[Job[R]]]:
        if not jobs:
            return []
        patience = None
        while True:
            jobs, gauges, closed = terms = yield from step(self.gate.terms, self.gate.aterms, jobs)
            terms.raise_if_closed()
            lanes = yield from step(self.store.lanes, self.store.alanes, {job.lane for job in jobs})
            try:
                made = yield from commit(
                    self, enqueue(jobs, lanes, gauges=gauges, closed=closed, packing=self.registry.packing)
                )
            except QueueFull as full:
                patience = patience or self._patience(calls)
                yield from sleep(patience.pause(full))
            else:
                if self.store.emitter.submitted:
                    self._tell(jobs, made)
                return self._handles(calls, made)

    def _patience(self, calls: Sequence[Call[R]]) -> Patience:
        # Inside a transaction, changes by other processes would neither make room nor be visible.
        return Patience(0 if self.store.is_in_transaction else max(call.block for call in calls))

    def _new_jobs(self, calls: Sequence[Call[R]]) -> Sequence[NewJob]:
        for call in calls:
            if call.app is not self:
                raise InvalidOption(f"{call.template.lane.kind!r} belongs to another application")
        fresh = ids.new_ids(len(calls))
        return [msgspec.structs.replace(call.template, id=job_id) for call, job_id in zip(calls, fresh, strict=True)]

    def _handles(self, calls: Sequence[Call[R]], submitted: Sequence[Submitted]) -> list[Job[R]]:
        return [Job(self, one.id, one.created) for _, one in zip(calls, submitted, strict=True)]

    def _tell(self, jobs: Sequence[NewJob], submitted: Sequence[Submitted]) -> None:
        created = [
            SubmittedJob(job=job.id, kind=job.lane.kind, queue=job.lane.queue, tenant=job.tenant)
            for job, (_, is_created) in zip(jobs, submitted, strict=True)
            if is_created
        ]
        if created:
            self.store.emit_once_committed(SubmittedEvent(jobs=created))


def _checked_id(value: object) -> str:
    if isinstance(value, str) and ids.is_id(value.lower()):
        return value.lower()
    raise InvalidOption(f"{short(value)} is not a job id; ids look like 01936f5e-7c1a-7d2b-8e3f-0123456789ab")


def _connection_of(calls: Sequence[Call[R]]) -> UserConnection | None:
    if not isinstance(calls, list | tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            f"enqueue_many takes a list of calls, not {short(calls)}; bind the arguments: [report.bind(…)]"
        )
    for call in calls:
        if not isinstance(call, Call):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"enqueue_many takes calls, not {short(call)}; bind the arguments: report.bind(…)")
    first = calls[0].connection if calls else None
    if any(call.connection is not first for call in calls):
        raise InvalidOption(
            "these calls name different connections, but are stored all or none; give each the same connection, or "
            "enqueue them apart"
        )
    return first
