"""Filters that select jobs: parse texts such as "state:failed kind:welcome older:7d". Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from posthorse.errors import InvalidOption, InvalidTransition
from posthorse.rules.durations import as_timedelta
from posthorse.rules.job import State, checked_name
from posthorse.rules.lifecycle import Request
from posthorse.rules.values.type_mismatch import short

_TERM = re.compile(r'(\w+):(?:"((?:[^"\\]|\\.)*)"|([^"\s]\S*)?)(?:\s+|$)', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')

EXAMPLE = 'write words such as "state:failed kind:welcome older:7d"'

_GOING = (State.SCHEDULED, State.BLOCKED, State.PENDING, State.PROCESSING)
_AIMS: dict[Request, tuple[str, tuple[State, ...]]] = {
    "pause": ("paused", _GOING),
    "resume": ("resumed", (State.PAUSED, State.PROCESSING)),
    "cancel": ("cancelled", (*_GOING, State.PAUSED)),
    "retry": ("retried", (State.FAILED, State.CANCELLED)),
    "discard": ("discarded", (State.FAILED,)),
}
_USUAL: dict[Request, tuple[State, ...]] = {
    "resume": (State.PAUSED, State.PROCESSING),  # a running one may have been asked to pause
    "retry": (State.FAILED,),
    "discard": (State.FAILED,),
}
"""The states selected if the filter names none; the other verbs take every job that is not over."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on jobs; a job must match all that are set. None means no condition.

    error: the name of an exception class, with or without its module. reason: how the reason begins.
    older, newer: how long ago the job ended, or was enqueued if it has not ended.
    """

    state: State | None = None
    kind: str | None = None
    queue: str | None = None
    tag: str | None = None
    tenant: str | None = None
    error: str | None = None
    reason: str | None = None
    older: timedelta | None = None
    newer: timedelta | None = None


def aims(wanted: Filter, verb: Request) -> Sequence[Filter]:
    """Return the filters, one after the other, of the jobs that a verb steers.

    Raises InvalidOption for a filter without conditions, because an empty variable in a script must not mean every job;
    InvalidTransition for a state in which the verb does nothing.
    """
    done, allowed = _AIMS[verb]
    if wanted == Filter():
        raise InvalidOption(
            f"the filter is empty, so it would mean every job; {EXAMPLE}, or a state alone, such as "
            f"state:{allowed[0].value}"
        )
    if wanted.state is None:
        return [msgspec.structs.replace(wanted, state=state) for state in _USUAL.get(verb, ())] or [wanted]
    if wanted.state in allowed:
        return [wanted]
    advice = f"ask for {' or '.join(f'state:{state.value}' for state in allowed)}"
    if verb == "cancel":
        raise InvalidTransition(f"jobs that are {wanted.state.value} are over, so they cannot be cancelled; {advice}")
    raise InvalidTransition(f"jobs that are {wanted.state.value} cannot be {done}; {advice}")


def has_effect(verb: Request, state: State, request: str | None) -> bool:
    """Return whether a verb changes a job in this state, given the `request` that is already pending."""
    if state not in _AIMS[verb][1]:
        return False
    if state is not State.PROCESSING:
        return True
    return request == "pause" if verb == "resume" else request not in ("cancel", verb)


def parse_filter(text: str) -> Filter:
    """Parse a filter. Raises InvalidOption, which names the nearest word."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"the filter is {short(text)}, and no text; {EXAMPLE}")
    said: dict[str, object] = {}
    place = 0
    stripped = text.strip()
    while place < len(stripped):
        found = _TERM.match(stripped, place)
        if found is None:
            raise InvalidOption(f"the filter {short(text)} cannot be read from {short(stripped[place:])} on; {EXAMPLE}")
        name, quoted, bare = found.groups()
        value = bare or "" if quoted is None else _ESCAPED.sub(r"\1", quoted)
        if name not in Filter.__struct_fields__:
            near = difflib.get_close_matches(name, Filter.__struct_fields__, n=1)
            known = ", ".join(Filter.__struct_fields__)
            raise InvalidOption(
                f"no filter is called {short(name)}; {f'did you mean {near[0]!r}?' if near else f'known are {known}'}"
            )
        if name in said:
            raise InvalidOption(f"the filter says {name} twice; a job has one")
        said[name] = _value(name, value)
        place = found.end()
    return Filter(**said)  # type: ignore[arg-type]  # each made by its name


def term(name: str, value: str) -> str:
    """Write one term of a filter so that it parses back to this value, whatever it contains."""
    if re.fullmatch(r"[\w.-]+", value):
        return f"{name}:{value}"
    escaped = re.sub(r'(["\\])', r"\\\1", value)
    return f'{name}:"{escaped}"'


def _value(name: str, value: str) -> object:
    if not value:
        raise InvalidOption(f"the filter has {name}: and nothing behind it; {EXAMPLE}")
    match name:
        case "state":
            try:
                return State(value)
            except ValueError:
                raise InvalidOption(f"no state is called {short(value)}; states are {', '.join(State)}") from None
        case "older" | "newer":
            return as_timedelta(value, name=f"{name}:")
        case "kind" | "queue" | "tag" | "tenant":
            return checked_name(value, what=name)
        case _:  # reasons and names of errors are lines of printable characters
            if not value.isprintable():
                raise InvalidOption(f"{name} is {short(value)}; it must be of printable characters")
            return value
