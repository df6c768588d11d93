"""What is declared on an application: kinds, bundles of them, commands, schedules and queues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack

from posthorse.app.call import Call
from posthorse.app.job_decorator import DeclaresJobs
from posthorse.app.job_function import JobFunction
from posthorse.app.option_signatures import takes
from posthorse.app.parts import Parts
from posthorse.app.queues import Queue
from posthorse.rules.job import checked_name
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.queues import checked_layer
from posthorse.rules.registry import Registered

if TYPE_CHECKING:
    from posthorse.app.bundle import Bundle
    from posthorse.app.command_bus import CommandBus
    from posthorse.app.flow import Flow
    from posthorse.app.option_types import QueueOptions, ScheduleOptions
    from posthorse.app.schedules import Schedule

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class DeclaresWork(DeclaresJobs, Parts):
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
