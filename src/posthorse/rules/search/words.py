"""The words of a filter: what each takes, and how one value of it is read and written. Knows no filter as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from posthorse import ids
from posthorse.clock import microseconds
from posthorse.errors import InvalidOption
from posthorse.rules.durations import as_timedelta
from posthorse.rules.error_groups import FINGERPRINT_LENGTH
from posthorse.rules.job import State, checked_name
from posthorse.rules.values.type_mismatch import short
from posthorse.rules.wall_time import checked_instant, checked_moment

MIN_ID_PART = 6
"""From this many characters on, the beginning or end of an id names a job."""

FilterValue = str | int | float | timedelta | datetime

_ID_PART = re.compile(r"[0-9a-f-]+")
_FINGERPRINT = re.compile(rf"[0-9a-f]{{{FINGERPRINT_LENGTH}}}")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,9})?")


class How(StrEnum):
    """How a value must compare with that of the job."""

    IS = ""
    BEGINS = "*"
    ABOVE = ">"
    BELOW = "<"


class Item(msgspec.Struct, frozen=True, order=False):
    """One value of a term, and how it must compare."""

    value: FilterValue
    how: How = How.IS


class Word(msgspec.Struct, frozen=True):
    """One word: how it reads a value, and which comparisons it takes.

    read: takes the name for errors and the value; raises InvalidOption.
    needs_comparison: whether a value without `>` or `<` means nothing.
    """

    read: Callable[[str, object], FilterValue]
    takes: tuple[How, ...] = (How.IS,)
    needs_comparison: bool = False
    example: str = ""


def _state(name: str, value: object) -> State:
    try:
        return State(value)  # type: ignore[arg-type]  # refused if it is not a text
    except ValueError:
        raise InvalidOption(f"no state is called {short(value)}; states are {', '.join(State)}") from None


def _name(name: str, value: object) -> str:
    return checked_name(value, what=name)


def _line(name: str, value: object) -> str:
    """Check a line, as reasons and the names of errors are."""
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise InvalidOption(f"{name} is {short(value)}; it must be of printable characters")


def _whole(name: str, value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
        return value
    raise InvalidOption(f"{name} is {short(value)}; it must be a whole number, such as {name}:3 or {name}:>3")


def _span(name: str, value: object) -> timedelta:
    return as_timedelta(value, name=f"{name}:")  # type: ignore[arg-type]  # which refuses other types


def _moment_or_span(name: str, value: object) -> str | datetime | timedelta:
    """Read a moment, in UTC if it has no zone, or how long ago it was; or the id of a job, for the moment of that."""
    if isinstance(value, str) and ids.is_id(value):
        return value
    if isinstance(value, datetime):
        checked_instant(value, name=name)
        return checked_moment(value, name=name).astimezone(UTC)
    if isinstance(value, str) and re.match(r"\d{4}-", value):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidOption(
                f"{name} is {short(value)}, which is not a date or time; write {name}:2026-11-12, "
                f"{name}:2026-11-12T08:30Z, or how long ago: {name}:2h"
            ) from None
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        checked_instant(found, name=name)
        return found.astimezone(UTC)
    return _span(name, value)


def _id(name: str, value: object) -> str:
    """Read a whole id, or the beginning or end of one."""
    part = value.strip().lower().removeprefix("…") if isinstance(value, str) else ""
    if ids.is_id(part) or (_ID_PART.fullmatch(part) and MIN_ID_PART <= len(part) < 36):
        return part
    raise InvalidOption(
        f"{name} is {short(value)}, which is not a job id; ids look like 01936f5e-7c1a-7d2b-8e3f-0123456789ab, and "
        f"{MIN_ID_PART} characters of the beginning or the end are enough"
    )


def _fingerprint(name: str, value: object) -> str:
    """Read the fingerprint of a group of errors."""
    if isinstance(value, str) and _FINGERPRINT.fullmatch(value.strip().lower()):
        return value.strip().lower()
    raise InvalidOption(
        f"{name} is {short(value)}, which is not the fingerprint of a group of errors; it has {FINGERPRINT_LENGTH} "
        "characters, and `posthorse report --by error` shows it"
    )


def _argument(name: str, value: object) -> str | float:
    """Read what an argument is compared with: as text, because `7` may be a number or a text."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return _line(name, value)


_COMPARED = (How.ABOVE, How.BELOW)
_NAMES = (How.IS, How.BEGINS)
_NUMBERS = (How.IS, *_COMPARED)

WORDS: Mapping[str, Word] = {
    "id": Word(_id, example="id:9f3a7c21"),
    "state": Word(_state, example="state:failed"),
    "kind": Word(_name, _NAMES, example="kind:mail*"),
    "queue": Word(_name, _NAMES, example="queue:mail"),
    "priority": Word(_whole, _NUMBERS, example="priority:>0"),
    "tenant": Word(_name, _NAMES, example="tenant:acme"),
    "tag": Word(_name, _NAMES, example="tag:signup"),
    "since": Word(_moment_or_span, example="since:2h"),
    "until": Word(_moment_or_span, example="until:2026-11-12T08:30Z"),
    "age": Word(_span, _COMPARED, needs_comparison=True, example="age:>2h"),
    "older": Word(_span, example="older:7d"),
    "newer": Word(_span, example="newer:1h"),
    "took": Word(_span, _COMPARED, needs_comparison=True, example="took:>5s"),
    "waited": Word(_span, _COMPARED, needs_comparison=True, example="waited:>10m"),
    "attempt": Word(_whole, _NUMBERS, example="attempt:>1"),
    "error": Word(_line, _NAMES, example="error:ValueError"),
    "cause": Word(_fingerprint, example="cause:9f3a7c21d04be6f8"),
    "reason": Word(_line, _NAMES, example="reason:crashed"),
    "schedule": Word(_line, _NAMES, example="schedule:nightly"),
    "parent": Word(_id, example="parent:01936f5e-7c1a-7d2b-8e3f-0123456789ab"),
    "meta": Word(_argument, (How.IS, How.BEGINS, *_COMPARED), example="meta.user:7"),
    "args": Word(_argument, (How.IS, How.BEGINS, *_COMPARED), example="args.user.id:7"),
}
"""All words, in the order in which a filter is written. The cheap ones to judge come first."""


PATHS: Mapping[str, str] = {"args": "argument", "meta": "entry of the metadata"}
"""The words that are followed by a path, as in `args.user.id`, and what that leads to."""


def shown(word: str, path: str) -> str:
    """Return a word as the user writes it."""
    return f"{word}.{path}" if path else word


def read_item(word: str, name: str, value: object, how: How) -> Item:
    """Read one value of a word; `name` is the word as the user wrote it. Raises InvalidOption."""
    taken = WORDS[word]
    if value == "":
        raise InvalidOption(f"the filter has {name}: and nothing behind it; write words such as {taken.example}")
    if taken.needs_comparison and how is How.IS:
        raise InvalidOption(f"{name}:{value} has no `>` or `<`; write {name}:>{value} or {name}:<{value}")
    if how not in taken.takes:
        what = {How.BEGINS: "a beginning with `*`", How.IS: "a value"}.get(how, "`>` or `<`")
        raise InvalidOption(f"{name}: does not take {what}; write words such as {taken.example}")
    if word in PATHS and how in _COMPARED:
        if not _NUMBER.fullmatch(str(value)):
            raise InvalidOption(f"{name}:{how}{value} compares with {short(value)}, which is not a number")
        return Item(float(str(value)), how)
    return Item(taken.read(name, value), how)


def text_of(value: FilterValue) -> str:
    """Write a value so that it is read back as it is."""
    if isinstance(value, timedelta):
        return _text_of_span(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return str(value)


def _text_of_span(span: timedelta) -> str:
    micros = microseconds(span)
    seconds, rest = divmod(micros, 1_000_000)
    if rest:
        return f"{micros // 1000}.{micros % 1000:03}ms"
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
