"""A decorated function is a function to everything that asks: inspect, typing, copy and pickle."""

from __future__ import annotations

import asyncio
import copy
import functools
import importlib
import inspect
import multiprocessing
import pickle
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import posthorse as ph

SHOP = """
from __future__ import annotations
import posthorse as ph

app = ph.Posthorse("sqlite:///shop.db")

def plain(text: str, times: int = 1) -> int:
    "Counts words."
    return times * len(text.split())

@app.job
def count(text: str, times: int = 1) -> int:
    "Counts words."
    return times * len(text.split())

@app.job(queue="loud")
async def shout(text: str) -> str:
    return text.upper()

other_name = app.job(plain)

class Shelf:
    @app.job
    def filed(n: int) -> int:
        return n
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[typing.Any]:
    (tmp_path / "shop_of_words.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("shop_of_words")
    yield module
    module.app.close()
    del sys.modules["shop_of_words"]


def test_it_has_the_names_defaults_and_notes_of_its_function(shop: typing.Any) -> None:  # noqa: ANN401 - a module
    assert shop.count.__qualname__ == "count"
    assert shop.Shelf.filed.__qualname__ == "Shelf.filed"
    assert shop.count.__defaults__ == (1,)
    assert shop.count.__code__ is shop.count.__wrapped__.__code__
    assert typing.get_type_hints(shop.count) == {"text": str, "times": int, "return": int}
    assert getattr(typing.Generic, "__annotations__", None) is not None  # as a check against a protocol does
    assert typing.get_type_hints(shop.count) == {"text": str, "times": int, "return": int}
    assert str(inspect.signature(shop.count)) == "(text: 'str', times: 'int' = 1) -> 'int'"
    assert shop.count("a b c", times=2) == 6


def test_what_it_does_not_have_is_an_error_in_its_own_name(shop: typing.Any) -> None:  # noqa: ANN401 - a module
    with pytest.raises(AttributeError, match="<Kind 'count'> has no attribute 'enque'"):
        _ = shop.count.enque
    assert not hasattr(shop.count, "colour")


def test_notes_of_other_decorators_are_found(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)

    def noted(function: typing.Any) -> typing.Any:  # noqa: ANN401 - any function
        function.note = "fragile"
        return function

    @app.job
    @noted
    def job() -> None: ...

    assert typing.cast("typing.Any", job).note == "fragile"


def test_frameworks_see_which_are_coroutine_functions(shop: typing.Any) -> None:  # noqa: ANN401 - a module
    assert inspect.iscoroutinefunction(shop.shout)
    assert inspect.iscoroutinefunction(functools.partial(shop.shout, "a"))
    assert not inspect.iscoroutinefunction(shop.count)
    assert asyncio.run(shop.shout("a")) == "A"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_are_the_thing_itself(copied: typing.Callable[[object], object], sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)

    @app.job
    def local(n: int) -> int:
        return n

    for thing in (app, local, local.using(delay="1h")):
        assert copied(thing) is thing
    call = typing.cast("ph.Call[int]", copied(local.bind(1)))
    assert call.app is app


def test_pickled_it_is_found_by_name_as_functions_are(shop: typing.Any) -> None:  # noqa: ANN401 - a module
    for thing in (shop.count, shop.shout, shop.Shelf.filed, shop.app):
        assert pickle.loads(pickle.dumps(thing)) is thing
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(shop.count, ["a b", "c"]) == [2, 1]


def test_pickled_under_another_name_it_is_the_same_kind(shop: typing.Any) -> None:  # noqa: ANN401 - a module
    again = pickle.loads(pickle.dumps(shop.other_name))
    assert (again.kind, again("a b")) == ("plain", 2)


def test_pickled_with_other_options_it_keeps_them(shop: typing.Any) -> None:  # noqa: ANN401 - a module
    kind = shop.count.using(priority=7, tags=["a"], key=ph.Key("k", ttl="1h"), unique=ph.Unique(until="queued"))
    again = pickle.loads(pickle.dumps(kind))
    assert again.bind("a").template == kind.bind("a").template
    assert pickle.loads(pickle.dumps(kind.bind("a"))) == kind.bind("a")
    job = kind.enqueue("a")
    assert pickle.loads(pickle.dumps(job)) == job


def test_an_application_without_a_place_says_why_it_cannot_be_pickled(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)

    @app.job
    def local() -> None: ...

    for thing in (app, local, local.using(priority=1), local.bind()):
        with pytest.raises(pickle.PicklingError, match="no module holds the application in a variable"):
            pickle.dumps(thing)
