"""The registry: kinds under their names and aliases, each name once."""

from __future__ import annotations

import pytest

from posthorse.errors import DuplicateKind, InvalidOption, UnknownKind
from posthorse.rules.registry import KindOptions, Registered, Registry, make_kind_options, register
from posthorse.rules.retry import Backoff


class Context:
    """The stand-in for the context of jobs."""


def welcome() -> None: ...


async def report(ctx: Context) -> None: ...


def registered(function: object, **options: object) -> Registered:
    kind = options.pop("kind", None)
    assert kind is None or isinstance(kind, str)
    return register(function, kind=kind, options=make_kind_options(options), context_type=Context)  # type: ignore[arg-type]  # some are none


def test_a_kind_is_found_by_its_name_and_its_aliases() -> None:
    registry = Registry()
    registry.add(registered(welcome, aliases=["hello", "hi"]))
    assert registry["welcome"] is registry["hello"] is registry["hi"]
    assert list(registry) == ["welcome", "hello", "hi"]
    assert len(registry) == 3
    assert "hi" in registry
    assert "hey" not in registry
    assert 7 not in registry


def test_an_unknown_kind_names_its_neighbour_or_all() -> None:
    registry = Registry()
    with pytest.raises(UnknownKind, match="known are: none"):
        registry["welcome"]
    registry.add(registered(welcome))
    with pytest.raises(UnknownKind, match=r"did you mean 'welcome'\?"):
        registry["welcom"]
    with pytest.raises(UnknownKind, match="known are: welcome"):
        registry["zzz"]


@pytest.mark.parametrize(
    "options", [{"kind": "welcome"}, {"aliases": ["welcome"]}, {"kind": "hi"}, {"aliases": ["x", "hi"]}]
)
def test_a_name_that_is_taken_is_refused_and_nothing_is_entered(options: dict[str, object]) -> None:
    registry = Registry()
    registry.add(registered(welcome, aliases=["hi"]))
    with pytest.raises(DuplicateKind, match=r"taken by .*welcome; give .*report another"):
        registry.add(registered(report, **options))
    assert list(registry) == ["welcome", "hi"]


def test_what_a_kind_is_can_be_read_from_its_function() -> None:
    plain, long = registered(welcome), registered(report, timeout="2s")
    assert (plain.kind, plain.is_async, plain.signature.wants_context) == ("welcome", False, False)
    assert (long.kind, long.is_async, long.signature.wants_context) == ("report", True, True)
    assert long.options.timeout == 2.0


def test_options_left_out_are_the_defaults() -> None:
    assert make_kind_options({}) == KindOptions()
    assert make_kind_options({"queue": None, "timeout": None}) == KindOptions()
    assert (KindOptions().max_attempts, KindOptions().max_crashes) == (5, 3)


def test_options_are_brought_into_one_form() -> None:
    options = make_kind_options({"tags": ["a"], "backoff": "3s", "timeout": "1m", "aliases": ["x"]})
    assert (options.tags, options.timeout, options.aliases) == (("a",), 60.0, ("x",))
    assert options.backoff == Backoff(base=3.0, factor=1.0, limit=3.0, jitter=0.0)


@pytest.mark.parametrize("function", [7, "welcome", Context, Context(), None])
def test_what_is_no_function_is_refused(function: object) -> None:
    with pytest.raises(InvalidOption, match="needs a function"):
        registered(function)
