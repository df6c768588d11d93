"""Arguments of a job as they are typed: convert words to the values that the job's function declares.

A word is parsed as JSON if it is valid and the parameter accepts that, and is text otherwise: `7` is a number for an
`int` and text for a `str`. `@file.json` is the JSON in a file, `-` the JSON on stdin, and `name=…` sets a parameter by
name. The values are checked when the job is enqueued.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from posthorse.cli.exact_values import Typed, parsed, refuse_duplicates
from posthorse.errors import InvalidArgument, TooLarge
from posthorse.rules.arguments.signature import ARGUMENT_LIMIT
from posthorse.rules.registry import Registered
from posthorse.rules.values.type_mismatch import short

MAX_LINES = 10_000
MAX_PLACE = 200
"""Maximum length of a file's name that errors show in full, in characters."""
MAX_BYTES = 256 * 1024 * 1024

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Arguments(NamedTuple):
    """A call, by position and by name."""

    by_position: tuple[object, ...]
    by_name: dict[str, object]


def read_words(kind: Registered, words: Sequence[str]) -> Arguments:
    """Convert words to arguments. Raises InvalidArgument, TooLarge."""
    wanted = _Wanted(kind)
    by_position: list[object] = []
    by_name: dict[str, object] = {}
    for word in words:
        name, separator, rest = word.partition("=")
        if not (separator and name.isidentifier()):
            by_position.append(_value_of(wanted.at(len(by_position)), word))
        elif name in by_name:
            raise InvalidArgument(f"{kind.kind}() got {name!r} twice")
        else:
            by_name[name] = _value_of(wanted.named(name), rest)
    return Arguments(tuple(by_position), by_name)


def read_lines(kind: Registered, place: str) -> list[Arguments]:
    """Read arguments from a file of JSON Lines, or `-`: an object is a call by name, an array one by position.

    Raises InvalidArgument, TooLarge.
    """
    wanted = _Wanted(kind)
    calls: list[Arguments] = []
    for number, line in enumerate(_lines(place), 1):
        if not line.strip():
            continue
        if len(calls) == MAX_LINES:
            raise TooLarge(f"{_said(place)} has more than the {MAX_LINES:,} lines that one call takes; split it")
        try:
            calls.append(_call(wanted, line))
        except InvalidArgument as error:
            raise InvalidArgument(f"{_said(place)}, line {number}: {error}") from None
    if not calls:
        raise InvalidArgument(f"{_said(place)} holds no jobs; write a JSON object or array on each line")
    return calls


def _call(wanted: _Wanted, line: bytes) -> Arguments:
    given = parsed(line)
    refuse_duplicates(line)
    if isinstance(given, dict):
        named = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        return Arguments((), {name: wanted.named(name).from_json(bytes(value)) for name, value in named.items()})
    if isinstance(given, list):
        listed = msgspec.json.decode(line, type=list[msgspec.Raw])
        return Arguments(tuple(wanted.at(place).from_json(bytes(value)) for place, value in enumerate(listed)), {})
    raise InvalidArgument("write an object for arguments by name, or an array for arguments by position")


class _Wanted:
    """The types of a kind's parameters, as far as they are known."""

    def __init__(self, kind: Registered) -> None:
        parameters = list(inspect.signature(kind.function).parameters.values())
        if kind.signature.wants_context:
            parameters = parameters[1:]
        arguments = set(kind.signature.names)
        parameters = [each for each in parameters if each.name in arguments]
        hints = _hints(kind.function)
        types = {each.name: Typed(hints.get(each.name, Any)) for each in parameters}
        self._positional = [types[each.name] for each in parameters if each.kind in _POSITIONAL]
        self._named = {
            each.name: types[each.name]
            for each in parameters
            if each.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        }
        self._rest = {each.kind: types[each.name] for each in parameters}
        self._anything = Typed(Any)

    def at(self, place: int) -> Typed:
        """Return the type at a position."""
        if place < len(self._positional):
            return self._positional[place]
        return self._rest.get(Parameter.VAR_POSITIONAL, self._anything)

    def named(self, name: str) -> Typed:
        """Return the type under a name."""
        return self._named.get(name, self._rest.get(Parameter.VAR_KEYWORD, self._anything))


def _hints(function: Callable[..., object]) -> Mapping[str, object]:
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception:  # names for type checkers only, or code that fails: then every value means what JSON says
        return {}


def _value_of(wanted: Typed, word: str) -> object:
    if word == "-" or (word.startswith("@") and len(word) > 1):
        place = word.removeprefix("@")
        content = _json_from(place, hint="; text that begins with @ is written as JSON: '\"@…\"'")
        try:
            return wanted.from_json(content)
        except InvalidArgument as error:
            raise InvalidArgument(f"{_said(place)} holds no JSON: {str(error).removeprefix('not JSON: ')}") from None
    return wanted.from_word(word)


def _json_from(place: str, *, hint: str) -> bytes:
    with _opened(place, hint=hint) as file:
        content = _read(place, file.read)
    if len(content) > ARGUMENT_LIMIT:
        raise TooLarge(f"{_said(place)} holds more than the {ARGUMENT_LIMIT:,} bytes that arguments may take")
    return content


def _lines(place: str) -> Iterator[bytes]:
    read = 0
    with _opened(place) as file:
        while line := _read(place, file.readline):
            read += len(line)
            if len(line) > ARGUMENT_LIMIT:
                raise TooLarge(
                    f"{_said(place)} has a line of more than the {ARGUMENT_LIMIT:,} bytes that arguments may take"
                )
            if read > MAX_BYTES:
                raise TooLarge(f"{_said(place)} has more than the {MAX_BYTES:,} bytes that one call takes; split it")
            yield line


def _opened(place: str, *, hint: str = "") -> BinaryIO:
    if place != "-":
        try:
            return Path(place).open("rb")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InvalidArgument(f"cannot read {_said(place)}: {reason}{hint}") from None
    if sys.stdin is None or sys.stdin.closed:
        raise InvalidArgument("arguments were to come from stdin, and it is closed, or was read by an earlier -")
    return sys.stdin.buffer


def _read(place: str, read: Callable[[int], bytes]) -> bytes:
    """Read at most one byte more than arguments may have."""
    try:
        return read(ARGUMENT_LIMIT + 1)
    except OSError as error:
        raise InvalidArgument(f"cannot read {_said(place)}: {error.strerror}") from None


def _said(place: str) -> str:
    if place == "-":
        return "stdin"
    return place if 0 < len(place) <= MAX_PLACE else short(place)
