"""Declaring durable observers of events: checks the options of `app.on(…)`, and registers the function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union, cast, get_args, get_origin

import msgspec

from posthorse.app.job_function import JobFunction
from posthorse.app.observers import taking
from posthorse.errors import InvalidOption
from posthorse.rules.arguments.signature import Signature
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.growth import OBSERVERS_QUEUE
from posthorse.rules.job import Lane, NewJob, checked_name
from posthorse.rules.job_events import ALL_CLASSES, CLASSES, JobEvent, Missed, StreamEvent, make_event_filter, members
from posthorse.rules.observers import EventObserver
from posthorse.rules.registry import make_kind_options, register
from posthorse.rules.store_events import STORE_CLASSES, StoreEvent
from posthorse.rules.values.type_mismatch import short
from posthorse.worker.checkpoints.context import Context

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

E = TypeVar("E")
F = TypeVar("F", bound=Callable[..., object])

MAX_BATCH_TIME = "1h"


class ObservingEvents(Generic[E]):
    """The result of `@app.on(…)` before it is applied to the function."""

    def __init__(
        self,
        app: Posthorse,
        events: Sequence[object],
        *,
        kind: str | Iterable[str] | None,
        queue: str | Iterable[str] | None,
        batch: Duration | None,
        name: str | None,
        options: Mapping[str, object],
    ) -> None:
        self._app = app
        self._classes = classes_of(events)
        self._filter = make_event_filter(None, kind, queue)
        self._batch = None if batch is None else _checked_batch(batch)
        self._name = None if name is None else checked_name(name, what="name")
        self._options = make_kind_options({**options, "queue": OBSERVERS_QUEUE})

    def __call__(self, function: Callable[[E], Any], /) -> JobFunction[[E], object, [E], Any]:
        """Register the function."""
        event: Any = Union[self._classes]  # noqa: UP007  # made of as many as there are
        given = event if self._batch is None else list[event]
        registered = register(function, kind=self._name, options=self._options, context_type=Context)
        whole = taking(given, registered, check=self._check_annotation)
        signature = Signature(whole, kind=registered.kind, context_type=Context)
        registered = msgspec.structs.replace(registered, signature=signature)
        self._app.registry.add(registered)
        made: JobFunction[..., object, ..., object] = JobFunction(self._app, registered, function)

        def make(told: object) -> NewJob:
            return made.bind(told).template

        self._app.registry.event_observers[registered.kind] = EventObserver(
            name=registered.kind,
            names=frozenset(each.__struct_config__.tag for each in self._classes if each is not Missed),  # type: ignore[misc]
            kinds=self._filter.kinds,
            queues=self._filter.queues,
            wants_missed=Missed in self._classes,
            batch=self._batch,
            lane=Lane(OBSERVERS_QUEUE, registered.kind, registered.options.priority),
            make=make,
        )
        return made

    def _check_annotation(self, annotation: object, parameter: str, kind: str) -> None:
        """Raise InvalidOption unless a parameter with this annotation takes the events."""
        inner = annotation
        if self._batch is not None:
            origin = get_origin(annotation) or annotation
            if annotation is Any or annotation is object:
                return
            if not (isinstance(origin, type) and issubclass(list, origin)):
                raise InvalidOption(
                    f"{kind}() takes {parameter!r} as {short(annotation)}, and a batch is a list of events; annotate "
                    "it as a list of them, or not at all"
                )
            inner = (get_args(annotation) or (Any,))[0]
        taken = set(members(inner))
        if taken & {Any, object} or all(each in taken or set(each.__mro__) & taken for each in self._classes):
            return
        names = ", ".join(f"ph.events.{each.__name__}" for each in self._classes)
        raise InvalidOption(
            f"{kind}() takes {parameter!r} as {short(annotation)}, and is notified of {names}; annotate it with "
            f"{'that' if len(self._classes) == 1 else 'all of them, or ph.events.JobEvent'}, or not at all"
        )


def classes_of(events: Iterable[object]) -> tuple[type[StreamEvent], ...]:
    """Return the classes that `app.on` was given: classes, unions and lists of them. Raises InvalidOption."""
    found: dict[type[Any], None] = {}
    for event in events:
        if isinstance(event, list | tuple | set | frozenset):
            found.update(dict.fromkeys(classes_of(cast("Iterable[object]", event))))
            continue
        for member in members(event):
            if member is JobEvent:
                found.update(dict.fromkeys(CLASSES.values()))
            elif member is StoreEvent:
                found.update(dict.fromkeys(STORE_CLASSES.values()))
            elif member is Missed or member in ALL_CLASSES.values():
                found[member] = None  # type: ignore[index]
            else:
                known = ", ".join(each.__name__ for each in ALL_CLASSES.values())
                raise InvalidOption(
                    f"app.on() cannot tell of {short(member)}; the events are conditions, such as "
                    "ph.events.QueueLate, alone; ph.events.JobEvent (all of jobs), StoreEvent (all of queues, "
                    f"schedules and workers), {known}, Missed"
                )
    if not any(each is not Missed for each in found):
        raise InvalidOption("app.on() needs the events to be notified of, such as ph.events.Completed")
    return tuple(found)


def _checked_batch(batch: Duration) -> float:
    span = as_timedelta(batch, name="batch").total_seconds()
    if not 0 < span <= as_timedelta(MAX_BATCH_TIME, name="batch").total_seconds():
        raise InvalidOption(f"batch is {short(batch)}; it must be longer than zero and at most {MAX_BATCH_TIME}")
    return span
