"""Bundles: kinds that are declared without an application, and become kinds of each application that includes them.

A function of a bundle knows which applications include it. While there is exactly one in this process, the function
enqueues to that one; otherwise the caller chooses with `app.kind(function)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pickle import PicklingError
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar, Unpack

import msgspec

from posthorse.app.call import Call
from posthorse.app.job_decorator import DeclaresJobs
from posthorse.app.job_function import JobFunction
from posthorse.app.kind import Kind
from posthorse.app.pickling import is_found
from posthorse.errors import InvalidCall, InvalidOption
from posthorse.rules.job import checked_name
from posthorse.rules.middleware import check_around_enqueue, layer_around
from posthorse.rules.registry import Registered, check_combiner, register
from posthorse.rules.values.type_mismatch import short
from posthorse.worker.checkpoints.context import Context

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.app.job import Job
    from posthorse.app.option_types import UsingOptions
    from posthorse.rules.middleware import AroundEnqueue, AroundJob

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")


class Bundle(DeclaresJobs):
    """Kinds that applications include: `bundle = ph.Bundle()`, `@bundle.job`, `app.include(bundle)`.

    Options are those of `@app.job`. Kinds that are declared after `app.include` are included, too.
    """

    def __init__(self) -> None:
        self.functions: list[_AnyFunction] = []
        self.inclusions: list[Inclusion] = []

    def _declare(
        self, registered: Registered, function: Callable[..., object], names_queue: bool
    ) -> JobFunction[..., object, ..., object]:
        made: _AnyFunction = BundledFunction(registered, function, names_queue=names_queue)
        for inclusion in self.inclusions:
            _enter(inclusion, [made])
        self.functions.append(made)
        return made


class BundledFunction(JobFunction[P, R, Q, S], Generic[P, R, Q, S]):
    """A function of a bundle: called plainly, it runs; as a kind, it is that of the including application."""

    def __init__(self, registered: Registered, function: Callable[Q, S], *, names_queue: bool) -> None:
        self.declared = registered
        self.names_queue = names_queue
        self.kinds: dict[Posthorse, JobFunction[P, R, Q, S]] = {}
        self._around: list[AroundJob] = []
        self._around_enqueue: list[AroundEnqueue] = []
        self._combine: Callable[[list[Any]], Any] | None = None
        self._look_like(function, registered)

    @property
    def kind(self) -> str:
        return self._only().kind

    def bind(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        return self._only().bind(*args, **kwargs)

    def using(self, /, **options: Unpack[UsingOptions]) -> Kind[P, R]:
        return self._only().using(**options)

    def get_job(self, job_id: str) -> Job[R]:
        return self._only().get_job(job_id)

    def kind_in(self, app: Posthorse) -> JobFunction[P, R, Q, S]:
        if app not in self.kinds:
            raise InvalidOption(
                f"{self.__name__}() belongs to a bundle that this application does not include; app.include(…) it"
            )
        return self.kinds[app]

    def enter(self, app: Posthorse, registered: Registered) -> None:
        """Become a kind of an application that has it registered, with the middleware of this function."""
        self.kinds[app] = JobFunction(app, registered, self.__wrapped__)
        for around in self._around:
            app.registry.middleware.add_around(around, registered.kind)
        for around_enqueue in self._around_enqueue:
            app.registry.middleware.add_around_enqueue(around_enqueue, registered.kind)
        if self._combine is not None:
            app.registry.add_combiner(registered.kind, self._combine)

    def combine(self, function: Callable[[list[Any]], Any], /) -> Callable[[list[Any]], Any]:
        check_combiner(self.declared.kind, function, self._combine)
        self._combine = function
        for app, kind in self.kinds.items():
            app.registry.add_combiner(kind.kind, function)
        return function

    def _add_around(self, function: AroundJob) -> None:
        layer_around(function)
        self._around.append(function)
        for app, kind in self.kinds.items():
            app.registry.middleware.add_around(function, kind.kind)

    def _add_around_enqueue(self, function: AroundEnqueue) -> None:
        check_around_enqueue(function)
        self._around_enqueue.append(function)
        for app, kind in self.kinds.items():
            app.registry.middleware.add_around_enqueue(function, kind.kind)

    def __repr__(self) -> str:
        return f"<Kind {self.declared.kind!r} of a bundle>"

    def __reduce__(self) -> str | tuple[object, ...]:
        if is_found(self, self.__module__, self.__qualname__):
            return self.__qualname__
        raise PicklingError(
            f"{self.__name__}() belongs to a bundle and cannot be pickled, because no module holds it under its name; "
            "pickle app.kind(…) of it"
        )

    def _only(self) -> JobFunction[P, R, Q, S]:
        """Return its kind in the one application that includes it. Raises InvalidCall."""
        if len(self.kinds) == 1:
            return next(iter(self.kinds.values()))
        if not self.kinds:
            raise InvalidCall(
                f"{self.__name__}() belongs to a bundle that no application includes, so there is no store to use; "
                "call app.include(…) with the bundle first"
            )
        raise InvalidCall(
            f"{self.__name__}() belongs to a bundle that {len(self.kinds)} applications include; choose one: "
            f"app.kind({self.__name__}), or app.bus for a command"
        )


_AnyFunction = BundledFunction[..., object, ..., object]


class Inclusion(NamedTuple):
    """A bundle in an application."""

    app: Posthorse
    queue: str | None
    prefix: str
    module: str | None
    """What a child process imports; None if it finds each kind by the module of its function."""


def include(app: Posthorse, bundle: Bundle, *, queue: str | None, prefix: str) -> None:
    """Enter the kinds of a bundle in an application; see `app.include`."""
    if not isinstance(bundle, Bundle):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"app.include takes a ph.Bundle, not {short(bundle)}")
    if any(inclusion.app is app for inclusion in bundle.inclusions):
        raise InvalidOption("this application includes the bundle already; declare its kinds on another bundle, too")
    if queue is not None:
        checked_name(queue, what="queue")
    if prefix != "":
        checked_name(prefix, what="prefix")
    inclusion = Inclusion(app, queue, prefix, calling_module(2))  # of app.include
    _enter(inclusion, bundle.functions)
    bundle.inclusions.append(inclusion)
    app.bundles.append(bundle)


def calling_module(depth: int) -> str:
    """Return the module that called the caller (1), or what called that (2): a child process imports it."""
    frame = inspect.currentframe()
    for _ in range(depth + 1):
        frame = None if frame is None else frame.f_back
    return "__main__" if frame is None else frame.f_globals.get("__name__", "__main__")


def exclude(app: Posthorse, bundle: Bundle) -> None:
    """Take the kinds of a bundle out again; see `app.exclude`."""
    if not any(inclusion.app is app for inclusion in bundle.inclusions):
        raise InvalidOption("this application does not include the bundle")
    bundle.inclusions = [inclusion for inclusion in bundle.inclusions if inclusion.app is not app]
    app.bundles = [other for other in app.bundles if other is not bundle]
    app.registry.remove(*(app.registry[function.kinds.pop(app).kind] for function in bundle.functions))


def _enter(inclusion: Inclusion, functions: Sequence[_AnyFunction]) -> None:
    app = inclusion.app
    kinds = [_included(function, inclusion) for function in functions]
    app.registry.add(*kinds)
    for function, registered in zip(functions, kinds, strict=True):
        function.enter(app, registered)


def _included(function: _AnyFunction, inclusion: Inclusion) -> Registered:
    """Register the function anew, because its signature knows the name of the kind. Raises InvalidOption."""
    kind, options = function.declared.kind, function.declared.options
    aliases = tuple(checked_name(inclusion.prefix + alias, what="an alias") for alias in options.aliases)
    options = msgspec.structs.replace(options, aliases=aliases)
    if inclusion.queue is not None and not function.names_queue:
        options = msgspec.structs.replace(options, queue=inclusion.queue)
    registered = register(
        function.declared.function, kind=inclusion.prefix + kind, options=options, context_type=Context
    )
    return msgspec.structs.replace(registered, included_in=inclusion.module)
