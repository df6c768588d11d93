"""What is declared on an application: kinds, bundles of them, commands, schedules, stocks and queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from posthorse.app.call import Call
from posthorse.app.client_base import ClientBase
from posthorse.app.job_decorator import DeclaresJobs
from posthorse.app.job_function import JobFunction
from posthorse.app.option_signatures import takes
from posthorse.app.queues import Queue
from posthorse.rules.durations import Duration
from posthorse.rules.job import checked_name
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.queues import checked_layer
from posthorse.rules.registry import Registered

if TYPE_CHECKING:
    from posthorse.app.bundle import Bundle
    from posthorse.app.command_bus import CommandBus
    from posthorse.app.flow import Flow, TakesOne
    from posthorse.app.option_types import QueueOptions, ScheduleOptions
    from posthorse.app.schedules import Schedule
    from posthorse.app.stock import Stock
    from posthorse.app.stock_keys import KeyedStock

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class DeclaresWork(DeclaresJobs, ClientBase):
    """An application: what it has beside jobs is declared on it."""

    def include(self, bundle: Bundle, *, queue: str | None = None, prefix: str = "") -> None:
        """Make the kinds of a bundle kinds of this application.

        queue: for those of its kinds that name none. prefix: put before the name and the earlier names of each kind.
        Either all kinds are included or none. Raises DuplicateKind, InvalidOption.
        """
        from posthorse.app.bundle import include  # here, for few applications have bundles

        include(self._app, bundle, queue=queue, prefix=prefix)

    def exclude(self, bundle: Bundle) -> None:
        """Take the kinds of a bundle out again, so that its functions enqueue to another application.

        It is meant for tests that make an application each. Raises InvalidOption.
        """
        from posthorse.app.bundle import exclude

        exclude(self._app, bundle)

    @cached_property
    def bus(self) -> CommandBus:
        """The application's own command bus: `app.bus.register(SendMail, send_mail)`.

        It also knows the commands of every bus that the application includes.
        """
        from posthorse.app.command_bus import ApplicationBus  # here, because few applications have commands

        return ApplicationBus(self._app)

    def kind(self, function: JobFunction[P, R, Q, S]) -> JobFunction[P, R, Q, S]:
        """Return the kind that a function has in this application: `app.kind(welcome).enqueue(7)`.

        It is needed for functions of a bundle that several applications of this process include. Raises InvalidOption.
        """
        return function.kind_in(self._app)

    @takes(OptionPlace.SCHEDULE, defaults={"tz": "UTC", "misfire": "once", "overlap": "skip", "jitter": 0})
    def schedule(self, call: Call[R], **options: Unpack[ScheduleOptions]) -> Schedule[R]:
        """Let workers enqueue a call at certain times: `app.schedule(report.bind(), name="report", cron="0 3 * * *")`.

        Give one of cron, every and at. This does not use the store: workers store the schedule when they start. Options
        of the job belong to the call: `report.using(queue="slow").bind()`. Raises InvalidOption.
        """
        from posthorse.app.schedules import add_schedule  # here, because most processes that enqueue have no schedules

        return add_schedule(self._app, call, **options)

    def workflow(self, name: str, *, context: Mapping[str, object] | None = None) -> Flow:
        """Make a flow, work of many jobs that depend on each other: add its steps, then `enqueue` it.

        name: under it the flow is stored, found and counted, as a job is under its kind.
        context: a small JSON object that all its steps can read as `ctx.flow.context`.

        This does not use the store. Raises InvalidOption, InvalidArgument.
        """
        from posthorse.app.flow import make_flow  # here, because few processes make flows

        return make_flow(self._app, name, context)

    def chain(self, *calls: Call[Any], name: str = "chain") -> Flow:
        """Make a flow of calls that run one after the other: `app.chain(fetch.bind(1), send.bind(ph.previous))`.

        `ph.previous` stands for what the call before returned. name: that of the flow. Raises InvalidOption.
        """
        from posthorse.app.flow import make_chain  # here, because few processes make flows

        return make_chain(self._app, calls, name)

    @overload
    def stock(
        self,
        make: Call[R],
        /,
        *,
        level: int,
        name: str | None = None,
        refill_at: int | None = None,
        batch: int | None = None,
        ttl: Duration | None = None,
        cron: str | None = None,
        every: Duration | None = None,
        tz: str = "UTC",
    ) -> Stock[R]: ...
    @overload
    def stock(
        self,
        make: TakesOne[T, R],
        /,
        *,
        key: str,
        name: str | None = None,
        ttl: Duration | None = None,
        stale: Duration = 0,
        cron: str | None = None,
        every: Duration | None = None,
        tz: str = "UTC",
    ) -> KeyedStock[T, R]: ...

    def stock(
        self,
        make: Any,
        /,
        *,
        level: int | None = None,
        name: str | None = None,
        refill_at: int | None = None,
        batch: int | None = None,
        key: str | None = None,
        ttl: Duration | None = None,
        stale: Duration = 0,
        cron: str | None = None,
        every: Duration | None = None,
        tz: str = "UTC",
    ) -> Any:
        """Let workers make results ahead: `tickets = app.stock(make_ticket.bind(), level=200)`, then `tickets.take()`.

        make: the call that makes one result; with options for the jobs: `make_ticket.using(queue="slow").bind()`.
        level: how many results the shelf should have. refill_at: it is refilled when it has fewer; by default always.
        batch: how many are made at the same time at most.
        ttl: after that a result is stale, and is not given to anybody.
        cron, every, tz: times at which it is refilled to its level, whatever it has; with `refill_at=0` only then.
        name: under it the stock is stored and shown; by default that of its kind.

        With a key, a stock keeps one result for each, which is read by any number of callers:
        `prices = app.stock(price, key="symbol", ttl="10m")`, then `prices.get("ACME")`. make is then a kind, and key
        the name of its only parameter. stale: for how long after its ttl a result is given while a new one is made. At
        its times, results that were read since they were made are made anew.

        This does not use the store: workers store the stock when they start. Raises InvalidOption.
        """
        from posthorse.app.stock_declaring import (  # here, because few applications have stocks
            RefillTimes,
            declare_stock,
        )

        return declare_stock(
            self._app,
            make,
            name=name,
            level=level,
            refill_at=refill_at,
            batch=batch,
            key=key,
            ttl=ttl,
            stale=stale,
            times=RefillTimes(cron, every, tz),
        )

    @takes(OptionPlace.QUEUE)
    def queue(self, name: str, **settings: Unpack[QueueOptions]) -> Queue:
        """Return the queue of that name; the settings given here are its defaults: `app.queue("mail", rate="100/s")`.

        The part `queues` of a file overrides them, and what is set live (`.set()`, `.pause()` …) overrides both. None
        leaves a setting as it is. This does not use the store. Raises InvalidOption.
        """
        checked_name(name, what="queue")
        layer = checked_layer(settings, queue=name)
        self.registry.queues.declare(name, {word: value for word, value in layer.items() if value is not None})
        self.gate.look_again()
        return Queue(self._app, name)

    def _declare(
        self, registered: Registered, function: Callable[..., object], names_queue: bool
    ) -> JobFunction[..., object, ..., object]:
        self.registry.add(registered)
        return JobFunction(self._app, registered, function)
