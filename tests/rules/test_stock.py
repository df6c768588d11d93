"""What a shelf lacks, whatever it holds: never more than its level, and in parts that its batch allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.job import Lane, NewJob
from posthorse.rules.stock import (
    ORDERED_AT_ONCE,
    Served,
    Shelf,
    StockDeclaration,
    decode_stock,
    key_text,
    of_tenant,
    refill_of,
)

CALL = NewJob("", Lane("default", "ticket"), "{}")
counts = st.integers(0, 3_000)


def stock(level: int, refill_at: int, batch: int | None = None) -> StockDeclaration:
    return StockDeclaration("tickets", CALL, level, refill_at, batch)


def shelf(made: int = 0, ordered: int = 0, failed: int = 0) -> Shelf:
    return Shelf(made, ordered, failed, 0, None, 0)


@given(counts, counts, st.none() | st.integers(1, 50), counts, counts, counts, st.booleans(), st.booleans())
def test_no_more_is_ordered_than_lacks(
    level: int, low: int, batch: int | None, made: int, ordered: int, failed: int, is_refilling: bool, to_level: bool
) -> None:
    declared = stock(level, min(low, level), batch)
    refill = refill_of(declared, shelf(made, ordered, failed), is_refilling=is_refilling, to_level=to_level)
    assert 0 <= refill.orders <= max(0, level - made - ordered - failed)
    assert refill.orders <= ORDERED_AT_ONCE
    assert batch is None or refill.orders == 0 or ordered + refill.orders <= batch
    if not refill.goes_on and refill.orders:
        assert made + ordered + failed + refill.orders == level


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 20))
def test_a_refill_that_began_reaches_the_level(level: int, low: int, batch: int) -> None:
    declared, made, is_refilling = stock(level, min(low, level), batch), 0, False
    for _ in range(level):
        refill = refill_of(declared, shelf(made), is_refilling=is_refilling)
        made, is_refilling = made + refill.orders, refill.goes_on
    assert made == level


def test_a_shelf_is_refilled_below_its_mark_and_not_at_it() -> None:
    declared = stock(10, 4)
    assert [refill_of(declared, shelf(made)).orders for made in (5, 4, 3, 0)] == [0, 0, 7, 10]
    assert refill_of(declared, shelf(2, ordered=2)).orders == 0, "what is ordered counts"
    assert refill_of(declared, shelf(8), to_level=True).orders == 2
    assert refill_of(declared, shelf(1), level=2).orders == 1, "the live level is below the mark"
    assert refill_of(declared, shelf(0), level=0) == (0, False)


def test_a_declaration_is_stored_and_read() -> None:
    declared = StockDeclaration("prices", CALL, ttl=5, key="symbol", stale=3)
    assert decode_stock(declared.encode()) == declared
    assert (declared.fresh_for, declared.kept_for) == (5, 8)


def test_orders_of_a_tenant_belong_to_it() -> None:
    assert of_tenant(CALL, "") == CALL
    order = of_tenant(CALL, "acme")
    assert (order.tenant, "acme" in (order.options or "")) == ("acme", True)


def test_long_and_secret_keys_are_hashed() -> None:
    short = '{"symbol":"ACME"}'
    assert key_text(short, is_secret=False) == short
    assert "ACME" not in key_text(short, is_secret=True)
    assert len(key_text('{"symbol":"' + "A" * 500 + '"}', is_secret=False)) < 100


def test_rates_say_nothing_of_nothing() -> None:
    assert (Served().hit_rate, Served().waste) == (None, None)
    served = Served(taken=6, missed=2, waited=1, expired=1, emptied=1)
    assert (served.hit_rate, served.waste) == (0.625, 0.25)
