"""What the stream says of jobs: a class for each name of an event, so that users say by type what they want.

An event is what one commit did to one job. Readers (`app.events()`) and durable observers (`app.on(…)`) get them. As
JSON they have their name in the field `name`.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias, Union, cast, get_args, get_origin

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.event_names import EVENT_NAMES
from posthorse.rules.job import JobError, checked_name
from posthorse.rules.store_events import STORE_CLASSES, StoreEvent
from posthorse.rules.stream_cursor import Why
from posthorse.rules.values.type_mismatch import short


class JobEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="name"):
    """One step in the life of one job.

    job, kind, queue, tenant, tags: which job it is. attempt: which attempt began or ended, or comes next; from 1.
    at: when it was committed, on the store's clock, aware and in UTC.
    cursor: read on from here: `app.events(after=event.cursor)`.
    number: of this event among those of its job, where it is known, as in `job.events()`.
    error: what the attempt raised, or why the job failed for good, without its traceback.
    """

    job: str
    kind: str
    queue: str
    tenant: str | None
    tags: Sequence[str] = ()
    attempt: int | None
    at: datetime
    cursor: str
    number: int | None = None
    error: JobError | None = None

    @property
    def name(self) -> str:
        """What happened, in a word."""
        return str(self.__struct_config__.tag)


class JobSubmitted(JobEvent, frozen=True, kw_only=True, tag="submitted"):
    """A job was enqueued."""


class JobStarted(JobEvent, frozen=True, kw_only=True, tag="started"):
    """An attempt began. It is told within a tenth of a second; if its process dies before, it is not told."""


class Completed(JobEvent, frozen=True, kw_only=True, tag="completed"):
    """The code of a job returned, and its result is stored."""


class AttemptFailed(JobEvent, frozen=True, kw_only=True, tag="attempt_failed"):
    """The code of a job raised; another attempt follows."""


class Failed(JobEvent, frozen=True, kw_only=True, tag="failed"):
    """A job failed for good, and is a dead letter."""


class Snoozed(JobEvent, frozen=True, kw_only=True, tag="snoozed"):
    """The code of a job or a throttle put it off."""


class Waiting(JobEvent, frozen=True, kw_only=True, tag="waiting"):
    """The code of a job waits for an event, without a worker."""


class Split(JobEvent, frozen=True, kw_only=True, tag="split"):
    """The loop of a job was cut into parts, which are jobs of their own; it waits for them."""


class Released(JobEvent, frozen=True, kw_only=True, tag="released"):
    """The worker of a job stopped, its time box was over or its queue closed; it goes on later."""


class Lost(JobEvent, frozen=True, kw_only=True, tag="lost"):
    """The worker of a job was lost; it goes on elsewhere."""


class Crashed(JobEvent, frozen=True, kw_only=True, tag="crashed"):
    """The process of a job died; it goes on in another one."""


class Unfit(JobEvent, frozen=True, kw_only=True, tag="unfit"):
    """The arguments of a job do not fit the code of the worker that took it; it is tried again."""


class Expired(JobEvent, frozen=True, kw_only=True, tag="expired"):
    """A job was not started in time, and is cancelled."""


class Superseded(JobEvent, frozen=True, kw_only=True, tag="superseded"):
    """A newer equal job was enqueued, and this one has its arguments now."""


class Paused(JobEvent, frozen=True, kw_only=True, tag="paused"):
    """A job was paused."""


class Resumed(JobEvent, frozen=True, kw_only=True, tag="resumed"):
    """A paused job goes on."""


class Cancelled(JobEvent, frozen=True, kw_only=True, tag="cancelled"):
    """A job was cancelled."""


class Retried(JobEvent, frozen=True, kw_only=True, tag="retried"):
    """A user started a job again."""


class Discarded(JobEvent, frozen=True, kw_only=True, tag="discarded"):
    """A user discarded a dead letter."""


class Missed(msgspec.Struct, frozen=True, kw_only=True, tag_field="name", tag="missed"):
    """Events were missed, because the place to read on from is gone, or because they were not written.

    why: "too old" (retention removed what came next), "too new" or "another store" (it was restored or replaced), "not
    watched" (the process could not renew its watch, or `app.close()` ended it; events of every job, such as
    completions, were not written meanwhile). after: where the reader was. cursor: where reading goes on. at: when that
    was found.
    """

    why: Why
    after: str
    cursor: str
    at: datetime

    @property
    def name(self) -> str:
        """`missed`."""
        return "missed"


def _all_classes() -> Mapping[str, type[JobEvent]]:
    found = {str(each.__struct_config__.tag): each for each in JobEvent.__subclasses__()}
    return {name: found[name] for name in EVENT_NAMES if name in found}


CLASSES = _all_classes()
"""The class of each event of the stream, by its name. A step that the timeline of a job only infers has none."""

ALL_CLASSES: Mapping[str, type[JobEvent | StoreEvent]] = {**CLASSES, **STORE_CLASSES}
"""The same with the events that concern no single job."""

StreamEvent: TypeAlias = JobEvent | StoreEvent | Missed
"""What readers of the stream get."""

EventClass: TypeAlias = type[StreamEvent] | types.UnionType
"""A class of events, or a union of them."""


class Face(NamedTuple):
    """What filters judge of an event besides its name; None where it concerns no job."""

    kind: str | None
    queue: str | None
    tenant: str | None


class EventFilter(msgspec.Struct, frozen=True):
    """Which events a reader wants; None for all."""

    names: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    queues: frozenset[str] | None = None
    tenants: frozenset[str] | None = None

    def wants(self, face: Face) -> bool:
        """Return whether it wants events of this job; the name was judged before."""
        return (
            (self.kinds is None or face.kind in self.kinds)
            and (self.queues is None or face.queue in self.queues)
            and (self.tenants is None or face.tenant in self.tenants)
        )


def make_event_filter(
    names: str | EventClass | Iterable[str | EventClass] | None = None,
    kind: str | Iterable[str] | None = None,
    queue: str | Iterable[str] | None = None,
    tenant: str | Iterable[str] | None = None,
) -> EventFilter:
    """Make and check a filter. names: of events, or their classes, or unions of classes.

    Raises InvalidOption, which names the nearest name.
    """
    wanted = None if names is None else _names_of(names)
    for name in wanted or ():
        if name not in ALL_CLASSES:
            near = difflib.get_close_matches(name, ALL_CLASSES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; they are {', '.join(ALL_CLASSES)}"
            raise InvalidOption(f"there is no event {short(name)}{hint}")
    kinds, queues = _set_of(kind, "kind"), _set_of(queue, "queue")
    for what, several in (("kind", kinds), ("queue", queues)):
        for one in several or ():
            checked_name(one, what=what)
    return EventFilter(wanted, kinds, queues, _set_of(tenant, "tenant"))


def members(annotation: object) -> Sequence[object]:
    """Return the classes of a union; of anything else itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for each in get_args(annotation) for inner in members(each)]
    return [annotation]


def _names_of(given: object) -> frozenset[str]:
    """Return the names of events, given names and classes. Each reader gets `Missed`, so it says nothing here."""
    several: object = [given] if isinstance(given, str) else given
    listed = cast("Iterable[object]", several) if isinstance(several, Iterable) else [several]
    found: set[str] = set()
    for one in (member for each in listed for member in members(each)):
        if isinstance(one, str):
            found.add(one)
        elif one is JobEvent or one is StoreEvent:
            found.update(CLASSES if one is JobEvent else STORE_CLASSES)
        elif isinstance(one, type) and issubclass(one, JobEvent | StoreEvent):
            found.add(str(one.__struct_config__.tag))
        elif one is not Missed:
            found.clear()
            break
    if not found:
        raise InvalidOption(
            f"names is {short(given)}; it must be the name of an event such as 'completed', a class such as "
            "ph.events.Completed, or a list of them"
        )
    return frozenset(found)


def _set_of(given: object, what: str) -> frozenset[str] | None:
    if given is None:
        return None
    several: object = [given] if isinstance(given, str) else given
    if isinstance(several, Iterable):
        found = [*cast("Iterable[object]", several)]
        texts = [one for one in found if isinstance(one, str)]
        if texts and len(texts) == len(found):
            return frozenset(texts)
    raise InvalidOption(f"{what} is {short(given)}; it must be a text, or a list of texts")
