"""PostgreSQL behind a bad line: what was acknowledged exists, and a call that is repeated takes effect once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import RawCursor
from psycopg.abc import Query

from posthorse.clock import SECOND
from posthorse.errors import KeyConflict, OutcomeUnknown, StoreError, StoreUnreachable
from posthorse.rules.job import State
from posthorse.rules.outcomes import Lost
from posthorse.store.base import Operation, QuerySteps, operation
from posthorse.store.operations import checkpoints, read, runners
from posthorse.store.operations.ends import LeaseRace
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.submit import enqueue
from posthorse.store.postgres.backend import WAITS_FOR_STANDBYS, PostgresBackend
from tests.servers import PostgresServer
from tests.servers.proxy import FaultProxy, Moment, fault_proxy
from tests.store.yard import HOME, Yard

Line = tuple[Yard, FaultProxy]


def backend(yard: Yard) -> PostgresBackend:
    found = yard.store.backend
    assert isinstance(found, PostgresBackend)
    return found


@pytest.fixture
def line(postgres_yard: Yard) -> Iterator[Line]:
    """Yield a yard whose store talks through a proxy."""
    address = urlsplit(postgres_yard.store.url)
    assert address.port is not None
    with fault_proxy(address.port) as proxy:
        yard = Yard(postgres_yard.store.url.replace(f":{address.port}/", f":{proxy.port}/"))
        yard.store.lanes({HOME})
        yield yard, proxy
        yard.store.close()


# What breaks the line: the statement itself (alone, a statement is its own transaction), or the commit.
MOMENTS: list[Moment] = ["before", "after"]


def test_plain_jobs_are_enqueued_once_whatever_breaks(line: Line) -> None:
    """F49, F50"""
    yard, proxy = line
    for count in (1, 100):
        for moment in MOMENTS:
            # After a while the statement is prepared and sent by name, but the ids are always in the message.
            jobs = yard.new(count)
            proxy.cut(jobs[0].id.encode(), moment)
            assert yard.submit(jobs) == [(job.id, True) for job in jobs]
    assert proxy.cuts == 4
    assert yard.waiting() == 202
    yard.audit()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("text", [b"COMMIT", b"a key"])
def test_keyed_job_is_enqueued_once_whatever_breaks(line: Line, moment: Moment, text: bytes) -> None:
    yard, proxy = line
    [job], [again] = yard.new(key="a key"), yard.new(key="a key")
    proxy.cut(text, moment)
    assert yard.submit([job]) == [(job.id, True)]
    assert proxy.cuts == 1
    assert yard.submit([again]) == [(job.id, False)]
    assert yard.waiting() == 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_completions_count_once_whatever_breaks(line: Line, moment: Moment) -> None:
    yard, proxy = line
    attempts = [yard.started() for _ in range(3)]
    proxy.cut(b"COMMIT", moment)
    assert yard.complete(*attempts, result="7") == []
    assert proxy.cuts == 1
    assert {yard.state(attempt.job) for attempt in attempts} == {State.COMPLETED}
    yard.audit()


@pytest.mark.parametrize("moment", MOMENTS)
def test_failure_spends_one_attempt_whatever_breaks(line: Line, moment: Moment) -> None:
    yard, proxy = line
    attempt = yard.started()
    proxy.cut(b"COMMIT", moment)
    assert yard.fail(attempt, attempts=5)
    assert proxy.cuts == 1
    assert yard.job(attempt.job).errors == 1
    assert yard.events(attempt.job) == ["attempt_failed"]
    yard.audit()


@pytest.mark.parametrize("moment", MOMENTS)
def test_slice_counts_once_whatever_breaks(line: Line, moment: Moment) -> None:
    yard, proxy = line
    attempt = yard.started()
    yard.checkpoint(attempt, 1)
    proxy.cut(attempt.job.encode(), moment)
    assert yard.checkpoint(attempt, 2) == (2, None)
    assert proxy.cuts == 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_claim_whose_reply_was_lost_says_so_and_strands_nothing(line: Line, moment: Moment) -> None:
    yard, proxy = line
    yard.enqueue(3)
    runner = yard.runner()
    proxy.cut(runner.encode(), moment)  # for one lane it is a statement alone, and so commits by itself
    with pytest.raises(OutcomeUnknown, match="it is unknown"):
        yard.claim(runner, 2)
    strangers = yard.store.read(runners.held_by(runner))
    assert len(strangers) == (2 if moment == "after" else 0)
    for held in strangers:
        yard.settle(Fence(held.job, held.epoch, held.runner), Lost("reply lost"), spent=held.spent)
    assert len(yard.claim(runner, 9)) == 3
    yard.audit()


@pytest.mark.parametrize("moment", MOMENTS)
def test_slice_transaction_whose_commit_breaks_is_an_error(line: Line, moment: Moment) -> None:
    """Its effects are the user's: only the user's code can be run again, from the last committed cursor."""
    yard, proxy = line
    attempt = yard.started()
    proxy.cut(b"COMMIT", moment)
    with pytest.raises(StoreUnreachable), yard.store.transaction():
        yard.checkpoint(attempt, 1)
    saved = yard.store.read(checkpoints.load_checkpoint(attempt.job))
    assert (saved.checkpoint is not None) == (moment == "after")


def test_group_whose_commit_breaks_is_nobodys_fault(line: Line) -> None:
    yard, proxy = line
    lanes = yard.store.lanes({HOME})
    [first], [second] = yard.new(key="k"), yard.new(key="k", arguments="[]")
    groups = [yard.new(2), [first], [second], yard.new(1)]
    operations = [enqueue(jobs, lanes) for jobs in groups]
    proxy.cut(b"COMMIT", "after")
    answers = backend(yard).commit(operations)
    assert [type(error) for _, error in answers] == [type(None), type(None), KeyConflict, type(None)]
    assert proxy.cuts == 1
    assert yard.waiting() == 4


def test_store_that_stays_away_is_an_error_after_a_while(line: Line) -> None:
    yard, proxy = line
    yard.enqueue()
    backend(yard).patience = 0.3
    [job], [in_doubt] = yard.new(), yard.new()
    proxy.cut(in_doubt.id.encode(), "after")
    proxy.stop_listening()
    with pytest.raises(OutcomeUnknown, match="ask again with the same id"):
        yard.submit([in_doubt])
    with pytest.raises(StoreUnreachable):
        yard.submit([job])


def test_terminated_backends_are_not_noticed(postgres_yard: Yard) -> None:
    """F51, again and again, under load"""
    yard = postgres_yard
    yard.store.lanes({HOME})
    stop = threading.Event()

    def terminate() -> int:
        count = 0
        with psycopg.connect(yard.store.url, autocommit=True) as admin:
            while not stop.is_set():
                count += admin.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                ).fetchall()[0][0]
                stop.wait(0.3)
        return count

    def enqueue_and_read(_: int) -> list[str]:
        found: list[str] = []
        for _ in range(40):
            found += yard.enqueue()
            yard.store.read(read.running_count())
        return found

    with ThreadPoolExecutor(6) as pool:
        terminated = pool.submit(terminate)
        try:
            acknowledged = [id for ids in pool.map(enqueue_and_read, range(4)) for id in ids]
        finally:
            stop.set()
        assert terminated.result(20) > 0
    assert yard.waiting() == len(set(acknowledged)) == 160
    yard.audit()


def test_slice_transaction_starts_on_a_living_connection(postgres_yard: Yard) -> None:
    yard = postgres_yard
    attempt = yard.started()
    for done in (1, 2):
        with yard.store.transaction():
            yard.checkpoint(attempt, done)
        with psycopg.connect(yard.store.url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def test_server_that_crashes_and_comes_back_has_all_that_was_acknowledged(own_postgres: PostgresServer) -> None:
    """F52"""
    with own_postgres.database() as url:
        yard = Yard(url)
        yard.store.migrate()
        attempt = yard.started()
        acknowledged = yard.enqueue(10)
        own_postgres.kill()
        with ThreadPoolExecutor(2) as pool:
            late = pool.submit(yard.enqueue, 5)
            end = pool.submit(yard.complete, attempt)
            own_postgres.start()
            acknowledged += late.result(30)
            assert end.result(30) == []
        claimed = {job.job for job in yard.claim(yard.runner(), 99)}
        assert claimed == set(acknowledged)
        yard.audit()
        yard.store.close()


# ── collisions ───────────────────────────────────────────────────────────────────────────────────────


def test_deadlocks_are_tried_again(postgres_yard: Yard) -> None:
    """F56: two groups take the same keys in opposite orders."""
    yard, other = postgres_yard, Yard(postgres_yard.store.url)
    lanes, _ = yard.store.lanes({HOME}), other.store.lanes({HOME})
    barrier = threading.Barrier(2)

    def group(own: Yard, keys: tuple[str, str]) -> list[Any]:
        first, second = (enqueue(own.new(key=key), lanes) for key in keys)
        waited: list[bool] = []

        def steps() -> QuerySteps[object]:
            if not waited:
                waited.append(True)
                barrier.wait(30)
            yield from ()
            return None

        return [error for _, error in backend(own).commit([first, Operation(steps), second])]

    with psycopg.connect(yard.store.url, autocommit=True) as admin:
        admin.execute("ALTER ROLE postgres SET deadlock_timeout = '50ms'")
    try:
        for own in (yard, other):
            own.store.close()
        with ThreadPoolExecutor(2) as pool:
            here, there = pool.submit(group, yard, ("a", "b")), pool.submit(group, other, ("b", "a"))
            assert here.result(30) == there.result(30) == [None] * 3
    finally:
        with psycopg.connect(yard.store.url, autocommit=True) as admin:
            admin.execute("ALTER ROLE postgres RESET deadlock_timeout")
    assert yard.waiting() == 2
    other.store.close()


@pytest.mark.parametrize("count", [1, 3])
def test_a_commit_that_is_still_under_way_counts_once(postgres_yard: Yard, count: int) -> None:
    """F50: the line broke, and the server has not noticed yet when the jobs are enqueued again."""
    yard, other = postgres_yard, Yard(postgres_yard.store.url)
    backend(other).patience = 0.0  # it takes longer than any caller is willing to retry
    jobs = yard.new(count)
    with ThreadPoolExecutor(1) as pool:
        with yard.store.transaction():
            yard.submit(jobs)
            again = pool.submit(other.submit, jobs)
            with psycopg.connect(yard.store.url, autocommit=True) as admin:
                wait_until_blocked(admin)
        assert again.result(30) == [(job.id, True) for job in jobs]
    assert [job.job for job in yard.claim(yard.runner(), 9)] == [job.id for job in jobs]
    other.store.close()
    yard.audit()


def test_only_who_comes_again_looks_for_what_it_wrote(postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard = postgres_yard
    looked: list[bool] = []
    jobs, more = yard.new(2), yard.new()
    execute_with = RawCursor.execute

    def noting(cursor: RawCursor[Any], query: bytes, params: Sequence[Any], *, prepare: bool) -> RawCursor[Any]:
        if b"INSERT INTO" in query and b".jobs" in query:
            looked.extend(value for value in params if isinstance(value, bool))
        return execute_with(cursor, query, params, prepare=prepare)

    monkeypatch.setattr(RawCursor, "execute", noting)
    yard.submit(jobs)
    yard.submit(jobs)
    with yard.store.transaction():
        yard.submit(more)
    assert looked == [False, False, True, False]


def test_after_an_interruption_the_next_commit_waits_for_standbys(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was interrupted may be committed only on this server, and be found by the next caller."""
    yard = postgres_yard
    yard.enqueue()
    said: list[Query] = []
    execute = psycopg.Connection.execute

    def noting(connection: psycopg.Connection[Any], query: Query) -> object:
        said.append(query)
        return execute(connection, query)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr(PostgresBackend, "_run_group", interrupted)
        with pytest.raises(KeyboardInterrupt):
            yard.enqueue()
    monkeypatch.setattr(psycopg.Connection, "execute", noting)
    yard.enqueue()
    assert said.count(WAITS_FOR_STANDBYS) == 1
    yard.enqueue()
    assert said.count(WAITS_FOR_STANDBYS) == 1


def test_operation_that_is_always_disturbed_fails_alone_and_soon(postgres_yard: Yard) -> None:
    tries: list[int] = []

    @operation
    def disturbed() -> QuerySteps[object]:
        tries.append(1)
        yield from ()
        raise LeaseRace

    yard = postgres_yard
    good = enqueue(yard.new(), yard.store.lanes({HOME}))
    answers = backend(yard).commit([good, disturbed()])
    assert answers[0][1] is None
    assert isinstance(answers[1][1], StoreError)
    assert 2 < len(tries) < 20
    assert yard.waiting() == 1


def test_lease_without_its_job_is_said(postgres_yard: Yard) -> None:
    yard = postgres_yard
    attempt = yard.started()
    with psycopg.connect(yard.store.url) as connection:
        connection.execute("DELETE FROM posthorse.jobs")
    with pytest.raises(StoreError, match="posthorse doctor"):
        yard.complete(attempt)


def test_completion_waits_for_whoever_changes_the_job_and_is_not_lost(postgres_yard: Yard) -> None:
    """A row that another session updated meanwhile has moved; the completion finds it at its new place."""
    yard = postgres_yard
    attempts = [yard.started() for _ in range(20)]
    with ThreadPoolExecutor(1) as pool, psycopg.connect(yard.store.url) as connection:
        connection.execute("UPDATE posthorse.jobs SET tags = '[]' WHERE id = %s", [attempts[7].job])
        done = pool.submit(yard.complete, *attempts)
        wait_until_blocked(connection)
        connection.commit()
        assert done.result(20) == []
    assert {yard.state(attempt.job) for attempt in attempts} == {State.COMPLETED}
    yard.audit()


@pytest.mark.parametrize("first", ["rescue", "completion"])
def test_rescue_and_completion_meet_and_one_of_them_counts(postgres_yard: Yard, first: str) -> None:
    yard = postgres_yard
    attempt = yard.started()
    late: Callable[[], object]
    late = (lambda: yard.complete(attempt)) if first == "rescue" else (lambda: yard.settle(attempt, Lost("gone")))
    other = Yard(yard.store.url)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(yard.store.url) as connection:
        with other.store.transaction():
            if first == "rescue":
                other.settle(attempt, Lost("gone"))
            else:
                other.complete(attempt)
            done = pool.submit(late)
            wait_until_blocked(connection)
        assert done.result(20) == ([attempt.job] if first == "rescue" else False)
    assert yard.state(attempt.job) is (State.PENDING if first == "rescue" else State.COMPLETED)
    other.store.close()
    yard.audit()


def test_checkpoint_inside_a_transaction_holds_a_rescue_off_until_its_commit(postgres_yard: Yard) -> None:
    yard, other = postgres_yard, Yard(postgres_yard.store.url)
    attempt = yard.started()
    with ThreadPoolExecutor(1) as pool, psycopg.connect(yard.store.url) as connection:
        with yard.store.transaction():
            assert yard.checkpoint(attempt, 1) == (1, None)
            rescue = pool.submit(other.settle, attempt, Lost("gone"))
            wait_until_blocked(connection)
        assert rescue.result(20) is True
    assert yard.store.read(checkpoints.load_checkpoint(attempt.job)) is not None
    assert yard.checkpoint(attempt, 2) is None
    other.store.close()


# ── poolers ──────────────────────────────────────────────────────────────────────────────────────────


def test_pooler_in_transaction_mode_is_noticed_and_works(pooled_url: str) -> None:
    """F59"""
    yards = [Yard(pooled_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [id for ids in pool.map(lambda yard: yard.enqueue(10), yards) for id in ids]
    yard = yards[0]
    assert yard.store.health()["pooled"] == 1
    runner = yard.runner()
    claimed = yard.claim(runner, 99)
    assert {job.job for job in claimed} == set(jobs)
    attempt = Fence(claimed[0].job, claimed[0].epoch, runner)
    for done in range(1, 12):  # beyond the number at which statements would be prepared
        assert yard.checkpoint(attempt, done) == (done, None)
    with yard.store.transaction():
        yard.checkpoint(attempt, 12)
    assert yard.complete(*(Fence(job.job, job.epoch, runner) for job in claimed)) == []
    for other in yards:
        other.store.close()


def wait_until_blocked(connection: psycopg.Connection[Any]) -> None:
    """Wait until some session of this database waits for a lock of another."""
    for _ in range(10_000):
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchall()[0][0]
        if found:
            return
        connection.execute("SELECT pg_stat_clear_snapshot()")
    raise AssertionError("no session ever waited")


def test_a_server_without_room_for_another_connection_is_told_and_waited_for(postgres_yard: Yard) -> None:
    """F58: the server refuses before any call is made, so nothing is in doubt."""
    yard, role = postgres_yard, "crowded"
    with psycopg.connect(yard.store.url, autocommit=True) as admin:
        admin.execute(f"DROP ROLE IF EXISTS {role}")
        admin.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
        admin.execute(f"GRANT USAGE ON SCHEMA posthorse TO {role}")
        admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA posthorse TO {role}")
        admin.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA posthorse TO {role}")
        url = yard.store.url.replace("postgres@", f"{role}@")
        crowded = Yard(url)
        backend(crowded).patience = 0.2
        with psycopg.connect(url), pytest.raises(StoreUnreachable, match="too many connections"):
            crowded.enqueue()
        assert yard.waiting() == 0
        admin.execute(f"ALTER ROLE {role} CONNECTION LIMIT 3")
        crowded.enqueue()
        assert yard.waiting() == 1
        crowded.store.close()
        admin.execute(f"DROP OWNED BY {role} CASCADE")
        admin.execute(f"DROP ROLE {role}")


def test_a_job_that_is_put_off_while_it_is_about_to_be_lined_up_waits_for_its_new_time(postgres_yard: Yard) -> None:
    """Its waiting entry is as it was when the look began; the job, once locked, is as it is now."""
    yard = postgres_yard
    [put_off, other] = yard.enqueue(2, delay=5 * SECOND)
    with yard.store.transaction() as connection:
        cast("Any", connection).execute(
            "UPDATE posthorse.jobs SET run_at = run_at + %s WHERE id = %s", (3600 * SECOND, put_off)
        )
    yard.pass_time(seconds=6)
    assert yard.promote() == 1
    assert (yard.state(put_off), yard.state(other)) == (State.SCHEDULED, State.PENDING)
    yard.audit()
    yard.pass_time(hours=2)
    assert yard.promote() == 1
    assert yard.state(put_off) is State.PENDING


def called(yard: Yard, enqueue: Callable[[], object]) -> list[str]:
    """Return the notifications to runners while jobs are enqueued."""
    told: list[str] = []
    with psycopg.connect(yard.store.url, autocommit=True) as ear:
        ear.add_notify_handler(lambda notify: told.append(notify.payload))
        ear.execute(f'LISTEN "{yard.channel}"')
        enqueue()
        ear.execute("SELECT pg_notify(%s, 'that is all')", [yard.channel])  # comes after all earlier notifications
    assert told.pop() == "that is all"
    return told


def test_only_living_runners_that_wait_are_called(postgres_yard: Yard) -> None:
    """Of a crowd, three are called: a busy or dead one among them would mean one fewer that comes."""
    yard = postgres_yard
    [delayed] = yard.enqueue(1, delay=3600 * SECOND)
    silent, busy = yard.runner(lease=SECOND), yard.runner(lease=3600 * SECOND)
    yard.store.run(runners.set_idle(silent, idle=True))
    yard.pass_time(seconds=2)
    for count in (1, 2):
        assert called(yard, lambda count=count: yard.enqueue(count)) == []  # type: ignore[misc]  # bound early
    assert called(yard, lambda: yard.ask(delayed, "cancel")) == []
    yard.store.run(runners.set_idle(busy, idle=True))
    assert called(yard, lambda: yard.enqueue(1)) == [f"1 {busy}"]
    assert called(yard, lambda: yard.enqueue(2)) == [""]
    assert called(yard, lambda: yard.ask(delayed, "retry")) == [f"1 {busy}"]
