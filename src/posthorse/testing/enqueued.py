"""The jobs that a test enqueued, what an assertion wants of them, and how it says what it found instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self, cast

from posthorse.app.client import Posthorse
from posthorse.app.job import Job
from posthorse.app.kind import Kind
from posthorse.app.reading import make_status
from posthorse.errors import InvalidArgument, InvalidOption
from posthorse.rules.arguments.signature import ArgumentsUnfit, Signature
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import Options, State, Status
from posthorse.rules.keys import Key
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations import read
from posthorse.testing.draining import job_ids

MAX_SHOWN = 5

OPTIONS = ("queue", "priority", "tenant", "tags", "key", "metadata", "delay", "run_at", "state")
"""What an assertion may ask of a job beside its arguments."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A job that was enqueued. `arguments` are by name, defaults included; `status` is as it was when this was read."""

    job: Job[object]
    kind: str
    arguments: Mapping[str, object]
    status: Status
    key: str | None = None

    @property
    def queue(self) -> str:
        """The queue that it is in."""
        return self.status.queue

    @property
    def state(self) -> State:
        """Its state when this was read."""
        return self.status.state

    @property
    def delay(self) -> timedelta:
        """How long after it was enqueued it may start."""
        run_at = self.status.run_at
        return timedelta(0) if run_at is None else run_at - self.status.created_at

    def option(self, name: str) -> object:
        """Return what an assertion compares with an option."""
        return cast("object", getattr(self if name in ("delay", "key") else self.status, name))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={short(value)}" for name, value in self.arguments.items())
        return f"{self.kind}({arguments}) in queue {self.queue}, {self.state.value}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What an assertion wants: a kind, some of its arguments, some of the options of the job."""

    kind: str
    arguments: Mapping[str, object] = field(default_factory=dict[str, object])
    options: Mapping[str, object] = field(default_factory=dict[str, object])

    @classmethod
    def of(
        cls,
        apps: Sequence[Posthorse],
        kind: Kind[..., object] | str,
        args: tuple[object, ...] = (),
        words: Mapping[str, object] | None = None,
    ) -> Self:
        """Read the words of an assertion. Raises InvalidOption, InvalidArgument."""
        name = kind if isinstance(kind, str) else getattr(kind, "kind", None)
        if not isinstance(name, str):
            raise InvalidOption(f"{short(kind)} is not a kind of job; give the function under @app.job, or its name")
        signature = _signature_of(apps, name)
        names = list(signature.names)
        if len(args) > len(names):
            raise InvalidArgument(f"{name}() takes {len(names)} arguments, and {len(args)} were given")
        arguments = dict(zip(names, args, strict=False))
        options: dict[str, object] = {}
        for word, value in (words or {}).items():
            if word in arguments:
                raise InvalidArgument(f"{name}(): argument {word} was given twice")
            if word in names:
                arguments[word] = value
            elif word in OPTIONS:
                options[word] = _checked_option(word, value)
            else:
                raise InvalidArgument(_no_such_word(name, word, names))
        return cls(name, arguments, options)

    def differences(self, found: Enqueued) -> list[str]:
        """Return in words where a job of this kind differs; empty if it matches."""
        told = [
            f"{name}={short(found.arguments.get(name))} (not {short(value)})"
            for name, value in self.arguments.items()
            if not _is_equal(found.arguments.get(name), value)
        ]
        for name, value in self.options.items():
            actual = found.option(name)
            if not _fits(name, actual, value):
                told.append(f"{name}={_told(actual)} (not {_told(value)})")
        return told

    def __str__(self) -> str:
        given = {**self.arguments, **self.options}
        return self.kind if not given else f"{self.kind} with {', '.join(f'{n}={_told(v)}' for n, v in given.items())}"


def enqueued_in(apps: Sequence[Posthorse], wanted: Expected | None = None) -> list[Enqueued]:
    """Read the jobs in the stores of these applications, the oldest first; `wanted`: only those of its kind."""
    found: list[Enqueued] = []
    seen: set[str] = set()
    for app in apps:
        ids = [job for job in job_ids(app) if job not in seen]
        rows = {row.id: row for row in app.store.read(read.jobs_by_id(ids))} if ids else {}
        for job in ids:
            row = rows[job]
            if row.kind not in app.registry and any(row.kind in other.registry for other in apps):
                continue  # another application, which knows its arguments, has the same store
            seen.add(job)
            if wanted is None or row.kind == wanted.kind:
                status = make_status(row, app.registry)
                key = Options.decode(row.options).key
                found.append(Enqueued(Job[object](app, job), row.kind, _arguments_of(app, job), status, key))
    return found


def find(apps: Sequence[Posthorse], wanted: Expected, *, times: int | None) -> Enqueued:
    """Return the oldest job that matches. Raises AssertionError, also if `times` is given and others match or none."""
    __tracebackhide__ = True
    if times is not None and (isinstance(times, bool) or times < 1):
        raise InvalidOption(f"times is {short(times)}; it must be 1 or more. For none, use assert_not_enqueued")
    jobs = enqueued_in(apps, wanted)
    matching = [job for job in jobs if not wanted.differences(job)]
    if times is None and not matching:
        raise AssertionError(f"no job was enqueued for {wanted}{_instead(apps, wanted, jobs)}")
    if times is not None and len(matching) != times:
        raise AssertionError(
            f"{len(matching)} jobs were enqueued for {wanted}, not {times}{_instead(apps, wanted, jobs)}"
        )
    return matching[0]


def check_none(apps: Sequence[Posthorse], wanted: Expected | None) -> None:
    """Raise AssertionError if a job matches."""
    __tracebackhide__ = True
    matching = [job for job in enqueued_in(apps, wanted) if wanted is None or not wanted.differences(job)]
    if matching:
        what = "any job" if wanted is None else f"a job for {wanted}"
        raise AssertionError(f"{what} should not be enqueued, and {len(matching)} were:{_listed(map(repr, matching))}")


def _instead(apps: Sequence[Posthorse], wanted: Expected, jobs: Sequence[Enqueued]) -> str:
    """Say what was enqueued: the nearest jobs of the kind first, or else jobs of other kinds."""
    if jobs:
        by_distance = sorted(jobs, key=lambda job: len(wanted.differences(job)))
        told = [f"{job!r}: {', '.join(wanted.differences(job)) or 'matches'}" for job in by_distance]
        return f". Enqueued were {len(jobs)} of this kind, the nearest first:{_listed(told)}"
    others: dict[str, int] = {}
    for job in enqueued_in(apps):
        others[job.kind] = others.get(job.kind, 0) + 1
    if not others:
        return "; nothing was enqueued"
    return f"; enqueued were {', '.join(f'{count} × {kind}' for kind, count in others.items())}"


def _listed(lines: Iterable[str]) -> str:
    told = [*lines]
    more = [f"… and {len(told) - MAX_SHOWN} more"] if len(told) > MAX_SHOWN else []
    return "".join(f"\n  {line}" for line in [*told[:MAX_SHOWN], *more])


def _arguments_of(app: Posthorse, job: str) -> Mapping[str, object]:
    call = app.store.read(read.call(job))
    if call is None or call.kind not in app.registry:
        return {}
    texts = app.registry.packing.of_stored(job, call.options)
    try:
        return app.registry[call.kind].signature.named(texts.unpack(call.arguments, "arguments"))
    except ArgumentsUnfit:
        return {}


def _signature_of(apps: Sequence[Posthorse], kind: str) -> Signature:
    known = [name for app in apps for name in app.registry]
    for app in apps:
        if kind in app.registry:
            return app.registry[kind].signature
    near = difflib.get_close_matches(kind, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(sorted(known)) or 'none'}"
    raise InvalidOption(f"the application has no kind {kind!r}{hint}")


def _checked_option(name: str, value: object) -> object:
    if name == "delay":
        return as_timedelta(cast("Duration", value), name="delay")
    if name == "key":
        return value.text if isinstance(value, Key) else value
    if name == "metadata":
        return _checked_items(value)
    if name == "tags":
        return (value,) if isinstance(value, str) else tuple(cast("Sequence[str]", value))
    if name == "run_at" and not (isinstance(value, datetime) and value.tzinfo is not None) and type(value) is datetime:
        raise InvalidOption("run_at has no time zone; write datetime(…, tzinfo=UTC)")
    return value


def _checked_items(value: object) -> object:
    if not isinstance(value, Mapping):
        raise InvalidOption(f"metadata is {short(value)}; give the items that the job should have, as a dict")
    return cast("Mapping[str, object]", value)


def _fits(name: str, actual: object, wanted: object) -> bool:
    if name == "tags":
        return set(cast("Sequence[str]", wanted)) <= set(cast("Sequence[str]", actual))
    if name == "metadata":
        has, items = cast("Mapping[str, object]", actual), cast("Mapping[str, object]", wanted)
        return all(item in has and _is_equal(has[item], value) for item, value in items.items())
    return _is_equal(actual, wanted)


def _no_such_word(kind: str, word: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, [*names, *OPTIONS], n=1)
    hint = f"did you mean {near[0]}?" if near else f"options of a job are {', '.join(OPTIONS)}"
    return f"{kind}() has no argument {word!r}, and it is not an option of a job; {hint}"


def _is_equal(actual: object, wanted: object) -> bool:
    return bool(wanted == actual)


def _told(value: object) -> str:
    return str(value) if isinstance(value, timedelta | datetime) else short(value)
