"""The command bus: a bundle whose kinds are named by command classes, and found by the class of a command.

A command is stored as the arguments of a job of its kind. What happens to that job is not known here: it is a job like
any other.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, Unpack, cast, overload

from posthorse.app.bundle import Bundle, BundledFunction, Inclusion, calling_module
from posthorse.app.call import Call
from posthorse.app.commands import Command, Handler, handler_of
from posthorse.app.job_decorator import JobDecorator
from posthorse.app.kind import Kind
from posthorse.app.option_signatures import takes
from posthorse.errors import DuplicateKind, InvalidCall, UnknownCommand
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.values.type_mismatch import short
from posthorse.store.patience import is_in_loop

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.app.job import Job
    from posthorse.app.option_types import JobOptions, UsingOptions
    from posthorse.worker.checkpoints.context import Context

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Executes(Protocol[R_co]):
    """A command that is its own handler."""

    @property
    def execute(self) -> Callable[..., R_co]:
        """The method that does it."""
        ...


class Handles(Protocol[C_contra]):
    """A handler with a method `handle`."""

    @property
    def handle(self) -> HandlerFunction[C_contra]:
        """The method that is called with the command."""
        ...


HandlerFunction = Callable[[C], object] | Callable[["Context", C], object]
AnyHandler = HandlerFunction[C] | Handles[C] | Callable[[], HandlerFunction[C] | Handles[C]]


class EnqueuesCommands(ABC):
    """What makes jobs of commands: a bus, or a bus with other options."""

    @overload
    def bind(self, command: Executes[Coroutine[Any, Any, R]], /) -> Call[R]: ...
    @overload
    def bind(self, command: Command[R] | Executes[R], /) -> Call[R]: ...
    @overload
    def bind(self, command: object, /) -> Call[object]: ...

    def bind(self, command: object, /) -> Call[Any]:
        """Check a command and return a call to enqueue later, with `app.enqueue_many` or `app.schedule`.

        Raises UnknownCommand, InvalidArgument, which names the field, and TooLarge.
        """
        handler, kind = self._pair(command)
        return kind.bind(**handler.values_of(command))

    @overload
    def enqueue(self, command: Executes[Coroutine[Any, Any, R]], /) -> Job[R]: ...
    @overload
    def enqueue(self, command: Command[R] | Executes[R], /) -> Job[R]: ...
    @overload
    def enqueue(self, command: object, /) -> Job[object]: ...

    def enqueue(self, command: object, /) -> Job[Any]:
        """Store a command as a job, to be run by a worker, and return its handle; see `Kind.enqueue`.

        The fields are checked against their annotations. Raises what `Kind.enqueue` raises, and UnknownCommand.
        """
        return self.bind(command).enqueue()

    @overload
    async def aenqueue(self, command: Executes[Coroutine[Any, Any, R]], /) -> Job[R]: ...
    @overload
    async def aenqueue(self, command: Command[R] | Executes[R], /) -> Job[R]: ...
    @overload
    async def aenqueue(self, command: object, /) -> Job[object]: ...

    async def aenqueue(self, command: object, /) -> Job[Any]:
        """Store a command as a job without blocking the event loop; see `enqueue`."""
        return await self.bind(command).aenqueue()

    @abstractmethod
    def _pair(self, command: object) -> tuple[Handler, Kind[..., object]]:
        """Return the handler of a command and its kind. Raises UnknownCommand."""


class CommandBus(Bundle, EnqueuesCommands):
    """Commands and their handlers: register them, run commands here, or enqueue them for a worker.

    ::

        bus = ph.CommandBus()
        bus.register(SendMail, send_mail, max_attempts=3)
        app.include(bus)
        bus.handle(SendMail(to="ann@example.com"))
        job = bus.enqueue(SendMail(to="ann@example.com"))

    It is a bundle too: `@bus.job` declares kinds without a command. `app.bus` is the one of an application.
    """

    def __init__(self) -> None:
        super().__init__()
        self.commands: dict[type, RegisteredCommand] = {}

    @takes(OptionPlace.JOB)
    def register(
        self, command: type[C], handler: AnyHandler[C] | None = None, /, **options: Unpack[JobOptions]
    ) -> type[C]:
        """Give a command class its handler, and return the class; without a handler, its method `execute` is it.

        The handler is a function, an object with a method `handle` or `__call__`, or a class of such objects: one is
        made for each command. It takes the command, after `ctx: ph.Context` if it needs the context of its job.

        Jobs are stored under the name of the class, or `kind`. Raises DuplicateKind, InvalidOption.
        """
        made = handler_of(command, handler)
        if command in self.commands:
            raise DuplicateKind(f"{command.__name__} has a handler on this bus already; a command has one")
        function = made.as_function(calling_module(1))
        declared = JobDecorator(self._declare, options)(function)
        self.commands[command] = RegisteredCommand(made, cast("BundledFunction[..., object, ..., object]", declared))
        return command

    @takes(OptionPlace.USING)
    def using(self, /, **options: Unpack[UsingOptions]) -> CommandsUsing:
        """Return what enqueues commands with other options: `bus.using(delay="10m").enqueue(command)`.

        The options are those of `Kind.using`, which are checked with the command.
        """
        return CommandsUsing(self._pair, options)

    @overload
    def handle(self, command: Executes[Coroutine[Any, Any, R]], /) -> R: ...
    @overload
    def handle(self, command: Command[R] | Executes[R], /) -> R: ...
    @overload
    def handle(self, command: object, /) -> object: ...

    def handle(self, command: object, /) -> Any:
        """Run the handler of a command here and now, without a job, and return its result.

        The fields are checked as `enqueue` checks them. There are no retries, and no middleware runs, as when a job's
        function is called. An async handler runs on an event loop of its own; in a coroutine await `ahandle` instead.

        Raises UnknownCommand, InvalidArgument, InvalidCall, and what the handler raises.
        """
        handler = self._checked(command)
        if handler.is_async and is_in_loop():
            raise InvalidCall(
                f"the handler of {handler.command.__name__} is async, and handle() cannot run it inside a running "
                "event loop; await bus.ahandle(command)"
            )
        came = handler.run(command)
        return asyncio.run(_awaited(came)) if inspect.isawaitable(came) else came

    @overload
    async def ahandle(self, command: Executes[Coroutine[Any, Any, R]], /) -> R: ...
    @overload
    async def ahandle(self, command: Command[R] | Executes[R], /) -> R: ...
    @overload
    async def ahandle(self, command: object, /) -> object: ...

    async def ahandle(self, command: object, /) -> Any:
        """Run the handler of a command, an async one on this event loop and another in a thread; see `handle`."""
        handler = self._checked(command)
        came = handler.run(command) if handler.is_async else await asyncio.to_thread(handler.run, command)
        return await came if inspect.isawaitable(came) else came

    def _checked(self, command: object) -> Handler:
        """Return the handler of a command after checking its fields, so that `handle` takes what `enqueue` takes."""
        handler, function = self._found(command)
        function.declared.signature.encode((), handler.values_of(command))
        return handler

    def _pair(self, command: object) -> tuple[Handler, Kind[..., object]]:
        return self._found(command)

    def _found(self, command: object) -> RegisteredCommand:
        for bus in self._buses():
            if (registered := bus.commands.get(type(command))) is not None:
                return registered
        raise _unknown(command, [one.__name__ for bus in self._buses() for one in bus.commands])

    def _buses(self) -> Iterator[CommandBus]:
        yield self


class RegisteredCommand(NamedTuple):
    """A command on a bus."""

    handler: Handler
    function: BundledFunction[..., object, ..., object]


class ApplicationBus(CommandBus):
    """The bus `app.bus`: it knows its own commands, and those of the buses that the application includes."""

    def __init__(self, app: Posthorse) -> None:
        super().__init__()
        self._app = app
        # Without a module: a child process finds its commands where they were registered, like jobs of the application.
        self.inclusions.append(Inclusion(app, queue=None, prefix="", module=None))

    def _pair(self, command: object) -> tuple[Handler, Kind[..., object]]:
        handler, function = self._found(command)
        return handler, function.kind_in(self._app)

    def _buses(self) -> Iterator[CommandBus]:
        yield self
        for bundle in self._app.bundles:
            if isinstance(bundle, CommandBus):
                yield bundle


class CommandsUsing(EnqueuesCommands):
    """A bus with other options, as `using` returns it."""

    def __init__(self, pair: Callable[[object], tuple[Handler, Kind[..., object]]], options: UsingOptions) -> None:
        self._pair_on_bus = pair
        self._options = options

    def _pair(self, command: object) -> tuple[Handler, Kind[..., object]]:
        handler, kind = self._pair_on_bus(command)
        return handler, kind.using(**self._options)


async def _awaited(came: Awaitable[object]) -> object:
    return await came


def _unknown(command: object, known: list[str]) -> UnknownCommand:
    if isinstance(command, type):
        return UnknownCommand(f"{command.__name__} is a class; a bus takes an object of it: {command.__name__}(…)")
    name = type(command).__name__
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(known)) or 'none'}"
    return UnknownCommand(
        f"no handler is registered for {short(command)}: bus.register({name}, handler) is missing; {hint}"
    )
