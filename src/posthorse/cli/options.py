"""Options that several commands share: of a new job, and of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar, cast

import click
import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.job import checked_name
from posthorse.rules.options.option import Option, OptionPlace
from posthorse.rules.options.table import options_at
from posthorse.rules.values.type_mismatch import short

F = TypeVar("F", bound=Callable[..., object])


class _Form(NamedTuple):
    """How an option of a job is typed."""

    flags: tuple[str, ...]
    metavar: str
    type: type = str
    is_repeated: bool = False
    hint: str = ""


_FORMS = {
    "queue": _Form(("-q", "--queue"), "NAME"),
    "priority": _Form(("--priority",), "N", int),
    "tags": _Form(("--tag",), "NAME", is_repeated=True, hint="; may be repeated"),
    "max_attempts": _Form(("--max-attempts",), "N", int),
    "delay": _Form(("--delay",), "SPAN"),
    "run_at": _Form(("--run-at",), "MOMENT", hint=", such as 2026-11-30T08:00:00+01:00"),
    "key": _Form(("--key",), "TEXT"),
    "tenant": _Form(("--tenant",), "NAME"),
    "metadata": _Form(("--meta",), "NAME=VALUE", is_repeated=True, hint="; may be repeated"),
}


def flags_of(name: str) -> tuple[str, ...]:
    """Return the flags of an option of a job."""
    return _FORMS[name].flags


def job_options(place: OptionPlace) -> Callable[[F], F]:
    """Give a command the options of a new job that the table allows there, as `**options` for `as_using`."""

    def give(command: F) -> F:
        for option in reversed(options_at(place).values()):
            form = _FORMS[option.name]
            command = click.option(
                *form.flags,
                option.name,
                metavar=form.metavar,
                type=form.type,
                multiple=form.is_repeated,
                help=_help(option, form),
            )(command)
        return command

    return give


def as_using(typed: Mapping[str, object]) -> Any:  # noqa: ANN401 - each is checked by its name
    """Convert typed options to those of `using(**…)`. Raises InvalidOption."""
    given = {name: value for name, value in typed.items() if value is not None and value != ()}
    if "run_at" in given:
        given["run_at"] = _moment(cast("str", given["run_at"]))
    if "metadata" in given:
        given["metadata"] = dict(_entry(text) for text in cast("tuple[str, ...]", given["metadata"]))
    return given


def _help(option: Option, form: _Form) -> str:
    return f"{option.sentence[:-1].replace('`', '')}{form.hint}."


def _entry(text: str) -> tuple[str, object]:
    """Read NAME=VALUE, with JSON or else a text as the value."""
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise InvalidOption(f"--meta is {short(text)}; write a name and a value, such as --meta user=7")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.MsgspecError:
        return name, value


def _moment(text: str) -> datetime:
    try:
        moment = msgspec.convert(text, datetime, strict=True)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidOption(
            f"--run-at is {short(text)}; write a moment with its zone, such as 2026-11-30T08:00:00+01:00"
        )
    return moment


def size_options(command: F) -> F:
    """Give a command the options for how much a worker does at once."""
    for option in (
        click.option(
            "--concurrency",
            metavar="N",
            type=click.IntRange(1, 10_000),
            default=10,
            help="Jobs at once in each process; else 10.",
        ),
        click.option(
            "--processes", metavar="N", type=click.IntRange(1, 1000), default=1, help="Runner processes; else 1."
        ),
    ):
        command = option(command)
    return command


def check_names(**names: str | None) -> None:
    """Refuse what cannot be a name, such as an empty variable of a script, which would match nothing.

    Raises InvalidOption.
    """
    for what, name in names.items():
        if name is not None:
            checked_name(name, what=what)
