"""Declaring kinds: bare and called, under which names, with which options, and still a function."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, SupportsInt, TypedDict, TypeVar, cast

import pytest

import posthorse as ph


@pytest.fixture
def lone(sqlite_url: str) -> ph.Posthorse:
    """Return an application whose store is never opened."""
    return ph.Posthorse(sqlite_url)


def test_a_bare_decorator_takes_the_name_of_the_function(lone: ph.Posthorse) -> None:
    @lone.job
    def welcome(user_id: int) -> str:
        """Say hello."""
        return f"hello {user_id}"

    assert welcome.kind == "welcome"
    assert welcome(7) == "hello 7"
    assert welcome.__doc__ == "Say hello."
    assert welcome.__name__ == "welcome"
    assert inspect.signature(welcome).parameters.keys() == {"user_id"}
    assert repr(welcome) == "<Kind 'welcome'>"


def test_a_called_decorator_takes_options(lone: ph.Posthorse) -> None:
    @lone.job(kind="greet", queue="mail", priority=-3, tags=["a", "b"], max_attempts=2)
    def welcome() -> None: ...

    assert welcome.kind == "greet"
    status = welcome.enqueue().status()
    assert (status.kind, status.queue, status.priority, status.tags, status.max_attempts) == (
        "greet",
        "mail",
        -3,
        ("a", "b"),
        2,
    )
    lone.close()


def test_an_empty_call_is_as_good_as_a_bare_decorator(lone: ph.Posthorse) -> None:
    @lone.job()
    def welcome() -> None: ...

    assert welcome.kind == "welcome"


def test_a_plain_call_of_an_async_job_gives_its_coroutine(lone: ph.Posthorse) -> None:
    @lone.job
    async def answer() -> int:
        return 42

    coroutine = answer()
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value == 42


def test_a_plain_call_with_a_context_passes_it_on(lone: ph.Posthorse) -> None:
    @lone.job
    def whose(ctx: ph.Context, name: str) -> str:
        return f"{name} {ctx}"

    assert whose(cast("ph.Context", "of mine"), "x") == "x of mine"


def test_two_functions_under_one_kind_are_refused_and_both_are_named(lone: ph.Posthorse) -> None:
    @lone.job
    def welcome() -> None: ...

    def other() -> None: ...

    with pytest.raises(ph.DuplicateKind, match=r"'welcome' is taken by .*welcome; give .*other another"):
        lone.job(kind="welcome")(other)
    with pytest.raises(ph.DuplicateKind):
        lone.job(aliases=["welcome"])(other)
    assert "other" not in lone.registry


def test_old_rows_run_after_a_rename(store_url: str) -> None:
    before, after = ph.Posthorse(store_url, lease="6s"), ph.Posthorse(store_url, lease="6s")

    @before.job
    def old_name(number: int) -> int:
        return number

    @after.job(aliases=["old_name"])
    def new_name(number: int) -> int:
        return number * 2

    job = old_name.enqueue(4)
    with after.worker():
        assert after.get_job(job.id).result(timeout=30) == 8
    assert new_name.kind == "new_name"
    before.close()
    after.close()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"quue": "mail"}, r"no option 'quue'; did you mean 'queue'\?"),
        ({"delay": 3}, "no option 'delay'"),
        ({"kind": ""}, "kind is ''"),
        ({"kind": 7}, "kind is 7"),
        ({"kind": "a" * 201}, "1 to 200"),
        ({"kind": "*"}, "kind"),
        ({"queue": ""}, "queue is ''"),
        ({"queue": " mail"}, "surrounding spaces"),
        ({"queue": "a\0b"}, "queue"),
        ({"queue": "a\u202eb"}, "queue"),
        ({"priority": 101}, "priority is 101"),
        ({"priority": -(2**31)}, "from -100 to 100"),
        ({"priority": 1.5}, "priority is 1.5"),
        ({"priority": True}, "priority is True"),
        ({"tags": "signup"}, "tags is 'signup'; give a list"),
        ({"tags": ["x"] * 10_000}, "10000 tags are more"),
        ({"tags": [""]}, "tag is ''"),
        ({"tags": {"a": 1}}, "tags is"),
        ({"aliases": "old"}, "aliases is 'old'; give a list"),
        ({"aliases": [""]}, "alias is ''"),
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"max_attempts": -1}, "max_attempts is -1"),
        ({"max_attempts": 10**9}, "max_attempts is 1000000000"),
        ({"max_crashes": True}, "max_crashes is True"),
        ({"backoff": -1}, "backoff is -1"),
        ({"backoff": float("inf")}, "backoff is inf"),
        ({"backoff": "soon"}, "backoff is 'soon'"),
        ({"timeout": 0}, "timeout must be longer than zero"),
        ({"timeout": -1}, "timeout is -1"),
        ({"timeout": "1 fortnight"}, "not a duration"),
        ({"timeout": 1e12}, "timeout is 1000000000000.0"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(lone: ph.Posthorse, options: dict[str, object], complaint: str) -> None:
    async def job() -> None: ...

    with pytest.raises(ph.InvalidOption, match=complaint):
        lone.job(**options)(job)  # type: ignore[call-overload]  # that is the point
    assert len(lone.registry) == 0


def test_what_is_no_function_of_a_job_is_refused(lone: ph.Posthorse) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def anumbers() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(ph.InvalidOption, match="has a yield"):
        lone.job(numbers)
    with pytest.raises(ph.InvalidOption, match="has a yield"):
        lone.job(anumbers)
    with pytest.raises(ph.InvalidOption, match="needs a function, not 'mail'"):
        lone.job("mail")  # type: ignore[call-overload]  # that is the point
    with pytest.raises(ph.InvalidOption, match="needs a function"):
        lone.job(type("Callable", (), {"__call__": lambda self: None})())


def test_kinds_of_unicode_names_are_kinds_like_others(app: ph.Posthorse) -> None:
    @app.job(kind="grüße 🐎", queue="почта")
    def greet() -> str:
        return "да"

    with app.worker():
        assert greet.enqueue().result(timeout=30) == "да"


def test_quotes_in_a_queue_name_are_only_text(app: ph.Posthorse) -> None:
    @app.job(queue="'; DROP TABLE jobs; --")
    def fine() -> None: ...

    with app.worker(queues=["'; DROP TABLE jobs; --"]):
        fine.enqueue().result(timeout=30)


# ── what cannot be a job ─────────────────────────────────────────────────────────────────────────────


def test_methods_are_refused_with_what_to_do(lone: ph.Posthorse) -> None:
    def declare(kind: str, decorator: Callable[[Callable[..., object]], object]) -> None:
        class Mailer:
            @decorator
            def send(self, letter: int) -> None: ...

    with pytest.raises(ph.InvalidOption, match=r"Mailer.send is a method: a worker has no .*Mailer to call it on"):
        declare("method", lone.job)
    with pytest.raises(ph.InvalidOption, match=r"Mailer.send is a class method, .*declare a function that calls it"):
        declare("class method", lambda function: lone.job(cast("Callable[..., object]", classmethod(function))))
    with pytest.raises(ph.InvalidOption, match=r"static method already; write @staticmethod above @app.job"):
        declare("static method", lambda function: lone.job(staticmethod(function)))
    assert len(lone.registry) == 0


def test_a_function_in_a_class_is_a_job_like_any_other(lone: ph.Posthorse) -> None:
    class Mailer:
        @staticmethod
        @lone.job
        def send(letter: int) -> int:
            return letter

    assert Mailer.send(7) == Mailer().send(7) == 7
    assert Mailer.send.bind(7).template.arguments == '{"letter":7}'


@pytest.mark.parametrize("name", ["self", "cls", "args", "kwargs", "app", "function"])
def test_arguments_may_have_any_name(lone: ph.Posthorse, name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def job({name}: int) -> int: return {name}", namespace)
    job: Any = lone.job(namespace["job"])
    assert job(**{name: 7}) == 7
    assert job.bind(**{name: 7}).template.arguments == f'{{"{name}":7}}'
    made = job.enqueue(**{name: 7})
    made.cancel()
    made.retry_with(**{name: 8})
    with lone.worker():
        assert made.result(timeout=30) == 8
    lone.close()


@pytest.mark.parametrize(
    "thing",
    [functools.partial(print, 1), type, object()],
    ids=["partial", "class", "object"],
)
def test_what_is_no_function_with_a_name_is_refused(lone: ph.Posthorse, thing: Any) -> None:  # noqa: ANN401 - anything
    with pytest.raises(ph.InvalidOption, match=r"needs a function, not"):
        lone.job(thing)


def test_a_job_is_no_function_to_declare_again_and_says_which_is(lone: ph.Posthorse) -> None:
    @lone.job
    def welcome() -> None: ...

    with pytest.raises(ph.InvalidOption, match=r"not <Kind 'welcome'>; .*the function itself \(\.__wrapped__\)"):
        lone.job(kind="other")(welcome)


@pytest.mark.parametrize("declared", ["week: str, job: ph.Context", "week: str, *, job: ph.Context | None = None"])
def test_a_context_in_another_place_is_refused(lone: ph.Posthorse, declared: str) -> None:
    namespace: dict[str, Any] = {"ph": ph}
    exec(f"def report({declared}) -> None: ...", namespace)
    with pytest.raises(ph.InvalidOption, match=r"takes its context as 'job'; the context comes first.*\(job: ph.Con"):
        lone.job(namespace["report"])


class Image:
    """A class of a library."""


class Shape:
    """A base class; see below."""


@dataclasses.dataclass
class Circle(Shape):
    radius: int


@dataclasses.dataclass
class Album:
    name: str
    cover: Image


@dataclasses.dataclass
class Node:
    above: Node | None


class Page(TypedDict):
    image: Image


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (Image, "Image"),
        (Image | None, "Image"),
        (list[Image], "Image"),
        (dict[str, tuple[int, Image]], "Image"),
        (Album, "Image"),
        (Page, "Image"),
        (Path, "Path"),
        (complex, "complex"),
        (Iterator[int], r"Iterator\[int\]"),
        (Generator[int, None, None], "Generator"),
        (Callable[[], int], "Callable"),
        (type[int], r"type\[int\]"),
        (Awaitable[Image], "Image"),
        (Annotated[Image, "of a library"], "Image"),
    ],
)
def test_a_result_that_could_never_be_stored_is_refused(lone: ph.Posthorse, returned: object, told: str) -> None:
    def job() -> None: ...

    job.__annotations__["return"] = returned
    with pytest.raises(ph.InvalidOption, match=f"annotated to return {told}.*, so its jobs could never complete"):
        lone.job(job)


@pytest.mark.parametrize(
    "returned",
    [
        *(int | Image, Shape, Circle, Node, object, Any, None, NoReturn, Iterable[int], Mapping[str, Node], Hashable),
        *(Literal[1], date, Decimal, set[int], list[Any], "Unheard", TypeVar("T"), Sequence[Shape], SupportsInt),
    ],
)
def test_a_result_that_may_be_stored_is_no_error(lone: ph.Posthorse, returned: object) -> None:
    def job() -> None: ...

    job.__annotations__["return"] = returned
    assert lone.job(job).kind == "job"
