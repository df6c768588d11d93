"""What users hook into an application: observers, listeners and middleware."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack, overload

from posthorse.app.client_base import ClientBase
from posthorse.app.option_signatures import takes
from posthorse.app.surrounding import TakesMiddleware
from posthorse.errors import InvalidOption
from posthorse.rules.condition_events import DeadLettersGrew, JobBehind, QueueLate, ScheduleMissed
from posthorse.rules.durations import Duration
from posthorse.rules.options.given import check_names_of_on
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.store_events import WorkerLost

if TYPE_CHECKING:
    from posthorse.app.event_observing import ObservingEvents
    from posthorse.app.listeners import Listening
    from posthorse.app.observers import ObserverDecorator
    from posthorse.app.option_types import ObserverOptions
    from posthorse.rules.events import Heard
    from posthorse.rules.job_events import StreamEvent
    from posthorse.rules.middleware import AroundEnqueue, AroundJob

R = TypeVar("R")
J1 = TypeVar("J1", bound="StreamEvent")
C1 = TypeVar("C1", WorkerLost, ScheduleMissed)
Names = str | Sequence[str]
EventClasses: TypeAlias = "type[StreamEvent] | UnionType | Sequence[type[StreamEvent] | UnionType]"
E1 = TypeVar("E1", bound="Heard")
E2 = TypeVar("E2", bound="Heard")
E3 = TypeVar("E3", bound="Heard")


class TakesHooks(ClientBase, TakesMiddleware):
    """An application: functions of the user are called when something happens, or around it."""

    @overload
    def on(
        self,
        event: type[DeadLettersGrew],
        /,
        *,
        queue: str | None = None,
        by: int | None = None,
        within: Duration | None = None,
        name: str | None = None,
        **options: Unpack[ObserverOptions],
    ) -> ObserverDecorator[DeadLettersGrew]: ...
    @overload
    def on(
        self,
        event: type[QueueLate],
        /,
        *,
        queue: Names | None = None,
        after: Duration = "5m",
        resolved: bool = False,
        name: str | None = None,
        **options: Unpack[ObserverOptions],
    ) -> ObserverDecorator[QueueLate]: ...
    @overload
    def on(
        self,
        event: type[JobBehind],
        /,
        *,
        within: Duration,
        kind: Names | None = None,
        queue: Names | None = None,
        resolved: bool = False,
        name: str | None = None,
        **options: Unpack[ObserverOptions],
    ) -> ObserverDecorator[JobBehind]: ...
    @overload
    def on(  # type: ignore[overload-overlap]  # a lost worker alone is a condition, and in a union an event
        self, event: type[C1], /, *, name: str | None = None, **options: Unpack[ObserverOptions]
    ) -> ObserverDecorator[C1]: ...
    @overload
    def on(
        self,
        event: type[J1],
        /,
        *,
        kind: Names | None = None,
        queue: Names | None = None,
        name: str | None = None,
        **options: Unpack[ObserverOptions],
    ) -> ObservingEvents[J1]: ...
    @overload
    def on(
        self,
        event: type[J1],
        /,
        *,
        kind: Names | None = None,
        queue: Names | None = None,
        batch: Duration,
        name: str | None = None,
        **options: Unpack[ObserverOptions],
    ) -> ObservingEvents[list[J1]]: ...
    @overload
    def on(
        self,
        event: EventClasses,
        /,
        *events: EventClasses,
        kind: Names | None = None,
        queue: Names | None = None,
        batch: Duration | None = None,
        name: str | None = None,
        **options: Unpack[ObserverOptions],
    ) -> ObservingEvents[Any]: ...

    @takes(OptionPlace.ON)
    def on(
        self,
        event: Any,
        /,
        *events: Any,
        kind: Names | None = None,
        queue: Names | None = None,
        batch: Duration | None = None,
        by: int | None = None,
        after: Duration | None = None,
        within: Duration | None = None,
        resolved: bool | None = None,
        name: str | None = None,
        **options: Unpack[ObserverOptions],
    ) -> Any:
        """Notify a function of what happens, durably::

            @app.on(ph.events.Completed, kind="render")
            def shelve(event: ph.events.Completed) -> None: ...

        The function becomes a kind of job in the queue `posthorse`, with the event as its argument. So the notification
        is retried, and becomes a dead letter if all attempts fail.

        event, events: classes of `ph.events`, unions or lists of them; `ph.events.JobEvent` for all that happens to
        jobs, `ph.events.StoreEvent` for what happens to queues, schedules and workers. Each event that is committed
        once a worker knows of the observer is handed over exactly once.
        kind, queue: the only kinds and queues of jobs, one or several. Observers hear of jobs of the queue `posthorse`
        only if they name it.
        batch: gather events for so long, and call the function with a list of them, 1,000 at most.
        name: the name of the kind; by default that of the function.

        Conditions stand alone; workers look for them every ten seconds. `ph.events.DeadLettersGrew` takes `queue`, `by`
        and `within`: it comes once for all jobs of a queue of which so many (10) failed for good within that time
        ("5m"), and again at most once in each such time. `ph.events.QueueLate` takes `queue` and `after` ("5m"): the
        oldest job of a queue waits for longer. `ph.events.JobBehind` takes `within`, `kind` and `queue`: a running job
        will not be over so long after it was enqueued. `ph.events.WorkerLost` and `ph.events.ScheduleMissed` take none.
        Each comes once, and again only after the condition was over; `resolved=True` notifies of that, too.

        The other options are those of jobs. Raises DuplicateKind, InvalidOption.
        """
        check_names_of_on(options, ("kind", "queue", "batch", "by", "after", "within", "resolved", "name"))
        if event is DeadLettersGrew:
            from posthorse.app.observers import observing_dead_letters  # here, because few applications observe

            rest = {
                "kind": kind,
                "batch": batch,
                "after": after,
                "resolved": resolved,
                "a second event": events or None,
            }
            return observing_dead_letters(
                self._app, queue=queue, by=by, within=within, name=name, rest=rest, options=options
            )
        if event in (QueueLate, WorkerLost, ScheduleMissed, JobBehind):
            from posthorse.app.condition_observing import observing_condition

            return observing_condition(
                self._app,
                event,
                kind=kind,
                queue=queue,
                after=after,
                within=within,
                resolved=resolved,
                name=name,
                rest={"batch": batch, "by": by, "a second event": events or None},
                options=options,
            )
        from posthorse.app.event_observing import ObservingEvents

        if not (by is after is within is resolved is None):
            raise InvalidOption(
                "by, after, within and resolved belong to conditions such as ph.events.QueueLate; events of jobs come "
                "each, or in a batch"
            )
        return ObservingEvents[Any](
            self._app, (event, *events), kind=kind, queue=queue, batch=batch, name=name, options=options
        )

    @overload
    def listen(self, event: type[E1], /) -> Listening[E1]: ...
    @overload
    def listen(self, event: type[E1], other: type[E2], /) -> Listening[E1 | E2]: ...
    @overload
    def listen(self, event: type[E1], other: type[E2], third: type[E3], /) -> Listening[E1 | E2 | E3]: ...
    @overload
    def listen(self, /, *events: type[Heard]) -> Listening[Heard]: ...

    def listen(self, /, *events: type[Any]) -> Listening[Any]:
        """Call a function at each event of these types in this process: `@app.listen(ph.events.Ended)`.

        The function is called where the event happens, after the commit that it reports: in a thread that enqueues, on
        the loop of a worker, or in the thread or on the loop of the long job that committed a slice. So it must be
        quick, and must not wait or use the store. What it raises is logged once and has no other effect.

        Events are not stored; use `on` for durable notifications. Listeners hear the events of an isolated job in its
        child process. The supervisor of `posthorse worker` calls no listeners. Raises InvalidOption.
        """
        from posthorse.app.listeners import Listening  # here, because few applications listen

        return Listening(self._app, events)

    def unlisten(self, listener: Callable[[Any], object], /) -> None:
        """Stop calling a function that `listen` registered; do nothing if there is none."""
        self.store.emitter.unsubscribe(listener)

    def on_start(self, function: Callable[[], R], /) -> Callable[[], R]:
        """Call a function in each process that runs jobs, before its first job: `@app.on_start`.

        These are runner processes, embedded workers, `posthorse run` and the child processes of isolated jobs; not the
        supervisor, and no process that only enqueues. The functions run in the order of their declaration, async ones
        on the event loop of the worker. If one raises, the process takes no jobs: a runner ends, and the worker ends
        after three such starts; `app.worker()` raises the error; an isolated job waits. In a runner they must all be
        done within the setting `stall`.

        For something that also ends, such as a pool of connections, `ph.depends(…, scope="process")` is simpler. Raises
        InvalidOption.
        """
        self.registry.process_hooks.add_on_start(function)
        return function

    def on_stop(self, function: Callable[[], R], /) -> Callable[[], R]:
        """Call a function in each process that runs jobs, after its last job: `@app.on_stop`.

        It is called when a worker drains or its runner is replaced, but not in a process that is killed, whose lease is
        lost, or in which a function of `on_start` failed. The functions run in reverse order, async ones on the event
        loop of the worker, others in a thread; before them, resources of the process are closed, and after them,
        functions registered with `atexit` run. Each may take 3 s and all together 5 s. Errors are logged and do not
        stop the end. Raises InvalidOption.
        """
        self.registry.process_hooks.add_on_stop(function)
        return function

    def _add_around(self, function: AroundJob) -> None:
        self.registry.middleware.add_around(function)

    def _add_around_enqueue(self, function: AroundEnqueue) -> None:
        self.registry.middleware.add_around_enqueue(function)
