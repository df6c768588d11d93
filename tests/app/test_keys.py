"""Idempotency keys: where they count, for how long, and how they work with identities and limits of depth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest

import posthorse as ph
from posthorse.clock import Clock
from posthorse.rules.tuning import Tuning
from posthorse.store.operations.keys import forget_expired_keys
from posthorse.store.store import Store
from tests.waiting import until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(store_url: str, clock: Clock, tuning: Tuning) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, clock=clock, tuning=tuning)
    app.migrate()
    yield app
    app.close()


@pytest.fixture
def add(app: ph.Posthorse) -> ph.Kind[[int, int], int]:
    @app.job
    def add(left: int, right: int) -> int:
        return left + right

    return add


def keys_in(store: Store) -> set[tuple[str, str]]:
    with store.transaction() as connection:
        found = cast("Any", connection).execute(f"SELECT scope, key FROM {store.backend.dialect.table('keys')}")
        return set(cast("list[tuple[str, str]]", found.fetchall()))


def test_a_key_counts_for_its_time_and_may_then_be_used_again(
    app: ph.Posthorse, add: ph.Kind[[int, int], int], clock: Clock
) -> None:
    for_an_hour = add.using(key=ph.Key("k", ttl="1h"))
    first = for_an_hour.enqueue(1, 2)
    clock.advance(timedelta(minutes=59))
    assert for_an_hour.enqueue(1, 2) == add.using(key="k").enqueue(1, 2) == first
    with pytest.raises(ph.KeyConflict, match="'k' was used before for other arguments of 'add'"):
        for_an_hour.enqueue(1, 3)
    clock.advance(timedelta(minutes=2))
    second = for_an_hour.enqueue(1, 3)
    assert second.created
    assert for_an_hour.enqueue(1, 3) == second
    clock.advance(timedelta(minutes=61))
    jobs = app.enqueue_many([for_an_hour.bind(5, 5), for_an_hour.bind(5, 5), add.using(key="l").bind(5, 5)])
    assert [job.created for job in jobs] == [True, False, True]
    assert jobs[0] == jobs[1]
    clock.advance(timedelta(minutes=61))
    with pytest.raises(ph.KeyConflict):
        app.enqueue_many([for_an_hour.bind(6, 6), for_an_hour.bind(7, 7)])
    forever = add.using(key="k").enqueue(8, 8)
    assert forever.created
    clock.advance(timedelta(hours=10))
    assert for_an_hour.enqueue(8, 8) == forever


def test_a_key_of_the_whole_application_counts_for_all_kinds_of_a_tenant(
    app: ph.Posthorse, add: ph.Kind[[int, int], int]
) -> None:
    @app.job
    def multiply(left: int, right: int) -> int:
        return left * right

    key = ph.Key("order 7", scope="app")
    first = add.using(key=key).enqueue(1, 2)
    assert add.using(key=key).enqueue(1, 2) == first
    with pytest.raises(ph.KeyConflict, match=f"another kind than 'multiply', or other arguments .job {first.id}"):
        multiply.using(key=key).enqueue(1, 2)
    with pytest.raises(ph.KeyConflict):
        add.using(key=key).enqueue(1, 3)
    assert multiply.using(key=key, tenant="t").enqueue(1, 2).created
    assert add.using(key="order 7").enqueue(1, 2).created, "the key of a kind is another one"


def test_equal_arguments_are_no_conflict_however_they_are_written(app: ph.Posthorse) -> None:
    @app.job
    def export(filters: dict[str, int]) -> None: ...

    first = export.using(key="k").enqueue({"a": 1, "b": 2})
    assert export.using(key="k").enqueue({"b": 2, "a": 1}) == first


def test_racing_threads_share_what_an_expired_key_leaves(
    app: ph.Posthorse, add: ph.Kind[[int, int], int], clock: Clock
) -> None:
    for_an_hour = add.using(key=ph.Key("k", ttl="1h"))
    seen: set[ph.Job[int]] = set()
    for turn in range(5):
        jobs: list[ph.Job[int]] = []
        barrier = threading.Barrier(7)

        def submit(jobs: list[ph.Job[int]] = jobs, barrier: threading.Barrier = barrier, turn: int = turn) -> None:
            barrier.wait()
            jobs.append(for_an_hour.enqueue(turn, turn))

        def forget(barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            app.store.run(forget_expired_keys(10))

        threads = [*(threading.Thread(target=submit) for _ in range(6)), threading.Thread(target=forget)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(jobs)) == 1, turn
        assert sum(job.created for job in jobs) == 1
        assert not seen & set(jobs)
        seen |= set(jobs)
        clock.advance(timedelta(hours=2))


def test_expired_keys_and_windows_are_forgotten_a_batch_at_a_time(
    app: ph.Posthorse, add: ph.Kind[[int, int], int], clock: Clock
) -> None:
    for number in range(5):
        add.using(key=ph.Key(f"short {number}", ttl="1h")).enqueue(1, 2)
    add.using(key=ph.Key("long", ttl="3h")).enqueue(1, 2)
    add.using(key="ever", unique=True).enqueue(1, 2)
    add.using(unique=ph.Unique(until="1h")).enqueue(1, 2)
    kept = keys_in(app.store)
    assert len(kept) == 9
    assert app.store.run(forget_expired_keys(100)) == 0
    clock.advance(timedelta(hours=2))
    assert [app.store.run(forget_expired_keys(4)) for _ in range(3)] == [4, 2, 0]
    left = keys_in(app.store)
    assert len(kept - left) == 6
    assert {scope for scope, _ in left} == {"add", "*finished:add"}
    assert {("add", "long"), ("add", "ever")} < left


@pytest.mark.tuning(keys_interval=0.05, keys_pause=0.01, keys_at_once=2)
def test_workers_forget_expired_keys(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    app.enqueue_many([add.using(key=ph.Key(f"k {number}", ttl="1ms")).bind(1, 2) for number in range(5)])
    add.using(key="ever").enqueue(1, 2)
    with app.worker():
        until(lambda: keys_in(app.store) == {("add", "ever")})


def test_a_key_whose_job_is_another_one_leads_to_that(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: str) -> None: ...

    first = report.enqueue("a")
    keyed = report.using(key="k")
    jobs = app.enqueue_many([keyed.bind("a"), keyed.bind("a")])
    assert jobs == [first, first]
    assert keyed.enqueue("a") == first
    first.cancel()
    assert keyed.enqueue("a") == first, "the key outlives the job"


def test_what_is_there_already_needs_no_room(app: ph.Posthorse) -> None:
    app.queue("small", max_depth=1)

    @app.job(queue="small")
    def report(week: str) -> None: ...

    unique = report.using(unique=True)
    first = unique.using(key="k").enqueue("a")
    assert unique.enqueue("a") == report.using(key="k").enqueue("a") == first
    with pytest.raises(ph.QueueFull):
        unique.enqueue("b")
    assert app.enqueue_many([unique.bind("a"), unique.bind("a")]) == [first, first]
    first.cancel()
    assert unique.using(block="20s").enqueue("b").created, "what was refused left no identity behind"
