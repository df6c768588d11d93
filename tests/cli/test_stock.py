"""`posthorse stock`: with the application, with a store only, and for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

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


def listed(shop: Shop) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", shop.json("stock"))


def test_stocks_are_listed_steered_and_explained(office: Shop) -> None:
    lines = office.done("stock").splitlines()
    assert lines[0].split() == ["NAME", "TENANT", "MADE", "LEVEL", "ORDERED", "OLDEST", "HITS", "WASTE", "KIND"]
    assert lines[1].split() == ["counts", "0", "2", "0", "count"]
    assert "no worker is there" in office.done("stock", "why", "counts")
    assert office.done("stock", "level", "counts") == "counts: 2"
    assert office.done("stock", "level", "counts", "3") == "counts: 3"
    assert office.done("stock", "refill", "counts") == "counts: ordered 3"
    assert "the oldest order, job" in office.done("stock", "why", "counts")
    with office.working():
        until(lambda: listed(office)[0]["made"] == 3, what="the shelf is full")
    assert office.done("stock", "empty", "counts") == "counts: threw away 3"
    assert office.done("stock", "level", "counts", "--reset") == "counts: 2"
    [counts, _] = listed(office)
    assert (counts["level"], counts["emptied"], counts["waste"]) == (2, 3, 1.0)


def test_a_tenant_has_a_shelf_of_its_own(office: Shop) -> None:
    assert office.done("stock", "refill", "counts", "--tenant", "acme") == "counts: ordered 2"
    assert [(one["name"], one["tenant"], one["ordered"]) for one in listed(office)] == [
        ("counts", None, 0),
        ("counts", "acme", 2),
        ("welcomes", None, 0),
    ]


def test_a_stock_that_left_the_code_is_forgotten_with_its_results(office: Shop) -> None:
    office.done("stock", "refill", "counts", "--tenant", "acme")
    with office.working():
        until(lambda: sum(one["made"] for one in listed(office)) == 5, what="the shelves are full")
    refused = office.run("stock", "forget", "counts")
    assert refused.exit_code == 4
    assert "set its level to 0" in refused.stderr
    with office.app.store.transaction() as connection:
        table = "posthorse_stocks" if office.app.store.backend.capabilities.is_file else "posthorse.stocks"
        connection.execute(f"UPDATE {table} SET seen_at = 0")  # type: ignore[attr-defined]  # either store's
    assert office.done("stock", "forget", "counts") == "counts: forgotten, threw away 4"
    assert [(one["name"], one["made"]) for one in listed(office)] == [("counts", 0), ("welcomes", 1)]


def test_a_stock_that_does_not_exist_is_told_with_the_nearest(office: Shop) -> None:
    result = office.run("stock", "refill", "count")
    assert result.exit_code == 3
    assert "there is no stock 'count'; did you mean 'counts'?" in result.stderr
    result = office.run("stock", "level", "counts", "3", "--reset")
    assert result.exit_code == 2


def test_a_store_without_stocks_says_how_to_declare_one(shop: Shop) -> None:
    assert "app.stock(" in shop.run("stock").stderr
