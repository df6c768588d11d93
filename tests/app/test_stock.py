"""Stock: results are made ahead, and each is taken once."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

import pytest

import posthorse as ph
from posthorse.maintenance.stock import StockKeeper
from tests.waiting import until

QUICK = pytest.mark.tuning(stock_interval=0.02, stock_tidy_interval=0.0, admission_interval=0.0)


class Office:
    """An application that makes tickets with growing numbers, and shows when the workers' keeper looks."""

    def __init__(self, app: ph.Posthorse, *, queue: str = "default", keep: str | None = None) -> None:
        self.app = app
        self.numbers = itertools.count(1)
        self.is_broken = False

        @app.job(max_attempts=1, queue=queue, keep=keep)
        def ticket() -> int:
            if self.is_broken:
                raise ValueError("the printer is broken")
            return next(self.numbers)

        self.ticket = ticket

    def keep(self) -> float:
        """Look at the shelves once, as the keeper of a worker does."""
        registry = self.app.registry
        return asyncio.run(StockKeeper(self.app.store, registry.stocks, registry.queues, registry.packing).turn())

    def work(self) -> None:
        """Run what may run now."""
        run_jobs(self.app)


def run_jobs(app: ph.Posthorse) -> None:
    """Run what may run now, in a worker that does not keep the shelves."""
    kept = dict(app.registry.stocks)
    app.registry.stocks.clear()
    with app.worker(concurrency=4):
        until(lambda: not app.jobs("state:pending,processing").count(), what="all jobs are over")
    app.registry.stocks.update(kept)


def test_results_are_made_ahead_and_each_is_taken_once(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=3)
    office.keep()
    assert tickets.status().ordered == 3
    office.work()
    assert tickets.status().made == 3
    assert sorted([tickets.take(), tickets.take(), asyncio.run(tickets.atake())]) == [1, 2, 3]
    with pytest.raises(ph.StockEmpty, match="has nothing to give"):
        tickets.take()


@QUICK
def test_a_worker_keeps_the_shelf_filled(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=5, refill_at=2, name="tickets")
    with app.worker():
        until(lambda: tickets.status().made == 5, what="the shelf is full")
        assert len(tickets.take_many(3)) == 3
        office.keep()
        assert tickets.status().ordered == 0, "it has two, which is not fewer than two"
        tickets.take()
        until(lambda: tickets.status().made == 5, what="the shelf is full again")
    assert app.jobs("state:completed").count() == 9


def test_a_taker_waits_for_a_result_which_is_ordered_at_once(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=1)
    app.registry.stocks.clear()  # no worker attends to it
    with app.worker():
        assert tickets.take(timeout=20) == 1
        assert asyncio.run(tickets.atake(timeout=20)) == 2


def test_a_taker_looks_less_often_the_longer_nothing_is_ordered(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> Generator[Any, Any, None]:
        pauses.append(seconds)
        yield from ()

    monkeypatch.setattr("posthorse.app.stock.sleep", sleep)
    monkeypatch.setattr("posthorse.app.stock.monotonic", lambda: sum(pauses))
    tickets = app.stock(Office(app).ticket.bind(), level=2)
    tickets.set_level(0)
    with pytest.raises(ph.StockEmpty):
        tickets.take(timeout=3)
    assert pauses[:6] == [0.02, 0.04, 0.08, 0.16, 0.32, 0.5]
    assert len(pauses) < 12


def test_however_many_processes_look_no_more_is_ordered_than_lacks(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=7)
    at_once(8, office.keep)
    assert app.jobs().count() == tickets.status().ordered == 7
    office.work()
    tickets.take_many(4)
    at_once(8, lambda: tickets.refill())
    assert (tickets.status().made, tickets.status().ordered) == (3, 4)


def test_takers_at_the_same_moment_never_get_the_same(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=60)
    tickets.refill()
    office.work()
    taken: list[int] = []

    def take_some() -> None:
        taken.extend(tickets.take() for _ in range(10))

    at_once(6, take_some)
    assert sorted(taken) == list(range(1, 61))


def test_what_is_stale_is_never_taken_and_leaves(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=2, ttl="1h")
    office.keep()
    office.work()
    move_clock(app, timedelta(minutes=59))
    assert tickets.take() == 1
    move_clock(app, timedelta(minutes=2))
    with pytest.raises(ph.StockEmpty):
        tickets.take()
    office.keep()
    office.keep()
    status = tickets.status()
    assert (status.made, status.ordered, status.expired, status.taken) == (0, 2, 1, 1)
    assert status.waste == 0.5


def test_a_dead_letter_holds_its_place_until_it_is_retried_or_too_old(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=2)
    office.is_broken = True
    office.keep()
    office.work()
    office.keep()
    assert (tickets.status().failed, tickets.status().ordered, app.jobs().count()) == (2, 0, 2)
    assert "ended without a result" in tickets.why()
    [one, _] = app.jobs("state:failed")
    office.is_broken = False
    one.retry()
    office.work()
    assert tickets.take() == 1, "its place was held"
    move_clock(app, timedelta(minutes=6))
    office.keep()
    assert (tickets.status().failed, tickets.status().ordered) == (0, 2)


def test_a_cancelled_order_holds_its_place_until_the_shelf_is_emptied(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=1)
    office.keep()
    [job] = app.jobs()
    job.cancel()
    office.keep()
    assert (tickets.status().ordered, tickets.status().failed) == (0, 1), "another would be cancelled as well"
    tickets.empty()
    office.keep()
    assert tickets.status().ordered == 1


def test_a_batch_limits_how_many_are_made_at_the_same_time(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=5, refill_at=1, batch=2)
    for expected in ((0, 2), (2, 2), (4, 1)):
        office.keep()
        assert (tickets.status().made, tickets.status().ordered) == expected, "it goes on to its level"
        office.keep()
        assert tickets.status().ordered == expected[1], "no more while they are made"
        office.work()
    assert tickets.status().made == 5


def test_orders_obey_the_depth_and_the_drain_of_their_queue(app: ph.Posthorse) -> None:
    office = Office(app, queue="printing")
    app.queue("printing", max_depth=3)
    tickets = app.stock(office.ticket.bind(), level=5)
    office.keep()
    assert tickets.status().ordered == 3
    office.work()
    app.queue("printing").drain()
    office.keep()
    assert (tickets.status().made, tickets.status().ordered) == (3, 0)
    with pytest.raises(ph.QueueClosed):
        tickets.refill()


def test_the_level_is_changed_in_the_running_system(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=5)
    tickets.set_level(2)
    office.keep()
    assert (tickets.status().level, tickets.status().ordered) == (2, 2)
    tickets.set_level(None)
    office.keep()
    assert (tickets.status().level, tickets.status().ordered) == (5, 5)


def test_tenants_have_shelves_of_their_own(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=1)
    assert tickets.refill(tenant="acme") == 1
    office.keep()
    office.work()
    assert {job.status().tenant for job in app.jobs()} == {None, "acme"}
    assert [tickets.status(tenant=one).made for one in (None, "acme", "other")] == [1, 1, 0]
    tickets.take(tenant="acme")
    with pytest.raises(ph.StockEmpty, match="of tenant 'acme'"):
        tickets.take(tenant="acme")
    tickets.take()
    office.keep()
    assert tickets.status(tenant="acme").ordered == 1, "a shelf that was used is kept filled"


def test_figures_say_how_often_callers_got_something_at_once(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=4)
    office.keep()
    office.work()
    tickets.take_many(3)
    assert tickets.empty() == 1
    with pytest.raises(ph.StockEmpty):
        tickets.take()
    office.keep()
    status = tickets.status()
    assert (status.taken, status.missed, status.emptied) == (3, 1, 1)
    assert (status.hit_rate, status.waste) == (0.75, 0.25)


def test_what_is_on_the_shelf_is_kept_and_leaves_once_it_was_taken(app: ph.Posthorse) -> None:
    office = Office(app, keep="1h")
    tickets = app.stock(office.ticket.bind(), level=2)
    office.keep()
    office.work()
    move_clock(app, timedelta(days=2))
    forget_old(app)
    assert app.jobs().count() == 2, "a stock has them"
    assert tickets.take() == 1
    forget_old(app)
    assert app.jobs().count() == 1
    [job] = app.jobs()
    job.delete()
    assert tickets.status().made == 0


def test_why_names_the_reason_for_which_the_oldest_order_waits(app: ph.Posthorse) -> None:
    office = Office(app)
    tickets = app.stock(office.ticket.bind(), level=1)
    assert "no worker is there whose code declares it" in tickets.why()
    office.keep()
    assert "the oldest order" in tickets.why()
    assert "no worker" in asyncio.run(tickets.awhy())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "level is None"),
        ({"level": 0}, "level is 0"),
        ({"level": True}, "level is True"),
        ({"level": 2, "refill_at": 3}, "refill_at is 3"),
        ({"level": 2, "batch": 0}, "batch is 0"),
        ({"level": 2, "ttl": 0}, "ttl is 0"),
        ({"level": 2, "stale": "1m"}, "stale says"),
        ({"level": 2, "name": "a*"}, "the name of a stock"),
    ],
)
def test_a_declaration_that_cannot_be_kept_is_refused(sqlite_url: str, options: dict[str, Any], told: str) -> None:
    app = ph.Posthorse(sqlite_url)
    office = Office(app)
    with pytest.raises(ph.InvalidOption, match=told):
        app.stock(office.ticket.bind(), **options)


def test_calls_that_would_not_make_many_results_are_refused(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)
    office = Office(app)
    for call in (
        office.ticket.using(key="one").bind(),
        office.ticket.using(unique=True).bind(),
        office.ticket.using(delay="1h").bind(),
        office.ticket.using(on_failure=office.ticket.bind()).bind(),
        Office(ph.Posthorse(sqlite_url)).ticket.bind(),
    ):
        with pytest.raises(ph.InvalidOption):
            app.stock(call, level=1)
    app.stock(office.ticket.bind(), level=1)
    with pytest.raises(ph.InvalidOption, match="there is a stock 'ticket' already"):
        app.stock(office.ticket.bind(), level=1)


def move_clock(app: ph.Posthorse, by: timedelta) -> None:
    app.store.clock.advance(by)


def forget_old(app: ph.Posthorse) -> None:
    from posthorse.maintenance.chores.retention import ForgetOldJobs, retention_of

    async def walk() -> None:
        chore = ForgetOldJobs(app.store, retention_of(app.registry, app.settings))
        from posthorse.store.operations.runners import next_due

        await chore.run(await app.store.aread(next_due()))

    asyncio.run(walk())


def at_once(count: int, action: Callable[[], object]) -> None:
    """Run something in threads that begin together."""
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def run() -> None:
        barrier.wait()
        try:
            action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
