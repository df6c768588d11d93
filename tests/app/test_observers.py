"""Declaring observers: functions of any shape that can be called, and clear errors for those that cannot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

import posthorse as ph
from posthorse.errors import DuplicateKind, InvalidOption
from posthorse.rules.growth import LOG, AlarmRule

if TYPE_CHECKING:
    from posthorse.rules.events import DeadLettersGrew

MOMENT = datetime(2040, 6, 1, 12, tzinfo=UTC)
EVENT = ph.events.DeadLettersGrew(
    queue="mail", count=12, since=MOMENT, until=MOMENT, kinds={"welcome": 12}, errors={"KeyError": 12}, jobs=["1", "2"]
)


@pytest.fixture
def app() -> ph.Posthorse:
    return ph.Posthorse("sqlite:///never-opened.db")


def observe(app: ph.Posthorse, function: Callable[..., object]) -> None:
    app.on(ph.events.DeadLettersGrew)(cast("Callable[[ph.events.DeadLettersGrew], object]", function))


def plain(event: ph.events.DeadLettersGrew) -> None: ...


def bare(event) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - of code without types


def seen_by_checkers_alone(event: DeadLettersGrew) -> None: ...


def of_anything(event: Any, *more: int, often: int = 1) -> None: ...  # noqa: ANN401


def with_context(ctx: ph.Context, event: ph.events.DeadLettersGrew) -> None: ...


async def awaited(event: ph.events.DeadLettersGrew) -> None: ...


@pytest.mark.parametrize("function", [plain, bare, seen_by_checkers_alone, of_anything, with_context, awaited])
def test_the_event_reaches_a_function_of_any_shape(app: ph.Posthorse, function: Callable[..., object]) -> None:
    observe(app, function)
    registered = app.registry[function.__name__]
    job = app.registry.observers[function.__name__].make(EVENT)
    args, kwargs = registered.signature.decode(job.arguments)
    assert (*args, *kwargs.values()) == (EVENT,)
    assert (registered.function, registered.is_async) == (function, function is awaited)
    assert registered.signature.wants_context == (function is with_context)


def test_an_observer_stays_a_function_and_is_a_kind_with_options(app: ph.Posthorse) -> None:
    @app.on(ph.events.DeadLettersGrew, queue="mail", by=3, within="1m", name="alarm", max_attempts=2, backoff="1s")
    def tell(event: ph.events.DeadLettersGrew) -> str:
        return event.queue

    assert tell(EVENT) == "mail"
    options = app.registry["alarm"].options
    assert (options.queue, options.max_attempts) == ("posthorse", 2)
    assert app.registry.observers["alarm"].rule == AlarmRule("alarm", 3, 60_000_000, "mail")
    assert app.registry.observers["alarm"].make(EVENT).lane == app.registry.observers["alarm"].lane


def test_what_is_left_out_is_as_for_the_log(app: ph.Posthorse) -> None:
    observe(app, plain)
    rule = app.registry.observers["plain"].rule
    assert (rule.by, rule.within, rule.queue) == (LOG.by, LOG.within, LOG.queue)


def of_nothing() -> None: ...
def of_more(event: ph.events.DeadLettersGrew, more: int) -> None: ...
def of_a_number(event: int) -> None: ...
def by_name(*, event: ph.events.DeadLettersGrew) -> None: ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (of_nothing, r"of_nothing\(\) takes no event"),
        (by_name, r"by_name\(\) takes no event"),
        (of_more, r"of_more\(\) needs 'more' as well"),
        (of_a_number, r"of_a_number\(\) takes 'event' as .*int.*, and is notified of ph.events.DeadLettersGrew"),
    ],
)
def test_a_function_that_cannot_be_told_is_refused(
    app: ph.Posthorse, function: Callable[..., object], told: str
) -> None:
    with pytest.raises(InvalidOption, match=told):
        observe(app, function)
    assert function.__name__ not in app.registry
    assert not app.registry.observers


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"by": 0}, "by is 0"),
        ({"within": "soon"}, "within is 'soon'"),
        ({"queue": ""}, "queue is ''"),
        ({"name": "*"}, "name is '\\*'"),
        ({"max_attempts": 0}, "max_attempts is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(app: ph.Posthorse, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidOption, match=told):
        app.on(ph.events.DeadLettersGrew, **options)


def test_an_event_that_there_is_not_is_refused(app: ph.Posthorse) -> None:
    with pytest.raises(InvalidOption, match=r"app.on\(\) cannot tell of .*int"):
        app.on(cast("type[ph.events.DeadLettersGrew]", int))


def test_two_observers_of_one_name_are_refused(app: ph.Posthorse) -> None:
    observe(app, plain)
    with pytest.raises(DuplicateKind):
        observe(app, plain)
