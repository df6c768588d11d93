"""A page cursor is accepted only for the filter, the tenant and the store that it was made for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.errors import InvalidOption
from posthorse.rules.search.budget import MAX_WINDOW, first_window, next_window
from posthorse.rules.search.page_cursor import Position, seal, unseal
from posthorse.rules.search.text import parse_filter
from posthorse.rules.search.ways import Way

KEY = b"k" * 32
WANTED = parse_filter("kind:a state:completed")
POSITION = Position(Way.LANE, "01936f5e-7c1a-7d2b-8e3f-0123456789ab", 7)


def test_a_cursor_is_taken_back() -> None:
    cursor = seal(POSITION, WANTED, KEY, tenant="acme")
    assert unseal(cursor, parse_filter("state:completed kind:a"), KEY, tenant="acme") == POSITION
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_a_cursor_of_something_else_is_refused() -> None:
    cursor = seal(POSITION, WANTED, KEY, tenant="acme")
    with pytest.raises(InvalidOption, match="another filter"):
        unseal(cursor, parse_filter("kind:a"), KEY, tenant="acme")
    with pytest.raises(InvalidOption, match="another tenant"):
        unseal(cursor, WANTED, KEY, tenant=None)
    with pytest.raises(InvalidOption, match="not made by this store"):
        unseal(cursor, WANTED, b"x" * 32, tenant="acme")


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading_of_a_cursor(text: str) -> None:
    with pytest.raises(InvalidOption, match="not made by this store"):
        unseal(text, WANTED, KEY)


@given(st.integers(0, 10_000), st.integers(1, 127))
def test_a_changed_cursor_is_refused(place: int, change: int) -> None:
    cursor = seal(POSITION, WANTED, KEY)
    place %= len(cursor) - 1  # the last character has bits that mean nothing
    changed = cursor[:place] + chr((ord(cursor[place]) + change) % 128) + cursor[place + 1 :]
    with pytest.raises(InvalidOption, match="not made by this store"):
        unseal(changed, WANTED, KEY)


def test_windows_grow_while_they_are_quick_and_shrink_where_they_are_slow() -> None:
    assert first_window(50, judges=False) == 51
    assert first_window(50, judges=True) == 250
    assert next_window(250, 0.001, 0.16, 0.15) == 1_250
    assert next_window(4_000, 0.001, 0.16, 0.15) == MAX_WINDOW
    assert next_window(5_000, 0.02, 0.16, 0.15) == MAX_WINDOW
    assert next_window(5_000, 0.1, 0.16, 0.06) == 2_000
    assert next_window(1, 9.0, 0.16, 0.0) == 1
    assert next_window(250, 0.0, 0.16, 0.16) == 1_250


@given(st.lists(st.floats(1e-7, 1e-3), min_size=30, max_size=30), st.integers(1, 1_000))
def test_no_window_is_planned_for_more_than_is_left_of_the_budget(costs: list[float], limit: int) -> None:
    """Each window finds jobs of another cost; what is planned follows from the cost of the one before."""
    within = 0.15
    window, left = first_window(limit, judges=True), within
    for cost in costs:
        took = window * cost
        left -= took
        if left <= 0:
            break
        window = next_window(window, took, within, left)
        assert window == 1 or window * cost <= min(left, within / 4) * 1.000_001
