"""The kit: points applications to a fresh store for one test, and holds what the test does with it.

It replaces no part of Posthorse. The store is a real one, and jobs pass through the parts of a real worker.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, ParamSpec, Self, TypeVar

import msgspec

from posthorse import ids
from posthorse.app.client import Posthorse
from posthorse.app.kind import Kind
from posthorse.app.store_origin import Origin
from posthorse.app.verbs import Verb, step
from posthorse.clock import Clock
from posthorse.errors import InvalidCall, InvalidOption
from posthorse.rules.events import Submitted
from posthorse.rules.settings import Settings
from posthorse.rules.values.type_mismatch import short
from posthorse.store.admission import Admission
from posthorse.store.blocking import refuse_in_loop
from posthorse.store.connections import UserConnection
from posthorse.store.operations.schedules import declare
from posthorse.store.patience import is_in_loop
from posthorse.store.store import Store
from posthorse.testing.attempts import Drained
from posthorse.testing.caller_thread import CallerThread
from posthorse.testing.clock import FakeClock, StandingClock, begin_at
from posthorse.testing.django_commits import DjangoCommits, is_django
from posthorse.testing.draining import drain
from posthorse.testing.enqueued import Enqueued, Expected, check_none, enqueued_in, find
from posthorse.testing.observing import Observing
from posthorse.testing.overrides import Override, Overrides
from posthorse.testing.stores import DirectStore, for_tests, fresh_store
from posthorse.worker.running.execution import FromThread
from posthorse.worker.running.threads import Threads

P = ParamSpec("P")
R = TypeVar("R")


class _Place(NamedTuple):
    """The store that an application uses, with what depends on it."""

    settings: Settings
    origin: Origin
    store: Store
    gate: Admission


class Kit:
    """A fresh store for applications, from entering its block to leaving it; `pt.kit(app)` makes it.

    ::

        with pt.kit(app) as kit:
            signup("eva")
            kit.assert_enqueued(welcome, user_id=7)
            assert kit.drain().completed == 1
    """

    def __init__(
        self,
        apps: Sequence[Posthorse],
        *,
        url: str | None = None,
        now: datetime | None = None,
        inline: bool = False,
    ) -> None:
        if not apps:
            raise InvalidOption("a kit needs an application: pt.kit(app)")
        for app in apps:
            if not isinstance(app, Posthorse):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidOption(f"pt.kit takes applications, not {short(app)}; give it what ph.Posthorse() made")
        self._apps = tuple(dict.fromkeys(apps))
        self._url = url
        self._clock: Clock = Clock() if url is not None and not url.startswith("sqlite") else StandingClock()
        if now is not None:
            begin_at(self._clock, now)
        self.clock = FakeClock(self._clock, self._declare_schedules, self._wake)
        """The clock of the test: `kit.clock.advance("3d")`, `kit.clock.now`."""
        self._declared: set[tuple[int, str]] = set()
        self._before: dict[Posthorse, _Place] = {}
        self._opened = ExitStack()
        self._begins_inline = inline
        self._inline = 0
        """How many blocks of `inline` are open."""
        self._commits = DjangoCommits()
        self._observing = Observing()
        self._overrides = Overrides(self._apps)
        self.last_drained: Drained | None = None
        """What the last drain did; the plugin for pytest shows it when a test fails."""

    # ── from the beginning to the end of a test ──────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        if self._before:
            raise InvalidCall("this kit is in use; make another one with pt.kit(app)")
        with ExitStack() as opening:
            opening.enter_context(ids.following(lambda: self._clock.now() * 1000))
            stores: dict[str, str] = {}
            for app in self._apps:
                own = app.settings.url
                if own not in stores:
                    stores[own] = self._url or opening.enter_context(fresh_store())
                opening.enter_context(self._pointed_to(app, stores[own]))
            if self._begins_inline:
                opening.enter_context(self.inline())
            self._observing.watch(self._apps)
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._overrides.close()
        self._observing.forget()
        self._opened.close()

    @property
    def app(self) -> Posthorse:
        """The application, or the first one of several."""
        return self._apps[0]

    # ── running jobs ─────────────────────────────────────────────────────────────────────────────────

    def drain(self, *, due: bool = False, at_most: int | None = None, raise_errors: bool = True) -> Drained:
        """Run what may run now, in this thread, and return what became of it::

            assert posthorse.drain().completed == 1

        Jobs that these jobs enqueue run as well, and so do those of schedules whose time has come. Nothing sleeps: a
        job whose time has not come, or that waits for another attempt, is left, and `left` says why.

        due: let time leap to the next job that waits for a time, as long as there is one. Schedules alone make no time
            leap.
        at_most: how many attempts to run. Without it, 1,000; if there are more, InvalidCall is raised.
        raise_errors: raise the first error that a job raised, as it was raised, once the drain is over. An error counts
            if no later attempt of its job made up for it. ph.Retry does not count.

        In a coroutine await `adrain`: this raises InvalidCall inside a running event loop.
        """
        __tracebackhide__ = True
        refuse_in_loop("drain()", "write `await posthorse.adrain()`")
        self._prepare()
        calls = CallerThread[FromThread]()
        notified = self._observing.by_app
        done = drain(self._apps, self._clock, calls, due=due, at_most=at_most, observers=notified)
        drained, attempts = calls.drive(done)
        self.last_drained = drained
        if raise_errors:
            attempts.raise_first_error(drained.left)
        return drained

    async def adrain(self, *, due: bool = False, at_most: int | None = None, raise_errors: bool = True) -> Drained:
        """Do the same as `drain`, in a coroutine: async jobs run on this event loop, plain functions in a thread."""
        __tracebackhide__ = True
        self._prepare()
        calls = Threads[FromThread](1)
        notified = self._observing.by_app
        drained, attempts = await drain(self._apps, self._clock, calls, due=due, at_most=at_most, observers=notified)
        self.last_drained = drained
        if raise_errors:
            attempts.raise_first_error(drained.left)
        return drained

    @contextmanager
    def inline(self) -> Iterator[Self]:
        """Run what is enqueued inside the block before the call that enqueues it returns.

        The job is stored and claimed as usual, so its result, its attempts and its limits are real. An error of the job
        is raised by that call. A job that may not run yet, because of its time or a limit, waits for a drain. Inside
        of a transaction a job runs after the commit: at the next call that enqueues, or the next drain.
        """
        hears_no_more = [app.store.emitter.subscribe(lambda _: None, Submitted) for app in self._apps]
        self._inline += 1  # with a listener, no call takes the short way past the kit
        try:
            yield self
        finally:
            self._inline -= 1
            for stop in hears_no_more:
                stop()

    def override(self, provider: Callable[..., object], replacement: Callable[..., object]) -> Override:
        """Replace the provider of a resource until the end of the test, or of a `with` block::

            posthorse.override(database, lambda: fake)
            with posthorse.override(database, broken_database):
                ...

        Every job that begins meanwhile gets what the replacement makes, for itself or for the process, also where
        other providers take the resource. Of two replacements of one provider the later one counts.

        provider: as `ph.depends` names it.
        replacement: any provider, plain or async: a function, class, generator function or `lambda`. It may take
            resources itself; where it takes the provider that it replaces, it gets what that makes.

        Raises InvalidOption if no job takes the provider, or the replacement cannot be one, and InvalidCall outside of
        the block of the kit. A worker of the test runs isolated jobs in other processes, which know of no replacement;
        a drain runs them in this one.
        """
        if not self._before:
            raise InvalidCall("this kit is not in use, so nothing would undo the replacement; write `with pt.kit(app)`")
        return self._overrides.add(provider, replacement)

    # ── what was enqueued ────────────────────────────────────────────────────────────────────────────

    def enqueued(self, kind: Kind[..., object] | str | None = None) -> list[Enqueued]:
        """Return the jobs that were enqueued in this test, the oldest first, whatever became of them.

        kind: only those of this kind, given as its function or its name.
        """
        self._commits.flush()
        return enqueued_in(self._apps, None if kind is None else Expected.of(self._apps, kind))

    def assert_enqueued(
        self, kind: Kind[..., object] | str, /, *args: object, times: int | None = None, **wanted: object
    ) -> Enqueued:
        """Check that a job was enqueued, and return it, the oldest one if there are several::

            posthorse.assert_enqueued(welcome, user_id=7, queue="mail")

        Arguments are those of the function; the ones that are not given may have any value. Other words are options of
        the job: queue, priority, tenant, tags (all of them), key, metadata (these items), delay, run_at, state. If a
        parameter of the function has
        such a name, the word means the argument.

        times: how many jobs must match; by default one or more.

        Raises AssertionError, which shows the nearest jobs.
        """
        __tracebackhide__ = True
        self._commits.flush()
        return find(self._apps, Expected.of(self._apps, kind, args, wanted), times=times)

    def assert_not_enqueued(
        self, kind: Kind[..., object] | str | None = None, /, *args: object, **wanted: object
    ) -> None:
        """Check that no such job was enqueued; without a kind, that nothing was. Raises AssertionError."""
        __tracebackhide__ = True
        self._commits.flush()
        check_none(self._apps, None if kind is None else Expected.of(self._apps, kind, args, wanted))

    # ── for the applications of the kit ──────────────────────────────────────────────────────────────

    @property
    def is_inline(self) -> bool:
        """Whether jobs run as soon as they are enqueued."""
        return self._inline > 0

    def postpones(self, connection: UserConnection, store: Callable[[], object]) -> bool:
        """Store the jobs of a transaction of Django after its commit, because its database is not the store's."""
        if self._url is not None or not is_django(connection):
            return False
        self._commits.call_after_commit(connection, store)
        return True

    def run_inline(self) -> None:
        """Run what may run now; raise the first error."""
        __tracebackhide__ = True
        if is_in_loop():  # which this call blocks, as in production, so the jobs need another one
            with ThreadPoolExecutor(1) as thread:
                thread.submit(contextvars.copy_context().run, self.run_inline).result()
            return
        calls = CallerThread[FromThread]()
        done = drain(self._apps, self._clock, calls, due=False, at_most=None, maintains=False)
        drained, attempts = calls.drive(done)
        attempts.raise_first_error(drained.left)

    async def arun_inline(self) -> None:
        """Do the same as `run_inline`, in a coroutine."""
        __tracebackhide__ = True
        calls = Threads[FromThread](1)
        drained, attempts = await drain(self._apps, self._clock, calls, due=False, at_most=None, maintains=False)
        attempts.raise_first_error(drained.left)

    # ── private ──────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _pointed_to(self, app: Posthorse, url: str) -> Iterator[None]:
        """Let an application use another store, and put its own back afterwards."""
        before = _Place(app.settings, app.origin, app.store, app.gate)
        app.settings = msgspec.structs.replace(app.settings, url=url)
        app.origin = Origin(url, is_named=True, is_in_code=True)
        app.store = DirectStore(
            url,
            schema=app.settings.schema,
            clock=self._clock,
            tuning=for_tests(before.store.tuning),
            timeout=app.settings.store_timeout,
            emitter=before.store.emitter,
        )
        app.gate = Admission(app.store, app.registry.queues)
        app.interception = _Interception(self, app)
        self._before[app] = before
        try:
            yield
        finally:
            app.interception = None
            app.store.close()
            app.settings, app.origin, app.store, app.gate = self._before.pop(app)

    def _prepare(self) -> None:
        self._declare_schedules()
        if self._before:
            self._observing.watch(self._apps)
        self._commits.flush()

    def _declare_schedules(self) -> None:
        """Store the schedules, as workers do when they start: their times count from the beginning of the test."""
        for app in self._apps if self._before else ():
            fresh = [one for one in app.registry.schedules.values() if (id(app), one.name) not in self._declared]
            if fresh:
                app.store.run(declare(fresh))
                self._declared |= {(id(app), one.name) for one in fresh}

    def _wake(self) -> None:
        """Wake a worker that the test may have started, because its own timers do not know this clock."""
        for app in self._apps:
            for listener in tuple(app.store.after_commit):
                listener()


class _Interception:
    """What a kit does about calls that enqueue, for one of its applications."""

    def __init__(self, kit: Kit, app: Posthorse) -> None:
        self._kit = kit
        self._app = app

    def postpones(self, connection: UserConnection, store: Callable[[], object]) -> bool:
        return self._kit.postpones(connection, store)

    def after_enqueue(self) -> Verb[None]:
        if self._kit.is_inline and not self._app.store.is_in_transaction:
            yield from step(self._kit.run_inline, self._kit.arun_inline)


def kit(*apps: Posthorse, url: str | None = None, now: datetime | None = None, inline: bool = False) -> Kit:
    """Return a kit for these applications, to be used in a `with` statement.

    Applications that share a store share the fresh one. url: the store to use in place of a fresh one; it should be
    empty. now: when the test begins, on the clock of the store. inline: whether jobs run as soon as they are enqueued;
    see `Kit.inline`.
    """
    return Kit(apps, url=url, now=now, inline=inline)
