"""`posthorse stock`: with the application, with a store only, and for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Shop, make_shop
from tests.waiting import until

STOCKS = """

app.stock(count.bind(3), level=2, name="counts", ttl="1d")
app.stock(welcome.bind(1), level=1, name="welcomes")
"""


@pytest.fixture
def office(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Yield the shop, with stocks."""
    shop = make_shop(tmp_path, store_url, monkeypatch)
    with (tmp_path / "shop.py").open("a", encoding="utf-8") as file:
        file.write(STOCKS)
    yield shop
    shop.close()


def test_stocks_are_listed_steered_and_explained(office: Shop) -> None:
    lines = office.done("stock").splitlines()
    assert lines[0].split() == ["NAME", "MADE", "LEVEL", "ORDERED", "HITS", "WASTE", "OLDEST", "TENANT", "KIND"]
    assert lines[1].split() == ["counts", "0", "2", "0", "count"]
    assert "no worker is there" in office.done("stock", "why", "counts")
    assert office.done("stock", "level", "counts") == "counts: 2"
    assert office.done("stock", "level", "counts", "3") == "counts: 3"
    assert office.done("stock", "refill", "counts") == "counts: ordered 3"
    assert "the oldest order, job" in office.done("stock", "why", "counts")
    with office.working():
        until(lambda: office.listed("stock")[0]["made"] == 3, what="the shelf is full")
    assert office.done("stock", "empty", "counts") == "counts: threw away 3"
    assert office.done("stock", "level", "counts", "--reset") == "counts: 2"
    [counts, _] = office.listed("stock")
    assert (counts["level"], counts["emptied"], counts["waste"]) == (2, 3, 1.0)


def test_a_tenant_has_a_shelf_of_its_own(office: Shop) -> None:
    assert office.done("stock", "refill", "counts", "--tenant", "acme") == "counts: ordered 2"
    assert [(one["name"], one["tenant"], one["ordered"]) for one in office.listed("stock")] == [
        ("counts", None, 0),
        ("counts", "acme", 2),
        ("welcomes", None, 0),
    ]


def test_a_stock_that_does_not_exist_is_told_with_the_nearest(office: Shop) -> None:
    result = office.run("stock", "refill", "count")
    assert result.exit_code == 3
    assert "there is no stock 'count'; did you mean 'counts'?" in result.stderr
    result = office.run("stock", "level", "counts", "3", "--reset")
    assert result.exit_code == 2


def test_a_store_without_stocks_says_how_to_declare_one(shop: Shop) -> None:
    assert "app.stock(" in shop.run("stock").stderr
