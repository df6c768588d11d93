"""Options are spelled once, in the table: types, records and signatures have its names, and editors show its lines."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import posthorse as ph
from posthorse.app import option_types as typed
from posthorse.app.changed_options import ChangedOptions
from posthorse.app.schedules import add_schedule
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.options.table import OPTIONS, options_at
from posthorse.rules.queues import QueueSettings
from posthorse.rules.registry import KindOptions
from posthorse.rules.settings import Settings

TYPED = {
    OptionPlace.JOB: typed.JobOptions,
    OptionPlace.USING: typed.UsingOptions,
    OptionPlace.ON: typed.ObserverOptions,
    OptionPlace.SCHEDULE: typed.ScheduleOptions,
    OptionPlace.QUEUE: typed.QueueOptions,
    OptionPlace.SETTING: typed.SettingOptions,
}
METHODS: list[tuple[Callable[..., object], OptionPlace]] = [
    (ph.Posthorse, OptionPlace.SETTING),
    (ph.Posthorse.job, OptionPlace.JOB),
    (ph.Posthorse.on, OptionPlace.ON),
    (ph.Posthorse.schedule, OptionPlace.SCHEDULE),
    (ph.Posthorse.queue, OptionPlace.QUEUE),
    (ph.Kind.using, OptionPlace.USING),
    (ph.Queue.set, OptionPlace.QUEUE),
    (ph.Queue.aset, OptionPlace.QUEUE),
]


def lines_of(class_: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class and its bases, which editors show."""
    tree = ast.parse(inspect.getsource(typed))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    lines: dict[str, str] = {}
    names = [class_.__name__]
    for name in names:
        node = classes[name]
        names += [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
        for field, below in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                assert isinstance(below, ast.Expr), f"{field.target.id} has no line"
                assert isinstance(below.value, ast.Constant), f"{field.target.id} has no line"
                lines[field.target.id] = " ".join(str(below.value.value).split())
    return lines


def test_no_option_is_in_the_table_twice() -> None:
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)


@pytest.mark.parametrize("place", TYPED, ids=lambda place: place.name)
def test_type_checkers_see_each_option_and_editors_show_its_line(place: OptionPlace) -> None:
    sentences = {name: option.sentence for name, option in options_at(place).items() if name != "url"}  # a parameter
    assert lines_of(TYPED[place]) == sentences
    assert set(TYPED[place].__annotations__) == set(sentences)


@pytest.mark.parametrize(("method", "place"), METHODS, ids=lambda each: getattr(each, "__name__", ""))
def test_inspect_and_help_name_each_option(method: Callable[..., object], place: OptionPlace) -> None:
    parameters = inspect.signature(method).parameters
    assert set(options_at(place)) <= set(parameters)
    assert not [each for each in parameters.values() if each.kind is each.VAR_KEYWORD]
    if inspect.isfunction(method):
        told = inspect.getdoc(method) or ""
        assert [option for option in options_at(place).values() if f"\n{option.name}: {option.line}" not in told] == []


def test_what_is_kept_has_the_names_of_the_table() -> None:
    words = {option.means or name for name, option in options_at(OptionPlace.QUEUE).items()}
    assert set(KindOptions.__struct_fields__) - {"backoff_function"} == set(options_at(OptionPlace.JOB)) - {"kind"}
    assert {field.name for field in dataclasses.fields(ChangedOptions)} == set(options_at(OptionPlace.USING))
    assert set(QueueSettings.__struct_fields__) == words | set(options_at(OptionPlace.LIVE))
    assert set(Settings.__struct_fields__) == set(options_at(OptionPlace.SETTING))


def test_defaults_of_a_schedule_are_shown_as_they_are() -> None:
    own = {each.name: each.default for each in inspect.signature(add_schedule).parameters.values()}
    shown = inspect.signature(ph.Posthorse.schedule).parameters
    assert {name: own[name] for name in options_at(OptionPlace.SCHEDULE)} | {"name": inspect.Parameter.empty} == {
        name: shown[name].default for name in options_at(OptionPlace.SCHEDULE)
    }


@pytest.mark.parametrize("name", [name for name in options_at(OptionPlace.USING) if name != "connection"])
def test_using_refuses_a_value_of_the_wrong_type_and_names_the_option(sqlite_url: str, name: str) -> None:
    app = ph.Posthorse(sqlite_url)

    @app.job
    async def job() -> None: ...

    wrong: dict[str, Any] = {name: object()}
    with pytest.raises(ph.InvalidOption, match=name.removesuffix("s")):
        job.using(**wrong)
    with pytest.raises(ph.InvalidOption, match=r"did you mean|here that is|known are"):
        job.using(**{f"{name}x": None})


@pytest.mark.parametrize("name", list(options_at(OptionPlace.JOB)))
def test_the_decorator_refuses_a_value_of_the_wrong_type_and_names_the_option(sqlite_url: str, name: str) -> None:
    wrong: dict[str, Any] = {name: object()}
    with pytest.raises(ph.InvalidOption, match=name):
        ph.Posthorse(sqlite_url).job(**wrong)
