"""Which jobs are meant: "state:failed kind:welcome older:7d" becomes a filter. Pure."""

from __future__ import annotations

import difflib
import re
from datetime import timedelta

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.durations import as_timedelta
from posthorse.rules.job import State, checked_name
from posthorse.rules.values.misfit import short

_TERM = re.compile(r'(\w+):("[^"]*"|\S*)(?:\s+|$)')

EXAMPLE = 'write words such as "state:failed kind:welcome older:7d"'


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What jobs must fit, all of it; None where nothing is said.

    error: the name of an exception class, with or without its module. reason: how the reason begins.
    older, newer: how long ago the job ended, or was enqueued if it did not.
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


def parse_filter(text: str) -> Filter:
    """A filter from words. Raises InvalidOption, which names the nearest word."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"the filter is {short(text)}, and no text; {EXAMPLE}")
    said: dict[str, object] = {}
    place = 0
    stripped = text.strip()
    while place < len(stripped):
        found = _TERM.match(stripped, place)
        if found is None:
            raise InvalidOption(f"the filter {short(text)} cannot be read from {short(stripped[place:])} on; {EXAMPLE}")
        name, value = found[1], found[2].strip('"')
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
        case _:
            return value
