"""Looks: reads of many rows end in time, and hold up no read of one job."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import posthorse as ph
from posthorse.errors import StoreUnreachable, TookTooLong
from posthorse.rules.tuning import Tuning
from posthorse.store.base import Operation, QuerySteps, operation, query
from posthorse.store.looks import MAX_WAIT, TimeAllowed
from posthorse.store.operations import read
from posthorse.store.operations.submit import enqueue
from posthorse.store.patience import waiting_at_most
from posthorse.store.postgres.backend import PostgresBackend
from posthorse.store.sqlite import statements as sqlite_statements
from posthorse.store.sqlite.side_files import log_of
from posthorse.store.store import Store
from tests.conftest import STORES
from tests.servers.process import free_port
from tests.store.yard import Yard

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@operation
def endless() -> QuerySteps[None]:
    yield query("endless")


@operation
def again_and_again(running: threading.Event) -> QuerySteps[None]:
    while True:
        yield query("parked_counts")
        running.set()


@pytest.fixture(params=[*STORES, "pooled"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tuning: Tuning) -> Iterator[Store]:
    """A store with a statement that does not end: on SQLite, on PostgreSQL, and behind a pooler."""
    name = {"sqlite": "sqlite_url", "postgres18": "postgres_url", "pooled": "pooled_url"}[request.param]
    store = Store(request.getfixturevalue(name), tuning=tuning)
    is_server = isinstance(store.backend, PostgresBackend)
    queries = store.backend.queries if isinstance(store.backend, PostgresBackend) else sqlite_statements._queries
    monkeypatch.setitem(queries._sources, "endless", ENDLESS)
    if is_server:
        store.migrate()
    yield store
    queries._compiled.pop("endless", None)
    store.close()


def test_a_look_that_takes_too_long_is_ended_and_says_so(store: Store) -> None:
    for _ in range(3):  # more often than there are connections on SQLite
        with pytest.raises(TookTooLong, match=r"longer than 0\.2 s.*narrow") as error:
            store.look(endless(), deadline=0.2)
        assert error.value.where == store.where
    assert store.look(read.running_count()) == 0  # on the same connection


def test_coroutines_look_beside_each_other_and_their_loop_goes_on(store: Store) -> None:
    async def looking() -> tuple[list[BaseException | None], int]:
        ends = [asyncio.create_task(store.alook(endless(), deadline=0.5)) for _ in range(2)]
        count = await store.aread(read.running_count())
        assert not any(end.done() for end in ends)
        return await asyncio.gather(*ends, return_exceptions=True), count

    ends, count = asyncio.run(looking())
    assert [type(end) for end in ends] == [TookTooLong] * 2
    assert count == 0


def test_the_figure_of_the_engine_holds_where_no_deadline_is_given(store: Store) -> None:
    hasty = Store(store.url, tuning=Tuning(look_time=0.1))
    if isinstance(hasty.backend, PostgresBackend):
        hasty.backend.queries._sources["endless"] = ENDLESS
    with pytest.raises(TookTooLong, match=r"0\.1 s"):
        hasty.look(endless())
    with pytest.raises(TookTooLong, match=r"0\.1 s"):
        asyncio.run(hasty.alook(endless()))
    hasty.close()


def test_a_look_of_many_short_statements_ends_as_well(store: Store) -> None:
    with pytest.raises(TookTooLong):
        store.look(again_and_again(threading.Event()), deadline=0.1)


@pytest.mark.tuning(sqlite_looks=1, postgres_looks=1)
def test_a_look_that_finds_all_connections_in_use_waits_and_says_so(store: Store) -> None:
    running = threading.Event()
    with ThreadPoolExecutor(1) as other:
        first = other.submit(store.look, again_and_again(running), deadline=1.0)
        assert running.wait(10)
        with pytest.raises(TookTooLong, match="the connection for looks is in use"):
            store.look(read.running_count(), deadline=0.05)
        assert store.read(read.running_count()) == 0  # point reads have their own
        assert store.look(read.running_count(), deadline=20.0) == 0  # once the other has ended
        assert isinstance(first.exception(), TookTooLong)


def test_a_look_inside_a_transaction_is_a_part_of_it(yard: Yard) -> None:
    [new] = yard.new()
    with yard.store.transaction():
        yard.store.run(enqueue([new], yard.store.lanes({new.lane})))
        assert yard.store.look(read.jobs_by_id([new.id])) != []


def test_a_forked_child_looks_on_connections_of_its_own(yard: Yard) -> None:
    assert yard.store.look(read.running_count()) == asyncio.run(yard.store.alook(read.running_count())) == 0
    child = os.fork()
    if child == 0:
        seen = yard.store.look(read.running_count()) + asyncio.run(yard.store.alook(read.running_count()))
        os._exit(seen)
    assert os.waitpid(child, 0)[1] == 0
    assert yard.store.look(read.running_count()) == 0


def test_a_closed_store_looks_again(yard: Yard) -> None:
    for _ in range(2):
        assert asyncio.run(yard.store.alook(read.running_count())) == yard.store.look(read.running_count()) == 0
        yard.store.close()


@pytest.mark.tuning(max_idle_log=0, checkpoint_pages=10)
def test_a_look_that_is_ended_no_longer_pins_the_log(sqlite_yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sqlite_statements._queries._sources, "endless", f"SELECT *, ({ENDLESS}) FROM @jobs LIMIT 1")
    sqlite_yard.enqueue(200)
    log = log_of(sqlite_yard.store.backend.path)  # type: ignore[attr-defined]  # that of SQLite
    with pytest.raises(TookTooLong):
        sqlite_yard.store.look(endless(), deadline=0.1)
    sqlite_statements._queries._compiled.pop("endless", None)
    for _ in range(50):
        sqlite_yard.enqueue(20)
    assert os.stat(log).st_size < 500_000


def test_a_coroutine_waits_only_a_moment_for_a_store_that_is_away(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float] = []

    def look(wanted: Operation[int], time: TimeAllowed) -> int:
        assert wanted.deadline is not None
        patience.append(wanted.deadline.left)
        return 0

    store = Store(postgres_yard.store.url, timeout=60)
    monkeypatch.setattr(store.backend, "look", look)
    asyncio.run(store.alook(read.running_count()))
    with waiting_at_most(0.5):
        asyncio.run(store.alook(read.running_count()))
    store.look(read.running_count())
    assert 0.5 < patience[0] <= MAX_WAIT
    assert patience[1] <= 0.5
    assert patience[2] > MAX_WAIT
    store.close()


def test_a_look_at_a_store_that_is_away_says_that() -> None:
    store = Store(f"postgresql://posthorse@127.0.0.1:{free_port()}/none")
    store._schema.is_checked = True
    with waiting_at_most(0.1), pytest.raises(StoreUnreachable):
        store.look(read.running_count())
    store.close()


def test_lists_and_counts_are_looks_and_a_status_is_none(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.job
    def double(number: int) -> int:
        return 2 * number

    job = double.enqueue(1)
    looked: list[str] = []
    backend, look = app.store.backend, app.store.backend.look

    def noted(wanted: Operation[object], time: TimeAllowed) -> object:
        looked.append("look")
        return look(wanted, time)

    monkeypatch.setattr(backend, "look", noted)
    job.status(), job.attempts(), job.why()
    assert looked == []
    for reading in (app.jobs().page, app.jobs().counted, app.jobs().count, lambda: list(app.jobs())):
        looked.clear()
        reading()
        assert looked != []


def test_point_reads_and_waiting_go_on_beside_a_look_everywhere(store: Store) -> None:
    unknown = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"

    async def beside_a_look() -> None:
        look = asyncio.create_task(store.alook(endless(), deadline=1.0))
        reads = await asyncio.gather(*(store.aread(read.job(unknown)) for _ in range(20)))
        assert reads == [None] * 20
        assert await store.await_end([unknown], 60.0) == {unknown}
        assert not look.done()
        with pytest.raises(TookTooLong):
            await look

    asyncio.run(beside_a_look())
