"""Every error that users may meet can be pickled, copied and raised again, and keeps what it says and carries."""

from __future__ import annotations

import concurrent.futures
import copy
import importlib
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import pytest

import posthorse as ph
from posthorse import errors
from posthorse.errors import PosthorseError

E = TypeVar("E", bound=BaseException)

OF_THEIR_OWN: dict[type[BaseException], Callable[[], BaseException]] = {
    ph.NotUnique: lambda: ph.NotUnique("welcome", "0193", "pending"),
    ph.QueueFull: lambda: ph.QueueFull("mail", depth=7, max_depth=7, wanted=2, retry_after=1.5),
    ph.QueueClosed: lambda: ph.QueueClosed("mail"),
    ph.StockEmpty: lambda: ph.StockEmpty("tickets", tenant="acme", ordered=2),
    ph.Retry: lambda: ph.Retry("busy", after="5m"),
    ph.Snooze: lambda: ph.Snooze("1h", "closed"),
    ph.ChildFailed: lambda: ph.ChildFailed("1 of 3 children failed"),
    ph.GiveUp: lambda: ph.GiveUp("no such user"),
    ph.Skip: lambda: ph.Skip("no photos"),
}
"""Errors that are not made from a text."""


class Late(ph.Snooze):
    """A user's own error, which is made in yet another way."""

    def __init__(self, order: int) -> None:
        self.order = order
        super().__init__(timedelta(hours=order), f"order {order}")


def below(kind: type[E]) -> Iterator[type[E]]:
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


def all_errors() -> list[type[BaseException]]:
    """Return the public errors, the tree of errors, and whatever derives from them in any module."""
    for module in pkgutil.walk_packages(ph.__path__, "posthorse."):
        if not module.name.startswith(("posthorse.store", "posthorse.cli", "posthorse.worker", "posthorse.__main__")):
            importlib.import_module(module.name)
    public = [*(getattr(ph, name) for name in ph.__all__), *vars(errors).values()]
    found = {each for each in public if isinstance(each, type) and issubclass(each, BaseException)}
    found |= {each for each in below(PosthorseError) if each.__module__.partition(".")[0] == "posthorse"}
    return sorted(found, key=lambda each: each.__name__)


def made(kind: type[BaseException]) -> BaseException:
    error = OF_THEIR_OWN.get(kind, lambda: kind("what happened", 7))()
    if isinstance(error, ph.StoreError):
        error.where = "sqlite:///jobs.db"
    error.add_note("seen on Tuesday")
    return error


def assert_same(error: BaseException, other: BaseException) -> None:
    assert other is not error
    assert type(other) is type(error)
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("kind", [*all_errors(), Late], ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_it_was(kind: type[BaseException]) -> None:
    error = Late(3) if kind is Late else made(kind)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert_same(error, pickle.loads(pickle.dumps(error, protocol)))
    for other in (copy.copy(error), copy.deepcopy(error)):
        assert_same(error, other)
        with pytest.raises(kind) as caught:
            raise other from error
        assert caught.value is other
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert_same(error, again)


def test_none_that_is_made_in_a_way_of_its_own_is_left_out() -> None:
    odd = {kind for kind in all_errors() if "__init__" in vars(kind)}
    assert odd == set(OF_THEIR_OWN)
    assert {ph.NotUnique, ph.Interrupted, ph.StoreError, PosthorseError} < set(all_errors())


def fail() -> None:
    raise made(ph.QueueFull)


def test_an_error_comes_out_of_a_pool_of_processes() -> None:
    context = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(ph.QueueFull) as caught,
    ):
        pool.submit(fail).result(timeout=60)
    assert (caught.value.queue, caught.value.retry_after) == ("mail", 1.5)
