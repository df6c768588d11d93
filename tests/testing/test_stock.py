"""Stocks in tests of applications: refilled by hand, made by a drain, or at once inside `inline`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

import posthorse as ph
from posthorse import testing as pt
from tests.testing import shop
from tests.testing.shop import welcome


@pytest.fixture
def tickets() -> Iterator[ph.Stock[int]]:
    yield shop.app.stock(welcome.bind(7), level=2, name="tickets")
    del shop.app.registry.stocks["tickets"]


def test_a_shelf_is_refilled_and_drained(kit: pt.Kit, tickets: ph.Stock[int]) -> None:
    assert tickets.refill() == 2
    assert kit.drain().completed == 2
    assert tickets.take() == 7
    with closing(sqlite3.connect(":memory:")) as mine:  # another database, whose transaction the store cannot join
        assert tickets.take(connection=mine) == 7
    with pytest.raises(ph.StockEmpty, match="2 are being made"):
        tickets.take()


def test_inside_inline_an_empty_shelf_is_filled_at_once(kit: pt.Kit, tickets: ph.Stock[int]) -> None:
    with kit.inline():
        assert tickets.take() == 7
    assert tickets.status().made == 1
