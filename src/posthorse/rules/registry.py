"""The registry: the kinds of an application, with their names and options, and its declarations of queues."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from posthorse.errors import DuplicateKind, InvalidOption, UnknownKind
from posthorse.rules.arguments.signature import Signature
from posthorse.rules.arguments.unstorable_results import never_stored
from posthorse.rules.job import DEFAULT_QUEUE, checked_name
from posthorse.rules.limits import Concurrency, Rate, Sequence
from posthorse.rules.middleware import Middleware
from posthorse.rules.namesakes import place_of
from posthorse.rules.options.given import checked_of_job
from posthorse.rules.packing import PLAIN
from posthorse.rules.process_hooks import ProcessHooks
from posthorse.rules.queues import DeclaredQueues
from posthorse.rules.resources import Resources
from posthorse.rules.retention import Keep
from posthorse.rules.retry import Backoff, BackoffFunction

if TYPE_CHECKING:
    from posthorse.rules.conditions import ConditionObserver
    from posthorse.rules.growth import Observer
    from posthorse.rules.observers import EventObserver
    from posthorse.rules.schedules import Declared
    from posthorse.rules.stock import StockDeclaration
from posthorse.rules.unique import Unique, check_names
from posthorse.rules.values.type_mismatch import short

_PLAIN = Backoff()


class KindOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a kind; `using` may change some of them for one job."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    tags: tuple[str, ...] = ()
    max_attempts: int = 5
    max_crashes: int = 3
    backoff: Backoff = Backoff()
    backoff_function: BackoffFunction | None = None
    retry_on: tuple[type[BaseException], ...] | None = None
    give_up_on: tuple[type[BaseException], ...] = ()
    timeout: float | None = None
    expires: float | None = None
    isolation: str | None = None
    kill_after: float | None = None
    max_memory: int | None = None
    trace: str = "child"
    rate: Rate | None = None
    concurrency: Concurrency | None = None
    sequence: Sequence | None = None
    unique: Unique | None = None
    shards: int | None = None
    keep: Keep | None = None
    logs: bool | None = None
    log_level: int | None = None
    capture_print: bool | None = None
    aliases: tuple[str, ...] = ()


class Registered(msgspec.Struct, frozen=True):
    """A function registered as a kind."""

    kind: str
    function: Callable[..., object]
    signature: Signature
    options: KindOptions
    is_async: bool
    included_in: str | None = None
    """The module that included its bundle in the application."""
    resources: Resources | None = None
    """What the worker passes beside the arguments; None if the function takes none."""

    @property
    def needs_context(self) -> bool:
        """Whether the function or a provider of its resources takes the job's context."""
        return self.signature.wants_context or (self.resources is not None and self.resources.wants_context)

    @property
    def is_isolated(self) -> bool:
        """Whether its jobs run in processes of their own."""
        return self.options.isolation is not None


class Registry:
    """Kinds by name; aliases let stored jobs run after a kind was renamed."""

    def __init__(self) -> None:
        self.queues = DeclaredQueues()
        self.middleware = Middleware()
        self.process_hooks = ProcessHooks()
        self.packing = PLAIN
        self._by_name: dict[str, Registered] = {}
        self.schedules: dict[str, Declared] = {}
        """The declared schedules, by name."""
        self.stocks: dict[str, StockDeclaration] = {}
        """The declared stocks, by name."""
        self.combiners: dict[str, Callable[..., object]] = {}
        """What joins the results of parts, by kind."""
        self.observers: dict[str, Observer] = {}
        """The kinds that are notified of dead letters, by name."""
        self.conditions: dict[str, ConditionObserver] = {}
        """Observers of conditions, by kind."""
        self.event_observers: dict[str, EventObserver] = {}
        """The kinds that are notified of what happens to jobs, by name."""

    def add(self, *kinds: Registered) -> None:
        """Enter kinds with their aliases, all or none. Raises DuplicateKind."""
        entered: dict[str, Registered] = {}
        for registered in kinds:
            names = (registered.kind, *registered.options.aliases)
            for name in names:
                other = self._by_name.get(name) or entered.get(name)
                if other is not None:
                    raise DuplicateKind(
                        f"the kind {name!r} is taken by {_place(other.function)}; give {_place(registered.function)} "
                        'another with @app.job(kind="…")'
                    )
            entered.update(dict.fromkeys(names, registered))
        self._by_name.update(entered)

    def add_combiner(self, kind: str, function: Callable[..., object]) -> None:
        """Enter what joins the results of parts of this kind. Raises InvalidOption."""
        check_combiner(kind, function, self.combiners.get(kind))
        self.combiners[kind] = function

    def remove(self, *kinds: Registered) -> None:
        """Take kinds and their aliases out again, with their middleware."""
        for kind in kinds:
            self.middleware.remove(kind.kind)
            self.combiners.pop(kind.kind, None)
        self._by_name = {name: kind for name, kind in self._by_name.items() if not any(kind is one for one in kinds)}

    def put(self, kind: Registered) -> None:
        """Put a kind in the place of the one with the same name, and of its aliases."""
        self._by_name.update(dict.fromkeys((kind.kind, *kind.options.aliases), kind))

    def __getitem__(self, kind: str) -> Registered:
        """Return the kind, by name or alias. Raises UnknownKind, which names the nearest."""
        try:
            return self._by_name[kind]
        except KeyError:
            near = difflib.get_close_matches(kind, self._by_name, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(sorted(self)) or 'none'}"
            raise UnknownKind(f"this application has no kind {kind!r}{hint}") from None

    def places(self) -> dict[str, str]:
        """Return where the functions of the kinds are defined, as `module:function`; omit those without a module."""
        return {kind: place for kind, one in sorted(self._by_name.items()) if (place := place_of(one.function))}

    def __contains__(self, kind: object) -> bool:
        return kind in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def register(
    function: Callable[..., object], *, kind: str | None, options: KindOptions, context_type: type
) -> Registered:
    """Make a function a kind. Raises InvalidOption if it cannot be one."""
    _check_is_function(function)
    name = checked_name(function.__name__ if kind is None else kind, what="kind")
    try:
        signature = Signature(function, kind=name, context_type=context_type)
    except (TypeError, ValueError) as error:
        raise InvalidOption(
            f"{_place(function)} does not tell which arguments it takes ({error}); wrap it in a def"
        ) from None
    resources = signature.plan_resources()
    _check_signature(function, signature)
    # Creating an awaitable may need the running loop, as for tasks and futures.
    is_async = inspect.iscoroutinefunction(function) or signature.returns_awaitable
    registered = Registered(name, function, signature, options, is_async, resources=resources)
    _check_can_be_killed(registered)
    _check_limits(registered)
    if options.unique is not None:
        check_names(options.unique, signature.names, kind=name)
    if options.timeout is not None:
        check_can_time_out(registered)
    if options.shards is not None:
        check_can_be_cut(registered)
    return registered


def _check_is_function(function: Callable[..., object]) -> None:
    if isinstance(function, classmethod):
        raise InvalidOption(
            f"{_place(cast('Any', function).__func__)} is a class method, and no worker could tell which class to call "
            "it on; declare a function that calls it"
        )
    if isinstance(function, staticmethod):
        raise InvalidOption(
            f"{_place(cast('Any', function).__func__)} is a static method already; write @staticmethod above @app.job"
        )
    if not (inspect.isroutine(function) and hasattr(function, "__name__")):
        raise InvalidOption(f"@app.job needs a function, not {short(function)}{_advice_on(function)}")
    check_has_no_yield(function)


def check_has_no_yield(function: Callable[..., object]) -> None:
    """Raise InvalidOption if a call would only make a generator."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidOption(
            f"{_place(function)} has a yield: a call would run nothing; let the job loop over ctx.slices(…) instead"
        )


def _advice_on(function: object) -> str:
    if hasattr(function, "__wrapped__"):
        return (
            "; put @app.job below the other decorators, next to the def, or hand it the function itself (.__wrapped__)"
        )
    return "; wrap it in a def" if callable(function) and not isinstance(function, type) else ""


def _check_signature(function: Callable[..., object], signature: Signature) -> None:
    first, owner = signature.first_name, function.__qualname__.rpartition(".")[0]
    is_in_class = bool(owner) and not owner.endswith("<locals>")
    if first in ("self", "cls") and is_in_class and not inspect.ismethod(function):
        raise InvalidOption(
            f"{_place(function)} is a method: a worker has no {owner} to call it on; declare a function that takes the "
            "key of what it works on, and let it call the method"
        )
    if (name := signature.misplaced_context) is not None:
        raise InvalidOption(
            f"{_place(function)} takes its context as {name!r}; the context comes first and by position: "
            f"def {function.__name__}({name}: ph.Context, …)"
        )
    if (complaint := never_stored(signature.result_type)) is not None:
        raise InvalidOption(
            f"{_place(function)} is annotated to return {complaint}, which has no form in JSON, so its jobs could "
            "never complete; return plain data, or the key to it"
        )


def check_can_time_out(registered: Registered) -> None:
    """Raise InvalidOption if a kind with a timeout has code that cannot be stopped."""
    if registered.is_async or registered.signature.wants_context:
        return
    if registered.is_isolated:
        raise InvalidOption(
            f"{registered.kind!r} cannot keep a timeout: it has no checkpoint at which an exception could be raised; "
            "use kill_after, which ends its process, or take ctx: ph.Context first and call ctx.checkpoint()"
        )
    if inspect.iscoroutinefunction(inspect.unwrap(registered.function)):
        raise InvalidOption(
            f"{registered.kind!r} cannot keep a timeout: the async function is wrapped in a plain one, which runs in a "
            "thread; make the wrapper async too"
        )
    raise InvalidOption(
        f"{registered.kind!r} cannot keep a timeout: it runs in a thread and has no checkpoint at which it could "
        "be stopped; make it async, or take ctx: ph.Context first and loop over ctx.slices(…) or call "
        'ctx.checkpoint(), or use isolation="process" with kill_after'
    )


def check_can_be_cut(registered: Registered) -> None:
    """Raise InvalidOption if a kind has no loop that could be cut into parts."""
    if not registered.signature.wants_context:
        raise InvalidOption(
            f"{registered.kind!r} cannot have shards: it takes no context, so it has no loop to cut; let it take "
            "ctx: ph.Context first, and loop over ctx.slices(…)"
        )


def check_combiner(kind: str, function: object, earlier: object) -> None:
    """Raise InvalidOption unless this can join the results of parts, and nothing else does so already."""
    if not callable(function):
        raise InvalidOption(f"@combine needs a function of the list of results, not {short(function)}")
    if earlier is not None:
        raise InvalidOption(f"{kind!r} has a combine function already, {short(earlier)}; a job has one result")


def make_kind_options(values: Mapping[str, object]) -> KindOptions:
    """Check the options of a decorator. Raises InvalidOption."""
    checked = checked_of_job(values)
    if not isinstance(checked.get("backoff", _PLAIN), Backoff):
        checked["backoff_function"] = checked.pop("backoff")
    return KindOptions(**checked)  # type: ignore[arg-type]  # each checked by name


def _check_limits(registered: Registered) -> None:
    """Check that partition keys of limits are parameters, and that a sequence's key does not look like one."""
    options, signature = registered.options, registered.signature
    for name in ("rate", "concurrency", "sequence"):
        per = getattr(getattr(options, name), "per", None)
        if isinstance(per, str) and per != "tenant" and not signature.takes(per):
            raise InvalidOption(
                f"{registered.kind!r}: {name} depends on {per!r}, which is not one of its parameters; name one of "
                'them, or "tenant", or give a function of the arguments'
            )
    if options.sequence is not None and options.sequence.key is not None and signature.takes(options.sequence.key):
        raise InvalidOption(
            f"{registered.kind!r}: sequence={options.sequence.key!r} is one key for all its jobs, and also the name of "
            f"a parameter; to use the parameter as the key, write sequence=ph.Sequence(per={options.sequence.key!r})"
        )


def _check_can_be_killed(registered: Registered) -> None:
    for name in ("kill_after", "max_memory"):
        if getattr(registered.options, name) is not None and not registered.is_isolated:
            where = "on the loop" if registered.is_async else "in a thread"
            raise InvalidOption(
                f"{registered.kind!r} cannot keep {name}: it runs {where} of a worker's process, which it shares with "
                'other jobs; add isolation="process"'
            )


def _place(function: Callable[..., object]) -> str:
    names = (getattr(function, "__module__", None), function.__qualname__)  # built-in functions may have no module
    return ".".join(name for name in names if name)
