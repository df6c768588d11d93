"""Uniqueness: what makes two jobs the same, for how long, and what happens if the same job comes again. Pure."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, cast

import msgspec

from posthorse.clock import microseconds
from posthorse.errors import InvalidArgument, InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.values.msgspec_json import encode_in_order, plain_numbers
from posthorse.rules.values.type_mismatch import short

OnConflict = Literal["return", "replace", "reschedule", "raise"]
UniqueRule = Literal["finished", "queued", "window"]
ComparedBy = str | Sequence[str] | Callable[..., object]
"""What the identity consists of: a parameter, several, or a function of the arguments."""

TENANT = "tenant"
"""Always part of an identity; given alone, a tenant has one job of the kind."""

_ON_CONFLICT = ("return", "replace", "reschedule", "raise")


@dataclass(frozen=True, slots=True)
class Unique:
    """When a job is the same as an earlier one of its kind and tenant, and what happens then.

    until: "finished" (the identity is held until the job is completed, failed or cancelled), "queued" (until it starts:
    one may run while one waits), or a duration (for so long after the enqueue, whatever happens to the job).
    by: the parameters that are compared, one name or several, or a function that is called with the arguments and whose
    result is compared; None for all arguments.
    on_conflict: "return" the earlier job; "raise" NotUnique; "replace": the earlier job gets the new arguments and
    options and keeps its position; "reschedule": the same, and its time is set anew. A job that has started is returned
    unchanged.

    Calls are compared only with calls of the same `until` (all durations are alike) and the same `by`. Raises
    InvalidOption.
    """

    until: Duration = "finished"
    by: ComparedBy | None = None
    on_conflict: OnConflict = "return"

    def __post_init__(self) -> None:
        _checked_until(self.until)
        object.__setattr__(self, "by", _checked_by(self.by))
        if self.on_conflict not in _ON_CONFLICT:
            raise InvalidOption(
                f"Unique.on_conflict is {short(self.on_conflict)}; it must be "
                f'{", ".join(map(_in_quotes, _ON_CONFLICT[:-1]))} or "raise"'
            )

    @property
    def rule(self) -> UniqueRule:
        """The rule that decides how long an identity is held."""
        return cast("UniqueRule", self.until) if self.until in ("finished", "queued") else "window"

    @property
    def window(self) -> int | None:
        """The window in microseconds, if `until` is a duration."""
        return _checked_until(self.until)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The parameters that are compared; None for all, or if a function decides."""
        if self.by is None or callable(self.by):
            return None
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """The identity of a new job, as the store takes it. `window` is in microseconds."""

    value: str
    rule: UniqueRule = "finished"
    window: int | None = None
    on_conflict: OnConflict = "return"


class Remembered(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a job stores of its identity, to take it again when it is retried. `value` is the result of a function."""

    rule: UniqueRule = "finished"
    by: tuple[str, ...] | None = None
    value: str | None = None


def identity_of(unique: Unique, arguments: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Identity:
    """Return the identity of a call: `arguments` as stored, `args` and `kwargs` as given.

    Raises InvalidArgument if the function `by` returns what has no JSON form.
    """
    if callable(unique.by):
        value = _digest(("function", _said(unique.by, args, kwargs)))
    else:
        value = _value(arguments, unique.names)
    return Identity(value, unique.rule, unique.window, unique.on_conflict)


def remembered(unique: Unique, value: str | None = None) -> Remembered | None:
    """Return what a job stores of its identity; None if a retry does not take it again. `value` is from a function."""
    if unique.rule == "window":
        return None
    return Remembered(unique.rule, unique.names, value)


def identity_again(kept: Remembered, arguments: str) -> Identity:
    """Return the identity of a job that is retried; its arguments may have changed meanwhile."""
    return Identity(_value(arguments, kept.by) if kept.value is None else kept.value, kept.rule)


def fingerprint(arguments: str) -> str:
    """Return a short text that is equal for equal arguments, whatever the order of keys in their JSON."""
    return _value(arguments, None)


def scope(kind: str, rule: UniqueRule) -> str:
    """Return the scope of the identities of a kind; it has a `*`, so it is never the scope of a key."""
    return f"*{rule}:{kind}"


def checked_unique(value: object) -> Unique | None:
    """Check a Unique; True means the default one, False none. Raises InvalidOption."""
    if isinstance(value, Unique):
        return value
    if isinstance(value, bool):
        return Unique() if value else None
    raise InvalidOption(
        f"unique is {short(value)}; it must be True, False or a ph.Unique, such as "
        'ph.Unique(until="queued", by="user_id")'
    )


def check_names(unique: Unique, parameters: Sequence[str], *, kind: str) -> None:
    """Raise InvalidOption for names in `by` that are not parameters of the kind."""
    for name in unique.names or ():
        if name in parameters or name == TENANT:
            continue
        near = difflib.get_close_matches(name, parameters, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"its parameters are: {', '.join(parameters) or 'none'}"
        raise InvalidOption(f"Unique.by names {short(name)}, which is not a parameter of {kind!r}; {hint}")


def _checked_until(until: object) -> int | None:
    """Return microseconds for a duration; None for a word."""
    if until in ("finished", "queued"):
        return None
    try:
        span = microseconds(as_timedelta(cast("Duration", until), name="until"))
    except InvalidOption:
        span = 0
    if span <= 0:
        raise InvalidOption(
            f'Unique.until is {short(until)}; it must be "finished", "queued" or a duration above zero such as "10m"'
        )
    return span


def _checked_by(by: object) -> ComparedBy | None:
    if by is None or (callable(by) and not inspect.iscoroutinefunction(by)):
        return by
    names = (by,) if isinstance(by, str) else by
    if isinstance(names, tuple | list) and names and all(isinstance(n, str) and n for n in cast("list[object]", names)):
        return by if isinstance(by, str) else tuple(cast("Sequence[str]", names))
    raise InvalidOption(
        f"Unique.by is {short(by)}; it must be the name of a parameter, a list of names, or a function of the "
        f'arguments; None stands for all arguments, and "{TENANT}" for none: one job of the kind for each tenant'
    )


def _said(by: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]) -> object:
    said = by(*args, **kwargs)
    try:
        return plain_numbers(encode_in_order(said))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(
            f"the function in Unique.by gave {short(said)}, which has no form in JSON; return a text, a number, or a "
            "tuple of these"
        ) from error


def _value(arguments: str, names: tuple[str, ...] | None) -> str:
    given = plain_numbers(arguments)
    if _PAIRS.search(arguments):
        given = _in_order(given)
    if names is None:
        return _digest(given)
    return _digest((sorted(names), {name: given[name] for name in names if name in given}))


_PAIRS = re.compile(r'"\$(?:dict|counter)"')
"""How dicts with keys that are not text are written; equal ones may have their pairs in any order."""


def _in_order(stored: object) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(stored, list):
        return [_in_order(item) for item in cast("list[object]", stored)]
    if not isinstance(stored, dict):
        return stored
    fields = {name: _in_order(item) for name, item in cast("dict[str, object]", stored).items()}
    for tag in ("$dict", "$counter"):
        if isinstance(pairs := fields.get(tag), list):
            fields[tag] = sorted(cast("list[object]", pairs), key=_written)
    return fields


def _digest(value: object) -> str:
    return blake2b(_written(value), digest_size=20).hexdigest()


_written = msgspec.json.Encoder(order="deterministic").encode


def _in_quotes(word: str) -> str:
    return f'"{word}"'
