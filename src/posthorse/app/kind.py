"""A kind as its declaration returns it: callable like the function, with `bind`, `using` and `enqueue`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, Unpack, cast

import msgspec

from posthorse.app.call import Call, CallWithOutputs
from posthorse.app.changed_options import ChangedOptions, options_of, template_of, unique_of
from posthorse.app.enqueue_one import aenter, enter
from posthorse.app.option_signatures import takes
from posthorse.errors import InvalidArgument, InvalidOption
from posthorse.rules.arguments.outputs import NO_OUTPUTS, Filling, holds_outputs
from posthorse.rules.gates import requirement_of_sequence
from posthorse.rules.job import NewJob, Options
from posthorse.rules.keys import WHOLE_APP, Key
from posthorse.rules.metadata import OF_RUNNING_JOB, checked_metadata
from posthorse.rules.options.given import checked_of_using
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.other_systems import no_attribute
from posthorse.rules.partition import NOTHING, value_of
from posthorse.rules.registry import Registered, check_can_be_cut, check_can_time_out
from posthorse.rules.unique import Unique, check_names, fingerprint, identity_of, remembered
from posthorse.rules.values.type_mismatch import short

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.app.job import Job
    from posthorse.app.option_types import UsingOptions

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Kind(Generic[P, R]):
    """A kind of job: a function with its options, under the name by which its jobs are stored.

    `@app.job` makes it. `enqueue` stores a job, `using` changes options for single jobs, and `bind` makes calls for
    `app.enqueue_many` and `app.schedule`. `P` are the arguments of the job, without its context; `R` is its result.
    """

    def __init__(self, app: Posthorse, registered: Registered, changed: ChangedOptions | None = None) -> None:
        self._app = app
        self._registered = registered
        self._changed = changed or ChangedOptions()
        self._unique = unique_of(registered, self._changed)
        self._sequence = self._changed.sequence or registered.options.sequence
        self._options = options_of(self._changed, self._unique)
        self._template = template_of(registered, self._changed, self._options.encode())
        tells_apart = not (self._unique is None and self._sequence is None and self._changed.key is None)
        self._of_calls = app, registered.signature, self._template, self._options, self._changed, tells_apart
        """What each call is made of, read at once: with `__getattr__`, an attribute costs ten times as much."""

    @property
    def kind(self) -> str:
        """The name under which jobs of this kind are stored."""
        return self._registered.kind

    if not TYPE_CHECKING:  # a type checker that saw it would accept misspelt methods

        def __getattr__(self, name: str) -> object:
            raise no_attribute(self, repr(self), name)

    def bind(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Check arguments against the signature and return a call to enqueue later.

        Use it with `app.enqueue_many` and `app.schedule`. Raises InvalidArgument, which names the argument, and
        TooLarge.
        """
        app, signature, template, options, changed, tells_apart = self._of_calls
        outputs = NO_OUTPUTS
        try:
            arguments = signature.encode(args, kwargs)
        except InvalidArgument:
            if not holds_outputs((*args, *kwargs.values())):
                raise
            arguments, outputs = self._around_outputs(args, kwargs)
        job = msgspec.structs.replace(template, arguments=arguments)
        if (inherited := OF_RUNNING_JOB.get()) and app.settings.inherit_metadata:
            metadata = checked_metadata({**inherited, **(options.metadata or {})})
            options = msgspec.structs.replace(options, metadata=metadata)
            job = msgspec.structs.replace(job, options=options.encode())
        if tells_apart:
            job = self._told_apart(job, options, args, kwargs)
        if outputs:
            return CallWithOutputs(app, job, changed.connection, changed.block, outputs)
        return Call(app, job, changed.connection, changed.block)

    def _around_outputs(
        self, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> tuple[str, Mapping[str, Filling]]:
        """Encode a call with outputs; return the arguments without them, and the outputs by name."""
        arguments, outputs = self._registered.signature.encode_around_outputs(args, kwargs)
        own, declared = self._changed, self._registered.options
        if outputs and (self._unique is not None or own.key is not None):
            raise InvalidOption(
                f"{self.kind}() is unique or has a key, but {', '.join(outputs)} is known only when the job runs, so "
                "it cannot be compared with others; give the key to the flow, and using(unique=False) to the kind"
            )
        for name, limit in (
            ("rate", declared.rate),
            ("concurrency", declared.concurrency),
            ("sequence", self._sequence),
        ):
            per = getattr(limit, "per", None)
            if outputs and (per in outputs or callable(per)):
                raise InvalidOption(
                    f"the {name} of {self.kind!r} is divided by "
                    f"{f'its argument {per!r}' if isinstance(per, str) else 'a function of its arguments'}, and "
                    f"{', '.join(outputs)} is known only when the job runs; pass a value, or divide the limit by "
                    "another argument"
                )
        return arguments, outputs

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Store a job with these arguments, to be run by a worker, and return its handle.

        The arguments are those of the function, without its `ph.Context`. They are checked against its annotations and
        stored as JSON. The function itself is not called::

            job = welcome.enqueue(user_id=7)
            job.result(timeout="1m")

        The job is durable when this returns: a crash of this process, of a worker or of the machine does not lose it.
        Inside a transaction (`batch.transaction()`, or `using(connection=…)`) the job exists if and only if that
        transaction commits. If a key was given or the kind is unique, and such a job already exists, the handle names
        the earlier job, and `job.created` is False.

        Options such as a delay, a queue or a key come from the kind and from `using`::

            welcome.using(delay="10m", key="welcome-7").enqueue(user_id=7)

        In a coroutine await `aenqueue` instead: this call blocks the event loop, and warns. For many jobs at once use
        `app.enqueue_many`.

        Raises, and then stores nothing:

        InvalidArgument: an argument is missing, unknown, or of another type; the message names it.
        TooLarge: the arguments take more than 4 MiB as JSON.
        KeyConflict: the key was used before with other arguments.
        NotUnique: an equal job exists, and the kind's `Unique` says `on_conflict="raise"`.
        QueueFull: the queue has reached its `max_depth`, and `using(block=…)` did not wait long enough for room.
        QueueClosed: the queue is being drained.
        StoreUnreachable: the store did not respond within its `store_timeout`.

        OutcomeUnknown, a StoreError as well, is the exception: the reply to the commit was lost, and retrying did not
        show whether the job exists. With a key it is safe to enqueue again.
        """
        return enter(self.bind(*args, **kwargs))

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Store a job with these arguments without blocking the event loop; see `enqueue`."""
        return await aenter(self.bind(*args, **kwargs))

    @takes(OptionPlace.USING)
    def using(self, /, **options: Unpack[UsingOptions]) -> Kind[P, R]:
        """Return the same kind with other options; options that are not given stay as they were.

        The kind itself does not change, so the result is for one job, or for many::

            report.using(queue="slow", delay="10m").enqueue(week=47)

        With a key, enqueuing again in the same kind and tenant returns the same job, and other arguments raise
        KeyConflict. A `ph.Key` limits how long the key counts, or makes it count for all kinds. A `ph.Unique` says
        which arguments are compared, for how long, and what happens to a second job. With a connection, the job becomes
        part of the transaction that is open there; the connection must lead to the store's own database.

        Raises InvalidOption, which names the option and the nearest name.
        """
        changes = checked_of_using(options)
        if "timeout" in changes:
            check_can_time_out(self._registered)
        if changes.get("shards") is not None:
            check_can_be_cut(self._registered)
        if "delay" in changes and "run_at" in changes:
            raise InvalidOption("delay and run_at were both given; a job has one time to start at")
        if "delay" in changes:
            changes["run_at"] = None
        elif "run_at" in changes:
            changes["delay"] = None
        if "unique" in changes:
            chosen = changes["unique"]
            if isinstance(chosen, Unique):
                check_names(chosen, self._registered.signature.names, kind=self.kind)
            changes["unique"] = chosen or False
        for name in ("on_success", "on_failure"):
            if name in changes:
                changes[name] = self._callbacks(changes[name], name)
        return self._with(replace(self._changed, **changes))  # type: ignore[arg-type]  # each checked above

    def get_job(self, job_id: str) -> Job[R]:
        """Return the job of this kind with that id, without using the store.

        The id is looked up by the first method that needs it, which raises JobNotFound also for a job of another kind.
        """
        from posthorse.app.job import Job  # here, because jobs are handles of kinds

        return Job(self._app, self._app.get_job(job_id).id, kind=self.kind)

    def __repr__(self) -> str:
        return f"<Kind {self.kind!r}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> str | tuple[object, ...]:
        return _kind_again, (self._app, self.kind, self._changed)

    def _callbacks(self, given: object, name: str) -> tuple[Call[object], ...]:
        """Check what starts when jobs end. Raises InvalidOption."""
        listed = cast("Sequence[object]", given) if isinstance(given, list | tuple) else (given,)
        for one in listed:
            if not isinstance(one, Call):
                raise InvalidOption(
                    f"{name} is {short(one)}; give a call, or a list of calls: {name}=alert.bind(ph.ended)"
                )
            if one.app is not self._app:
                raise InvalidOption(f"{one.template.lane.kind!r} belongs to another application")
            if one.connection is not None:
                raise InvalidOption(f"{name} is stored with the job itself; give the connection to the job")
        return tuple(cast("Sequence[Call[object]]", listed))

    def _told_apart(
        self, job: NewJob, options: Options, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> NewJob:
        """Add its key, its identity, and its position in a sequence."""
        unique, key, encoded = self._unique, self._changed.key, job.options
        identity = None if unique is None else identity_of(unique, job.arguments, args, kwargs)
        if unique is not None and identity is not None and callable(unique.by):
            # The result of the function is stored, because no store could call it again.
            encoded = msgspec.structs.replace(options, unique=remembered(unique, identity.value)).encode()
        return msgspec.structs.replace(
            job,
            options=encoded,
            key=None if key is None else key.text,
            fingerprint=None if key is None else self._fingerprint(key, job.arguments),
            key_scope=WHOLE_APP if key is not None and key.scope == "app" else None,
            key_span=None if key is None else key.span,
            sequence=self._gate(job.arguments),
            unique=identity,
        )

    def _fingerprint(self, key: Key, arguments: str) -> str:
        return fingerprint(arguments) if key.scope == "kind" else f"{self.kind} {fingerprint(arguments)}"

    def _gate(self, arguments: str) -> str | None:
        """Return the gate of its sequence; None without one, or without the argument that its key depends on."""
        sequence = self._sequence
        if sequence is None:
            return None
        tenant = self._changed.tenant or ""
        value = None if sequence.per is None else value_of(sequence.per, self._registered.signature, arguments, tenant)
        if value is NOTHING:
            return None
        return requirement_of_sequence(sequence, kind=self.kind, tenant=tenant, value=value).gate

    def _ordered_by_key(self) -> NewJob:
        """Return the job that a stock by key orders, without its argument. Raises InvalidOption."""
        if self._unique is not None or self._changed.key is not None:
            raise InvalidOption(
                f"{self.kind!r} is unique or has a key, and a stock makes one result for each key at a time anyway; "
                f"give it {self.kind}.using(unique=False)"
            )
        if self._changed.connection is not None:
            raise InvalidOption("the kind names a connection; a stock orders in transactions of its own")
        return msgspec.structs.replace(self._template, arguments="{}")

    def _with(self, changed: ChangedOptions) -> Kind[P, R]:
        return cast("Kind[P, R]", _kind_with(self._app, self._registered, changed))


def _kind_again(app: Posthorse, kind: str, changed: ChangedOptions) -> Kind[..., object]:
    return _kind_with(app, app.registry[kind], changed)


def _kind_with(app: Posthorse, registered: Registered, changed: ChangedOptions) -> Kind[..., Any]:
    if changed.on_success is None and changed.on_failure is None:
        return Kind(app, registered, changed)
    from posthorse.app.callbacks import KindWithCallbacks  # here, because few jobs have callbacks

    return KindWithCallbacks(app, registered, changed)
