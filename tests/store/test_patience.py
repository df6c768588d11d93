"""Patience: how long calls wait for a store that is away, each as its caller does, and not for lasting errors."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

import psycopg
import pytest

from posthorse.errors import OutcomeUnknown, StoreUnreachable
from posthorse.store.base import Operation, QuerySteps, TryAgain, operation, query
from posthorse.store.operations import read
from posthorse.store.patience import (
    LONG_WAIT,
    SHORT_WAIT,
    Deadline,
    Patience,
    patience_of_caller,
    pause,
    wait_as,
    waiting_at_most,
    worker_waiting,
)
from posthorse.store.postgres.faults import cannot_heal
from posthorse.store.store import Store
from tests.servers import PostgresServer
from tests.servers.process import free_port
from tests.store.yard import HOME, Yard

BACKEND, READS = "posthorse.store.postgres.backend", "posthorse.store.postgres.reads"
REFUSED = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '
SEVERAL = "connection failed: …\nMultiple connection attempts failed. All failures were:\n"


# ── who waits how long ───────────────────────────────────────────────────────────────────────────────


def test_a_call_inside_a_running_loop_waits_shorter() -> None:
    async def seconds() -> float:
        return patience_of_caller(None).seconds

    assert patience_of_caller(None).seconds == LONG_WAIT
    assert asyncio.run(seconds()) == SHORT_WAIT


def test_a_setting_holds_in_and_outside_of_loops() -> None:
    async def seconds() -> float:
        return patience_of_caller(2.0).seconds

    assert patience_of_caller(2.0).seconds == asyncio.run(seconds()) == 2.0


def test_workers_and_what_runs_in_them_wait_long_though_they_have_loops() -> None:
    async def seconds() -> float:
        wait_as(worker_waiting(None))
        return await asyncio.create_task(_seconds())

    async def _seconds() -> float:
        return patience_of_caller(None).seconds

    assert asyncio.run(seconds()) == LONG_WAIT


def test_a_deadline_of_the_caller_counts_inside_its_block_alone() -> None:
    with waiting_at_most(0.5):
        assert patience_of_caller(None).seconds == 0.5
    with waiting_at_most(None):
        assert patience_of_caller(None).seconds == LONG_WAIT


# ── what cannot heal ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "said",
    [
        REFUSED + 'FATAL:  password authentication failed for user "shop"',
        REFUSED + "fe_sendauth: no password supplied",
        REFUSED + 'FATAL:  role "shop" does not exist',
        REFUSED + 'FATAL:  database "shop" does not exist',
        REFUSED + 'FATAL:  role "shop" is not permitted to log in',
        REFUSED + 'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "shop", database "shop", no encryption',
        REFUSED + 'FATAL:  Peer authentication failed for user "shop"',
        REFUSED + 'FATAL:  permission denied for database "shop"\nDETAIL:  User does not have CONNECT privilege.',
        REFUSED + 'FATAL:  database "shop" is not currently accepting connections',
        REFUSED + "server does not support SSL, but SSL was required",
        REFUSED + 'FATAL:  unrecognized configuration parameter "foo"',
        "connection is bad: could not create socket: Address family not supported by protocol",
        # One host with two addresses; it does not listen on the second.
        SEVERAL
        + "- host: 'localhost', port: '5432', hostaddr: '::1': connection failed: Connection refused\n"
        + "- host: 'localhost', port: '5432', hostaddr: '127.0.0.1': connection failed: "
        + 'FATAL:  role "shop" does not exist',
    ],
)
def test_what_a_living_server_refuses_cannot_heal(said: str) -> None:
    assert cannot_heal(StoreUnreachable(f"PostgreSQL cannot be reached: {said}"))


@pytest.mark.parametrize(
    "said",
    [
        REFUSED + "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?",
        REFUSED + "FATAL:  the database system is starting up",
        REFUSED + "FATAL:  sorry, too many clients already",
        REFUSED + 'FATAL:  too many connections for role "shop"',
        "connection timeout expired",
        "failed to resolve host 'db': [Errno -3] Temporary failure in name resolution",
        # The address family that it has may respond again.
        SEVERAL
        + "- host: 'localhost', port: '5432', hostaddr: '::1': could not create socket: Address family not supported by"
        + " protocol\n- host: 'localhost', port: '5432', hostaddr: '127.0.0.1': connection failed: Connection refused",
        # The other host may be the right one.
        SEVERAL
        + "- host: 'a', port: '5432', hostaddr: '10.0.0.1': connection failed: Connection refused\n"
        + "- host: 'b', port: '5432', hostaddr: '10.0.0.2': connection failed: "
        + 'FATAL:  role "shop" does not exist',
    ],
)
def test_what_is_away_may_come_back(said: str) -> None:
    assert not cannot_heal(StoreUnreachable(f"PostgreSQL cannot be reached: {said}"))


def test_an_address_that_no_server_will_ever_take_fails_at_once(
    own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(own_postgres.url(), autocommit=True) as admin:
        admin.execute("CREATE ROLE shop LOGIN PASSWORD 'right'")
        [(file,)] = admin.execute("SHOW hba_file").fetchall()
        admin.execute(f"COPY (SELECT 'host all all all scram-sha-256') TO '{file}'".encode())

    def no_pause(*_: object) -> None:
        raise AssertionError("it waits for what cannot heal")

    for module in (BACKEND, READS):
        monkeypatch.setattr(f"{module}.pause", no_pause)
    role, database = own_postgres.url(user="nobody"), own_postgres.url("nowhere")
    _fails_at_once(role)
    _fails_at_once(database)
    own_postgres.stop()
    own_postgres.start()
    _fails_at_once(own_postgres.url(user="shop:wrong"))


def _fails_at_once(url: str) -> None:
    store = Store(url)
    with pytest.raises(StoreUnreachable) as told:
        store.read(read.running_count())
    assert "wrong" not in str(told.value)
    answers = store.backend.commit([nothing()])
    assert [type(error) for _, error in answers] == [StoreUnreachable]
    store.close()


# ── several callers ──────────────────────────────────────────────────────────────────────────────────


@operation
def nothing() -> QuerySteps[None]:
    yield query("now")


def waiting(seconds: float, *, is_repeatable: bool = True) -> Operation[object]:
    return Operation(nothing().start, deadline=Deadline(Patience(seconds)), is_repeatable=is_repeatable)


@pytest.fixture
def away() -> Iterator[Store]:
    """Yield a store at whose address nothing listens."""
    store = Store(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres")
    yield store
    store.close()


def test_who_has_less_time_is_told_first_and_the_others_come_again(away: Store) -> None:
    (_, short), (_, long) = away.backend.commit([waiting(0), waiting(60)])
    assert isinstance(short, StoreUnreachable)
    assert isinstance(long, TryAgain)
    assert not long.was_sent


def test_what_was_sent_before_stays_in_doubt(away: Store) -> None:
    sent = Operation(nothing().start, deadline=Deadline(Patience(0)), was_sent=True)
    (_, error), (_, other) = away.backend.commit([sent, waiting(0)])
    assert isinstance(error, OutcomeUnknown)
    assert isinstance(other, StoreUnreachable)


def test_a_short_wait_is_short_though_others_wait_long_in_the_same_line(own_postgres: PostgresServer) -> None:
    yard = Yard(own_postgres.url())
    yard.store.migrate()
    yard.store.lanes({HOME})
    for number, first in enumerate(("short", "long"), 1):
        yard.store.close()
        own_postgres.stop()
        _waits_side_by_side(yard, own_postgres, first)
        assert yard.waiting() == number
    yard.store.close()


def _waits_side_by_side(yard: Yard, server: PostgresServer, first: str) -> None:
    began = threading.Semaphore(0)

    def call(seconds: float) -> object:
        def run() -> object:
            wait_as(Patience(seconds))
            began.release()
            return yard.enqueue(1)

        return copy_context().run(run)

    with ThreadPoolExecutor(2) as pool:
        waits = {"short": 0.3, "long": 600.0}
        order = [first, *(waits.keys() - {first})]
        calls: dict[str, Future[object]] = {}
        for name in order:
            calls[name] = pool.submit(call, waits[name])
            began.acquire()
        with pytest.raises(StoreUnreachable):
            calls["short"].result(60)
        server.start()
        assert calls["long"].result(60)


def test_a_worker_that_is_told_to_stop_ends_the_waits_of_calls_under_way(away: Store) -> None:
    waits = Patience(600.0)
    paused = threading.Event()

    def call() -> None:
        wait_as(waits)
        away.read(read.running_count())

    def noting(*arguments: object) -> None:
        paused.set()
        pause(*arguments)  # type: ignore[arg-type]  # as it was called

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(f"{READS}.pause", noting)
        under_way = pool.submit(copy_context().run, call)
        assert paused.wait(60)
        waits.hurry(0)
        with pytest.raises(StoreUnreachable):
            under_way.result(60)


def test_a_pause_ends_when_there_is_no_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    waits, steps = Patience(600.0), 0
    deadline = Deadline(waits)

    def sleep(seconds: float) -> None:
        nonlocal steps
        steps += 1
        waits.hurry(0)

    monkeypatch.setattr("posthorse.store.patience.time.sleep", sleep)
    pause(600.0, lambda: deadline.left)
    assert steps == 1


# ── commits that collide ─────────────────────────────────────────────────────────────────────────────


def test_a_commit_that_collided_is_run_again_as_a_whole(postgres_yard: Yard) -> None:
    """This happens if a pooler's server runs them at another isolation level than ours."""
    yard = postgres_yard
    with psycopg.connect(yard.store.url, autocommit=True) as admin:
        admin.execute("CREATE SEQUENCE tries")
        admin.execute(
            "CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('public.tries') < 3 THEN RAISE 'collided' USING ERRCODE = '40001'; END IF; RETURN NULL; END $$"
        )
        admin.execute(
            "CREATE CONSTRAINT TRIGGER collide AFTER INSERT ON posthorse.jobs DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION collide()"
        )
    assert len(yard.enqueue()) == 1
    assert yard.waiting() == 1
