"""How numbered parameters reach SQLite. Python 3.12.0 to 3.12.3 take `?1` for a name, and warn of it in a sequence."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

NUMBERS_ARE_NAMES = (3, 12) <= sys.version_info[:3] < (3, 12, 4)
"""Whether this Python takes them for names (gh-117995): then they are given by name, without the question mark."""


def by_number(given: Sequence[T]) -> Mapping[str, T]:
    """Parameters in order, by what such a Python calls them."""
    return {str(number): value for number, value in enumerate(given, 1)}


def bound(given: Sequence[T]) -> Sequence[T] | Mapping[str, T]:
    """Return parameters as this Python takes them for a statement with numbers."""
    return by_number(given) if NUMBERS_ARE_NAMES else given
