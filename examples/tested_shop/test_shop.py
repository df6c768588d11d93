"""The tests of the shop: 100, and none of them waits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import posthorse as ph
from examples.tested_shop import shop
from examples.tested_shop.shop import CancelOrder, add_interest, app, buy, charge, notify, report, send_mail
from posthorse import testing as pt


@pytest.fixture(autouse=True)
def empty_shop() -> Iterator[None]:
    yield
    shop.outbox.clear()
    shop.accounts.clear()
    shop.reports.clear()
    shop.complaints.clear()
    shop.bank.booked.clear()


@pytest.mark.parametrize("order", range(1, 16))
def test_a_customer_pays_and_is_told(posthorse: pt.Kit, order: int) -> None:
    buy(order, 100 * order, "eva@example.com")
    posthorse.assert_enqueued(charge, order=order, cents=100 * order, times=1)
    assert posthorse.drain().completed == 2
    assert shop.bank.booked == {order: 100 * order}
    assert shop.outbox == [f"eva@example.com: your order {order} is paid"]


@pytest.mark.parametrize("days", range(1, 11))
def test_the_customer_is_asked_after_a_week(posthorse: pt.Kit, days: int) -> None:
    notify.using(delay="7d").enqueue(1, "eva@example.com")
    posthorse.assert_enqueued(notify, delay="7d")
    posthorse.clock.advance(timedelta(days=days))
    posthorse.drain()
    assert shop.outbox == (["eva@example.com: how do you like order 1?"] if days >= 7 else [])


@pytest.mark.parametrize("fails", [1, 2, 3])
def test_a_bank_that_does_not_answer_is_tried_again(
    posthorse: pt.Kit, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    monkeypatch.setattr(shop.bank, "charge", pt.flaky(shop.bank.charge, fails=fails))
    job = charge.enqueue(1, 500, "eva@example.com")
    began = posthorse.clock.now
    drained = posthorse.drain(due=True)
    assert (drained.retried, drained.completed) == (fails, 2)
    assert posthorse.clock.now - began >= fails * timedelta(minutes=10)
    assert job.result() == "receipt 1"


def test_a_bank_that_never_answers_is_given_up(posthorse: pt.Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop.bank, "charge", pt.flaky(shop.bank.charge, fails=9, error=TimeoutError))
    job = charge.enqueue(1, 500, "eva@example.com")
    with pytest.raises(TimeoutError):
        posthorse.drain(due=True)
    assert job.status().state is ph.State.FAILED
    posthorse.assert_not_enqueued(send_mail)


@pytest.mark.parametrize("cents", [0, -1, -100])
def test_a_wrong_amount_is_not_tried_again(posthorse: pt.Kit, cents: int) -> None:
    charge.enqueue(1, cents, "eva@example.com")
    with pytest.raises(ValueError, match="order 1 costs"):
        posthorse.drain()
    assert posthorse.assert_enqueued(charge).state is ph.State.FAILED


@pytest.mark.parametrize("order", range(1, 6))
def test_another_bank_takes_the_place_of_ours(posthorse: pt.Kit, order: int) -> None:
    other = shop.Bank()
    with posthorse.override(shop.our_bank, lambda: other):
        charge.enqueue(order, 500, "eva@example.com")
        posthorse.drain()
    assert (other.booked, shop.bank.booked) == ({order: 500}, {})


@pytest.mark.parametrize("orders", range(1, 5))
def test_support_is_told_of_orders_that_cannot_be_charged(posthorse: pt.Kit, orders: int) -> None:
    failing = [charge.enqueue(order, 0, "eva@example.com") for order in range(orders)]
    charge.enqueue(100, 500, "eva@example.com")
    posthorse.drain(raise_errors=False)
    assert shop.complaints == [job.id for job in failing]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_what_happened_can_be_read(posthorse: pt.Kit, order: int) -> None:
    job = charge.enqueue(order, 0, "eva@example.com")
    posthorse.drain(raise_errors=False)
    [event] = app.events(kind="charge", names=ph.events.Failed)
    assert isinstance(event, ph.events.Failed)
    assert event.job == job.id
    assert [event.name for event in job.events()] == ["submitted", "started", "failed"]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_payment_is_logged(posthorse: pt.Kit, caplog: pytest.LogCaptureFixture, order: int) -> None:
    caplog.set_level("INFO")
    job = charge.enqueue(order, 500, "eva@example.com")
    posthorse.drain()
    assert [(line.message, line.fields) for line in job.logs()] == [(f"order {order} is paid", {"cents": 500})]


@pytest.mark.parametrize("clicks", range(1, 6))
def test_who_clicks_often_pays_once(posthorse: pt.Kit, clicks: int) -> None:
    for _ in range(clicks):
        charge.enqueue(1, 500, "eva@example.com")
    posthorse.assert_enqueued(charge, times=1)
    posthorse.drain()
    assert shop.bank.booked == {1: 500}


@pytest.mark.parametrize("size", range(5, 15))
def test_interest_is_added_in_slices(posthorse: pt.Kit, size: int) -> None:
    shop.accounts.update(dict.fromkeys(range(100), 1000))
    job = add_interest.enqueue(percent=2, size=size)
    posthorse.drain()
    assert job.result() == 2_000
    assert set(shop.accounts.values()) == {1020}


@pytest.mark.parametrize("stop_after", range(9))
def test_interest_goes_on_where_it_was_stopped(stop_after: int) -> None:
    shop.accounts.update(dict.fromkeys(range(95), 1000))
    ctx = pt.context(stop_after=stop_after)
    with pytest.raises(ph.Interrupted):
        add_interest(ctx, percent=2)
    assert ctx.progress.done == 10 * stop_after
    assert add_interest(ctx.resumed(), percent=2) == 95 * 20
    assert set(shop.accounts.values()) == {1020}


@pytest.mark.parametrize("number", range(1, 6))
def test_a_slice_that_was_not_committed_runs_again(posthorse: pt.Kit, number: int) -> None:
    shop.accounts.update(dict.fromkeys(range(50), 1000))
    job = add_interest.enqueue(percent=2)
    with pt.crash_in_slice(number):
        posthorse.drain()
    # The accounts are not in the store, so a slice that is repeated adds interest twice: a case for batch.transaction.
    assert sorted(set(shop.accounts.values())) == [1020, 1040]
    assert job.status().interruptions == 1


@pytest.mark.parametrize("days", range(1, 6))
def test_a_report_is_made_each_night(posthorse: pt.Kit, days: int) -> None:
    for _ in range(days):
        posthorse.clock.advance("1d")
        posthorse.drain()
    assert len(shop.reports) == days
    assert {job.status.scheduled_at.hour for job in posthorse.enqueued(report) if job.status.scheduled_at} == {3}


@pytest.mark.parametrize("mails", [5, 10, 20, 40])
def test_mails_keep_to_their_rate(posthorse: pt.Kit, mails: int) -> None:
    app.enqueue_many([send_mail.bind(f"{number}@example.com", "news") for number in range(mails)])
    assert posthorse.drain().completed < mails
    began = posthorse.clock.now
    posthorse.drain(due=True)
    assert len(shop.outbox) == mails
    assert posthorse.clock.now - began >= (mails - 3) * timedelta(minutes=1) / 100


@pytest.mark.parametrize("order", range(1, 6))
def test_a_cancelled_order_is_paid_back(posthorse: pt.Kit, order: int) -> None:
    shop.bank.booked[order] = 700
    job = app.bus.enqueue(CancelOrder(order, "eva@example.com"))
    posthorse.assert_enqueued("CancelOrder", order=order)
    posthorse.drain()
    assert job.result() == 700
    assert shop.outbox == [f"eva@example.com: order {order} is cancelled"]


@pytest.mark.parametrize("order", range(1, 6))
def test_inline_everything_is_done_when_the_customer_has_bought(posthorse: pt.Kit, order: int) -> None:
    with posthorse.inline():
        buy(order, 500, "eva@example.com")
        assert shop.outbox == [f"eva@example.com: your order {order} is paid"]


@pytest.mark.parametrize("year", [2027, 2028])
def test_the_report_of_a_leap_day(year: int) -> None:
    with pt.kit(app, now=datetime(year, 2, 28, 12, tzinfo=UTC)) as kit:
        kit.clock.advance("1d")
        kit.drain()
        [job] = kit.enqueued(report)
        assert job.status.scheduled_at is not None
        assert (job.status.scheduled_at.month, job.status.scheduled_at.day) == ((2, 29) if year == 2028 else (3, 1))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_misspelt_argument_is_noticed(posthorse: pt.Kit, order: int) -> None:
    with pytest.raises(ph.InvalidArgument, match="order"):
        charge.enqueue(ordre=order, cents=1, email="eva@example.com")  # type: ignore[call-arg]  # on purpose
    posthorse.assert_not_enqueued()
