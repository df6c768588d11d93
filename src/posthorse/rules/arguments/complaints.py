"""Explain why a call does not bind, and why stored arguments do not fit; the messages name the argument.

It is decided elsewhere that they do not fit; this module finds out why.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter
from typing import cast

import msgspec

from posthorse.rules.arguments.stored_form import NAMED, POSITIONAL, Form, is_required
from posthorse.rules.values.type_mismatch import short


def misbound(parameters: list[Parameter], args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    """Explain why a call does not bind, as the continuation of `welcome()`."""
    kinds = {each.kind for each in parameters}
    positional = [each.name for each in parameters if each.kind in POSITIONAL]
    named = [each.name for each in parameters if each.kind in NAMED]
    if Parameter.VAR_KEYWORD not in kinds:
        for name in kwargs:
            if name in named:
                continue
            if name in positional:
                return f"takes {name!r} by position only"
            return f"got an unexpected argument {name!r}; {_suggestion(name, dict.fromkeys([*positional, *named]))}"
    if len(args) > len(positional) and Parameter.VAR_POSITIONAL not in kinds:
        takes = f"{len(positional)} positional argument{'' if len(positional) == 1 else 's'}"
        listed = f" ({', '.join(positional)})" if positional else ""
        surplus = ", ".join(short(value) for value in args[len(positional) :])
        return f"takes {takes}{listed}, but {len(args)} came; surplus: {surplus}"
    for name in positional[: len(args)]:
        if name in kwargs and name in named:
            return f"got {name!r} twice, by position and by name"
    given = {*positional[: len(args)], *(name for name in kwargs if name in named)}
    missing = [each.name for each in parameters if is_required(each) and each.name not in given]
    return f"is missing {_listed(missing)}"


def why_unfit(form: Form, text: str, error: Exception) -> str:
    """Explain why stored arguments could not be read; `error` is what the decoder raised."""
    try:
        stored = msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError):
        return f"they are not a JSON object ({error})"
    if unknown := [name for name in stored if name not in form.names]:
        return f"it does not take {_listed(unknown)}; {_suggestion(unknown[0], form.names)}"
    if missing := [name for name in form.required if name not in stored]:
        return f"it needs {_listed(missing)}, which was not stored; a default would let old jobs run"
    return re.sub(r" - at `\$\.?(.*)`$", r" at \1", str(error)).replace("`", "")


def refused(form: Form, text: bytes, error: Exception) -> tuple[str, Sequence[str]]:
    """Explain why arguments that another program sent could not be read; return the path to the value, too."""
    try:
        sent = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return f"the arguments are not JSON: {error}", ()
    if not isinstance(sent, dict):
        return "the arguments must be a JSON object of values by name", ()
    names = [str(name) for name in cast("dict[object, object]", sent)]
    if unknown := [name for name in names if name not in form.names]:
        return f"it does not take {_listed(unknown)}; {_suggestion(unknown[0], form.names)}", (unknown[0],)
    if missing := [name for name in form.required if name not in names]:
        return f"it is missing {_listed(missing)}", (missing[0],)
    what, _, place = str(error).partition(" - at `")
    path = _PATH_END.split(place.removeprefix("$").removeprefix("."), maxsplit=1)[0]
    steps = path.split(".") if path else []
    at = f"argument {path}: " if path else ""
    return f"{at}{what[:1].lower()}{what[1:]}".replace("`", ""), steps


_PATH_END = re.compile(r"\[|`")
"""Where the names in a path of msgspec end: it does not tell which item of a list it means."""


def _suggestion(name: str, known: Iterable[str]) -> str:
    known = list(known)
    if close := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {close[0]!r}?"
    return f"it takes {', '.join(known)}" if known else "it takes none"


def _listed(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    head = f"{', '.join(quoted[:-1])} and " if len(quoted) > 1 else ""
    return f"the argument{'s' if head else ''} {head}{quoted[-1]}"
