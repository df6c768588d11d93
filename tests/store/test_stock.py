"""What stocks do in the store: orders end with their jobs, in the same commit, and nothing is written twice."""

from __future__ import annotations

from datetime import timedelta

import psycopg

from posthorse.rules.job import JobError, NewJob
from posthorse.rules.joins import Edge
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Lost, Raised
from posthorse.rules.stock import StockDeclaration
from posthorse.store.base import QuerySteps, operation
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
from posthorse.store.operations.stock_ends import order_again
from posthorse.store.operations.stock_keys import kept, order_keys
from posthorse.store.operations.submit import EntryTerms
from tests.store.yard import HOME, Yard

TICKETS = StockDeclaration("tickets", NewJob("", HOME, "{}"), level=3, refill_at=3)
PRICES = StockDeclaration("prices", NewJob("", HOME, "{}"), key="symbol")


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


def test_a_result_whose_job_runs_again_is_not_on_the_shelf_until_it_completes(yard: Yard) -> None:
    order(yard)
    attempt = yard.claim_one()
    yard.complete(attempt, result="7")
    yard.store.run(run_again(attempt.job))
    assert held(yard) == (0, 3, 0)
    assert yard.store.run(take_from_shelf(TICKETS, "", 5)) == []


def test_a_result_by_key_is_gone_once_its_job_runs_again(yard: Yard) -> None:
    [job] = order_key(yard, "a")
    yard.complete(yard.claim_one(), result="7")
    assert [row.state for row in yard.store.read(kept("prices", "", "a"))] == ["made"]
    yard.store.run(run_again(job))
    assert yard.store.read(kept("prices", "", "a")) == []
    assert len(order_key(yard, "a")) == 1


def test_an_order_removes_the_old_failure_of_its_own_key_alone(yard: Yard) -> None:
    for key in ("a", "b"):
        order_key(yard, key)
        yard.fail(yard.claim_one())
    assert order_key(yard, "a") == []
    yard.store.clock.advance(timedelta(hours=1))
    assert len(order_key(yard, "a")) == 1
    assert [row.state for row in yard.store.read(kept("prices", "", "b"))] == ["failed"]


def test_what_a_transaction_removes_by_key_keeps_no_completion_waiting(postgres_url: str) -> None:
    yard = Yard(postgres_url)
    order_key(yard, "made")
    yard.complete(yard.claim_one())
    order_key(yard, "failed")
    attempt = yard.claim_one()
    yard.fail(attempt)
    order_key(yard, "made")
    newer = yard.claim_one()
    yard.ask(attempt.job, "retry")
    retried = yard.claim_one()
    with psycopg.connect(postgres_url) as user:
        user.execute("DELETE FROM posthorse.stocked WHERE state IN ('made', 'failed')")
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute(f"ALTER DATABASE {other.info.dbname} SET lock_timeout = '500ms'".encode())
        impatient = Yard(postgres_url)
        assert impatient.complete(newer, retried) == []
        impatient.store.close()
        user.rollback()
    assert [row.state for row in yard.store.read(kept("prices", "", "made"))].count("made") == 2
    yard.store.close()


def order_key(yard: Yard, key: str) -> list[str]:
    [call] = yard.new()
    return yard.store.run(order_keys(PRICES, "", [(call, key)], Ordering(yard.store.lanes({HOME}))))


@operation
def run_again(job: str) -> QuerySteps[None]:
    yield from order_again(job)
