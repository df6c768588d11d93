"""What stocks do in the store: orders end with their jobs, in the same commit, and nothing is written twice."""

from __future__ import annotations

from datetime import timedelta

from posthorse.rules.job import JobError, NewJob
from posthorse.rules.joins import Edge
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Lost, Raised
from posthorse.rules.stock import StockDeclaration
from posthorse.store.operations import control
from posthorse.store.operations.families import NewFamily, submit_family
from posthorse.store.operations.releasing import release
from posthorse.store.operations.set_back import move_runs
from posthorse.store.operations.stock import (
    Ordering,
    attend,
    order_results,
    shelf_of,
    stocks,
    take_from_shelf,
    tidy_shelf,
)
from posthorse.store.operations.submit import EntryTerms
from tests.store.yard import HOME, Yard

TICKETS = StockDeclaration("tickets", NewJob("", HOME, "{}"), level=3, refill_at=3)


def order(yard: Yard, stock: StockDeclaration = TICKETS) -> list[str]:
    lanes = yard.store.lanes({HOME})
    return [*yard.store.run(order_results(stock, "", stock.call, Ordering(lanes))).jobs]


def held(yard: Yard) -> tuple[int, int, int]:
    return yard.store.read(shelf_of(TICKETS, ""))[:3]


def test_a_result_is_on_the_shelf_with_the_commit_that_completes_its_job(yard: Yard) -> None:
    jobs = order(yard)
    assert (len(jobs), held(yard)) == (3, (0, 3, 0))
    attempt = yard.claim_one()
    yard.complete(attempt, result="7")
    assert held(yard) == (1, 2, 0)
    [taken] = yard.store.run(take_from_shelf(TICKETS, "", 5))
    assert (taken.job, taken.result) == (attempt.job, "7")
    assert yard.store.run(take_from_shelf(TICKETS, "", 5)) == []


def test_an_order_that_failed_for_good_holds_its_place_and_a_lost_attempt_changes_nothing(yard: Yard) -> None:
    order(yard)
    yard.settle(yard.claim_one(), Lost("killed"))
    assert held(yard) == (0, 3, 0)
    attempt = yard.claim_one()
    yard.settle(attempt, Raised(JobError("ValueError", "no")), policy=Policy(max_attempts=1))
    assert held(yard) == (0, 2, 1)
    assert order(yard) == []


def test_a_cancelled_order_holds_its_place(yard: Yard) -> None:
    [first, *_] = order(yard)
    yard.store.run(control.request(first, "cancel", force=False))
    assert held(yard) == (0, 2, 1)
    assert order(yard) == []


def test_a_job_that_a_stock_and_another_job_wait_for_serves_both(yard: Yard) -> None:
    [first, *_] = order(yard)
    waits = yard.new()[0]
    lanes = yard.store.lanes({HOME})
    family = NewFamily([waits], [Edge(first, waits.id)], frozenset())
    yard.store.run(submit_family(family, EntryTerms(lanes)))
    attempt = yard.claim_one()
    assert attempt.job == first
    yard.complete(attempt)
    assert yard.store.run(release())
    assert held(yard)[0] == 1
    assert waits.id in {yard.claim_one().job for _ in range(3)}


def test_what_was_taken_is_counted_once_when_it_is_tidied(yard: Yard) -> None:
    order(yard)
    for _ in range(3):
        yard.complete(yard.claim_one())
    assert len(yard.store.run(take_from_shelf(TICKETS, "", 2))) == 2
    assert yard.store.run(tidy_shelf(TICKETS, ""))[:2] == (2, 0)
    assert yard.store.run(tidy_shelf(TICKETS, ""))[:2] == (0, 0)
    assert held(yard) == (1, 0, 0)


def test_a_worker_notes_what_its_code_declares(yard: Yard) -> None:
    yard.store.run(attend([TICKETS]))
    changed = StockDeclaration("tickets", NewJob("", HOME, "{}"), level=9, refill_at=3)
    yard.store.run(attend([changed]))
    [row] = yard.store.read(stocks())
    assert (row.name, row.tenant, row.declared, row.level) == ("tickets", "", changed.encode(), None)


def test_a_taker_passes_over_what_was_made_before_its_mark(yard: Yard) -> None:
    order(yard)
    yard.complete(yard.claim_one())
    [taken] = yard.store.run(take_from_shelf(TICKETS, "", 1))
    yard.complete(yard.claim_one())
    assert yard.store.run(take_from_shelf(TICKETS, "", 1, mark=taken.made_at + 3_600_000_000)) == []
    assert len(yard.store.run(take_from_shelf(TICKETS, "", 1, mark=taken.made_at))) == 1


def test_results_do_not_last_longer_after_the_clock_was_set_back(yard: Yard) -> None:
    order(yard)
    yard.store.clock.advance(timedelta(hours=2))
    yard.complete(yard.claim_one())
    yard.store.clock.advance(timedelta(hours=-2))
    shelf = yard.store.read(shelf_of(TICKETS, ""))
    assert shelf.oldest is not None
    assert shelf.oldest > shelf.now
    yard.store.run(move_runs(shelf.now))
    moved = yard.store.read(shelf_of(TICKETS, ""))
    assert moved.oldest == shelf.now
    assert moved.made == 1
