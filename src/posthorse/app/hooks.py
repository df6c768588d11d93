"""What users hook into an application: observers, listeners and middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from posthorse.app.option_signatures import takes
from posthorse.app.parts import Parts
from posthorse.rules.durations import Duration
from posthorse.rules.options.given import check_names_of_on
from posthorse.rules.options.option import Place

if TYPE_CHECKING:
    from posthorse.app.listeners import Listening
    from posthorse.app.observers import Observing
    from posthorse.app.options import ObserverOptions
    from posthorse.rules.events import DeadLettersGrew, Heard
    from posthorse.rules.middleware import RunningAttempt, Submission

R = TypeVar("R")
E1 = TypeVar("E1", bound="Heard")
E2 = TypeVar("E2", bound="Heard")
E3 = TypeVar("E3", bound="Heard")


class TakesHooks(Parts):
    """An application: functions of the user are called when something happens, or around it."""

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
        return Observing(self._app, event, name=name, queue=queue, by=by, within=within, options=options)

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
        self.registry.life_cycle.add_on_start(function)
        return function

    def on_stop(self, function: Callable[[], R], /) -> Callable[[], R]:
        """Call a function in each process that runs jobs, after its last job: `@app.on_stop`.

        It is called when a worker drains or its runner is replaced, but not in a process that is killed, whose lease is
        lost, or in which a function of `on_start` failed. The functions run in reverse order, async ones on the event
        loop of the worker, others in a thread; before them, resources of the process are closed, and after them,
        functions registered with `atexit` run. Each may take 3 s and all together 5 s. Errors are logged and do not
        stop the end. Raises InvalidOption.
        """
        self.registry.life_cycle.add_on_stop(function)
        return function

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
