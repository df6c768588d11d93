"""Query parameters as values, and the problems that name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from posthorse.errors import InvalidOption
from posthorse.web.problems import invalid_field, invalid_parameter


@contextmanager
def blamed_on_parameter(name: str) -> Iterator[None]:
    """Let an InvalidOption in the block become the problem of a parameter."""
    try:
        yield
    except InvalidOption as error:
        raise invalid_parameter(name, str(error)) from None


@contextmanager
def blamed_on_field(pointer: str) -> Iterator[None]:
    """Let an InvalidOption in the block become the problem of a value in the body."""
    try:
        yield
    except InvalidOption as error:
        raise invalid_field(pointer, str(error)) from None


def checked_count(limit: int, most: int) -> int:
    """Return how many a client gets: more than the most counts as that (AIP-158). Raises Problem."""
    if limit < 1:
        raise invalid_parameter("limit", f"it is {limit:.0f}; it must be 1 or more")
    return min(limit, most)
