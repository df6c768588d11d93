"""Evidence prints errors as Python does, although it reads the source of a place only once."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from posthorse.worker.base import evidence
from posthorse.worker.base.evidence import evidence_of


def fail(reason: object) -> None:
    raise ValueError(reason, [1, 2][0] + 1)


def fail_deeply() -> None:
    fail("below")


def fail_twice() -> None:
    try:
        fail("first")
    except ValueError:
        raise KeyError("second") from None


def fail_from_another() -> None:
    try:
        fail("first")
    except ValueError as error:
        raise KeyError("second") from error


def fail_again_and_again(depth: int = 9) -> None:
    if depth:
        fail_again_and_again(depth - 1)
    fail("deep down")


def fail_with_notes() -> None:
    error = ValueError("noted")
    error.add_note("and this")
    raise error


def fail_together() -> None:
    raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])


def misspell() -> None:
    reason = 1
    fail([resaon, reason])  # type: ignore[name-defined]  # noqa: F821  # on purpose


class Own(Exception):
    """An error with a module, and a message of its own."""

    def __str__(self) -> str:
        return "as it likes\nto be told"


class Unprintable(Exception):
    """An error whose message cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("no")


class Named(type):
    """A metaclass that names its classes as it likes."""

    __qualname__ = "Other"


class OfNamed(Exception, metaclass=Named):
    """An error with a metaclass."""


class Elsewhere(Exception):
    """An error without a proper module."""

    __module__ = 3  # type: ignore[assignment]  # on purpose


def fail_with(error: BaseException) -> None:
    raise error


def mistake() -> None:
    fail("text".lowerer)  # type: ignore[attr-defined]  # on purpose


FAILURES: list[Callable[[], None]] = [
    *(fail_deeply, fail_twice, fail_from_another, fail_again_and_again, fail_with_notes, fail_together, misspell),
    lambda: exec("1 +"),
    lambda: exec("1 / 0"),
    lambda: fail("told"),
    *(
        partial(fail_with, error)
        for error in (Own(), Unprintable(), OfNamed("x"), ValueError(), KeyError("a\n b"), OSError(2, "no"))
    ),
    *(
        partial(fail_with, error)
        for error in (Elsewhere("x"), SystemExit(3), ImportError("x", name="jsn"), AttributeError("x"))
    ),
    mistake,
]


def error_of(failure: Callable[[], None]) -> BaseException:
    try:
        failure()
    except BaseException as error:
        return error
    raise AssertionError("it did not fail")


def told_of(error: BaseException) -> str | None:
    return evidence_of(error, error.__traceback__).traceback


@pytest.mark.parametrize("failure", FAILURES)
def test_an_error_is_printed_as_python_does_however_often(failure: Callable[[], None]) -> None:
    for _ in range(3):
        error = error_of(failure)
        printed = "".join(traceback.format_exception(error))
        assert told_of(error) == printed


def test_places_in_one_function_are_told_apart() -> None:
    def fail_here_or_there(there: bool) -> None:
        if there:
            raise ValueError("there")
        raise ValueError("here")

    for there in (True, False, True):
        error = error_of(partial(fail_here_or_there, there))
        assert told_of(error) == "".join(traceback.format_exception(error))


def test_the_source_of_a_place_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "_places", {})
    looks: list[str | None] = []
    look = linecache.checkcache

    def noting(filename: str | None = None) -> None:
        looks.append(filename)
        look(filename)

    monkeypatch.setattr(linecache, "checkcache", noting)
    for number in range(100):
        error = error_of(partial(fail, number))
        told = evidence_of(error, error.__traceback__)
        assert told.message == f"({number}, 2)"
    assert 0 < len(looks) < 10


def test_few_places_are_kept_and_threads_may_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[object, object] = {}
    monkeypatch.setattr(evidence, "MAX_PLACES", 4)
    monkeypatch.setattr(evidence, "_places", kept)
    failing: list[Callable[[], None]] = [eval(f"lambda: fail({number})", {"fail": fail}) for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        errors = list(pool.map(error_of, failing * 5))
        told = list(pool.map(told_of, errors))
    assert told == ["".join(traceback.format_exception(error)) for error in errors]
    assert 0 < len(kept) <= 8
