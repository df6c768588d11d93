"""Declared rows: what statements declare about their rows, and whether a row is as declared."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from posthorse import store
from posthorse.store.base import TypedQuery
from posthorse.store.queries import Row

Declared = TypedQuery[Any]


def declared_queries() -> dict[str, Declared]:
    """Return every query that a module of the store declares. No statement is declared twice."""
    found: dict[str, Declared] = {}
    for module in pkgutil.walk_packages(store.__path__, f"{store.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            for query in value.values() if isinstance(value, dict) else (value,):
                if isinstance(query, TypedQuery):
                    assert found.setdefault(query.name, query) is query, f"{query.name} is declared twice"
    return found


def names_of(query: Declared) -> tuple[str, ...] | None:
    """Return the names of the columns; None if a plain tuple declares only their types."""
    return getattr(query.row, "_fields", None)


@cache
def types_of(query: Declared) -> list[set[type]]:
    """Return the types that each column may have; cached, because tests check every row that they read."""
    names = names_of(query)
    hints = get_args(query.row) if names is None else [get_type_hints(query.row)[name] for name in names]
    return [set(_types_in(hint)) for hint in hints]


def check(query: Declared, rows: Sequence[Row]) -> None:
    """Raise AssertionError if one of the rows is not as declared."""
    declared = types_of(query)
    for row in rows:
        assert isinstance(row, get_origin(query.row) or query.row), f"{query.name} is made of {type(row).__name__}"
        told = [type(value) for value in row]
        assert len(told) == len(declared), f"{query.name} returned {len(told)} columns, and declares {len(declared)}"
        # A bool is an int, as declared: SQLite has only numbers.
        fits = [one in types or (one is bool and int in types) for one, types in zip(told, declared, strict=True)]
        assert all(fits), f"column {fits.index(False)} of {query.name} is a {told[fits.index(False)].__name__}"


@contextmanager
def all_checked() -> Iterator[None]:
    """Check all rows that operations of this process read."""
    unchecked = TypedQuery.typed

    def checked(query: Declared, found: object) -> list[Any]:
        rows = unchecked(query, found)
        check(query, rows)
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TypedQuery, "typed", checked)
        yield


def _types_in(hint: object) -> Iterator[type]:
    if isinstance(hint, UnionType):
        for part in get_args(hint):
            yield from _types_in(part)
    elif get_origin(hint) is Literal:
        yield from map(type, get_args(hint))
    else:
        assert isinstance(hint, type), f"{hint} is not a type of a column"
        yield hint
