"""Stock by key: results are computed ahead, read by any number of callers, and kept fresh."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import posthorse as ph
from tests.app.test_stock import at_once, run_jobs


class Market:
    """An application that asks for prices, and counts how often it did."""

    def __init__(self, app: ph.Posthorse) -> None:
        self.app = app
        self.asked: list[str] = []
        self.is_closed = False

        @app.job(max_attempts=1)
        def price(symbol: str) -> str:
            if self.is_closed:
                raise ValueError("closed")
            self.asked.append(symbol)
            return f"{symbol} {self.asked.count(symbol)}"

        self.price = price


def test_the_first_caller_waits_and_others_read_what_is_there(app: ph.Posthorse) -> None:
    market = Market(app)
    prices = app.stock(market.price, key="symbol")
    with app.worker():
        assert prices.get("ACME", timeout=20) == "ACME 1"
        assert prices.get("ACME") == asyncio.run(prices.aget("ACME")) == "ACME 1"
    assert market.asked == ["ACME"]


def test_however_many_ask_for_a_key_one_result_is_made(app: ph.Posthorse) -> None:
    market = Market(app)
    prices = app.stock(market.price, key="symbol")

    def ask() -> None:
        with pytest.raises(ph.StockEmpty, match="1 is being made"):
            prices.get("ACME")

    at_once(8, ask)
    assert app.jobs().count() == 1
    run_jobs(app)
    assert prices.get("ACME") == "ACME 1"


def test_a_stale_result_is_given_while_a_new_one_is_made_and_then_no_more(app: ph.Posthorse) -> None:
    market = Market(app)
    prices = app.stock(market.price, key="symbol", ttl="10m", stale="1h")
    prices.refresh("ACME")
    run_jobs(app)
    assert (prices.get("ACME"), app.jobs("state:pending").count()) == ("ACME 1", 0)
    app.store.clock.advance(timedelta(minutes=11))
    assert (prices.get("ACME"), prices.get("ACME")) == ("ACME 1", "ACME 1")
    assert app.jobs("state:pending").count() == 1, "the first reader of a stale result orders, once"
    run_jobs(app)
    assert prices.get("ACME") == "ACME 2"
    assert (prices.status().made, prices.status().stale) == (1, 0), "the earlier one was replaced"
    app.store.clock.advance(timedelta(minutes=71))
    with pytest.raises(ph.StockEmpty):
        prices.get("ACME")


def test_without_stale_no_result_is_given_after_its_ttl(app: ph.Posthorse) -> None:
    market = Market(app)
    prices = app.stock(market.price, key="symbol", ttl="10m")
    prices.refresh("ACME")
    run_jobs(app)
    app.store.clock.advance(timedelta(minutes=10, seconds=1))
    with pytest.raises(ph.StockEmpty):
        prices.get("ACME")


def test_a_refill_makes_anew_what_was_read(app: ph.Posthorse) -> None:
    market = Market(app)
    prices = app.stock(market.price, key="symbol", ttl="10m", every="5m")
    assert [schedule.name for schedule in app.registry.schedules.values()] == ["refill price"]
    for symbol in ("A", "B", "C"):
        prices.refresh(symbol)
    run_jobs(app)
    prices.get("A")
    prices.get("C")
    assert prices.refill() == 2
    run_jobs(app)
    assert (prices.get("A"), prices.get("B"), prices.get("C")) == ("A 2", "B 1", "C 2")


def test_the_job_of_its_schedule_refills_a_stock(app: ph.Posthorse) -> None:
    market = Market(app)
    prices = app.stock(market.price, key="symbol", every="5m")
    shelf = app.stock(
        market.price.bind("shelf"), level=2, refill_at=0, cron="0 3 * * *", name="shelf", tz="Europe/Berlin"
    )
    prices.refresh("A")
    run_jobs(app)
    prices.get("A")
    with app.worker():
        for name in ("price", "shelf"):
            job = ph.Kind[..., int](app, app.registry["posthorse.refill"]).bind(name).enqueue()
            assert job.result(timeout=20) in (1, 2)
    run_jobs(app)
    assert (prices.get("A"), shelf.status().made) == ("A 2", 2)


def test_a_dead_letter_is_told_and_not_ordered_again_and_again(app: ph.Posthorse) -> None:
    market = Market(app)
    prices = app.stock(market.price, key="symbol")
    market.is_closed = True
    prices.refresh("ACME")
    run_jobs(app)
    for _ in range(2):
        with pytest.raises(ph.StockEmpty, match="ended without a result"):
            prices.get("ACME", timeout=10)
    market.is_closed = False
    app.store.clock.advance(timedelta(minutes=6))
    with pytest.raises(ph.StockEmpty, match="1 is being made"):
        prices.get("ACME")
    run_jobs(app)
    assert prices.get("ACME") == "ACME 1"


def test_what_is_wrong_is_forgotten(app: ph.Posthorse) -> None:
    market = Market(app)
    prices = app.stock(market.price, key="symbol")
    for symbol in ("A", "B", "C"):
        prices.refresh(symbol)
    assert prices.refresh("A") is None, "it is ordered already"
    run_jobs(app)
    assert (prices.forget("A"), prices.forget("A")) == (True, False)
    assert prices.empty() == 2
    with pytest.raises(ph.StockEmpty):
        prices.get("B")


def test_tenants_read_their_own_results(app: ph.Posthorse) -> None:
    market = Market(app)
    prices = app.stock(market.price, key="symbol")
    prices.refresh("A", tenant="acme")
    run_jobs(app)
    assert prices.get("A", tenant="acme") == "A 1"
    with pytest.raises(ph.StockEmpty):
        prices.get("A")


def test_figures_count_reads_and_what_nobody_read(app: ph.Posthorse) -> None:
    from posthorse.store.operations.stock_keys import tidy_keys

    market = Market(app)
    prices = app.stock(market.price, key="symbol", ttl="10m")
    with pytest.raises(ph.StockEmpty):
        prices.get("A")
    prices.refresh("B")
    run_jobs(app)
    prices.get("A")
    app.store.clock.advance(timedelta(hours=1))
    app.store.run(tidy_keys(app.registry.stocks["price"], ""))
    status = prices.status()
    assert (status.made, status.expired, status.missed, status.key) == (0, 1, 1, "symbol")


def test_declarations_by_key_that_cannot_be_kept_are_refused(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)
    market = Market(app)

    @app.job
    def two(a: int, b: int) -> int:
        return a + b

    unfit: list[tuple[object, dict[str, object]]] = [
        (market.price, {"key": "name"}),
        (two, {"key": "a"}),
        (market.price.bind("A"), {"key": "symbol"}),
        (market.price, {"key": "symbol", "level": 3}),
        (market.price, {"key": "symbol", "stale": "1h"}),
        (market.price.using(unique=True), {"key": "symbol"}),
        (market.price, {}),
    ]
    for make, options in unfit:
        with pytest.raises(ph.InvalidOption):
            app.stock(make, **options)  # type: ignore[call-overload]
    prices = app.stock(market.price, key="symbol")
    with pytest.raises(ph.InvalidArgument, match="symbol"):
        prices.get(7)  # type: ignore[arg-type]


def test_inside_a_transaction_nothing_is_ordered(app: ph.Posthorse) -> None:
    prices = app.stock(Market(app).price, key="symbol")
    with app.store.transaction(), pytest.raises(ph.StockEmpty):
        prices.get("ACME")
    assert app.jobs().count() == 0
    prices.refresh("ACME")
    with app.store.transaction(), pytest.raises(ph.StockEmpty, match="1 is being made"):
        prices.get("ACME")
