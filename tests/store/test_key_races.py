"""Races of keys and identities: something happens between two of their statements. SQLite has one writer: it cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, cast

import msgspec
import psycopg
import pytest

from posthorse.clock import SECOND
from posthorse.rules.job import NewJob
from posthorse.rules.unique import Identity, UniqueRule
from posthorse.store.base import Operation, QuerySteps, query_rows
from posthorse.store.operations import read
from posthorse.store.operations.keys import forget_expired_keys
from posthorse.store.operations.submit import SubmitResult, enqueue
from posthorse.store.postgres.backend import PostgresBackend
from tests.store.yard import HOME, Yard
from tests.waiting import until


@pytest.fixture
def one(postgres_yard: Yard) -> Yard:
    postgres_yard.store.lanes({HOME})
    return postgres_yard


@pytest.fixture
def other(one: Yard) -> Iterator[Yard]:
    other = Yard(one.store.url)
    yield other
    other.store.close()


def unique(one: Yard, rule: UniqueRule, on_conflict: str = "return", arguments: str = "{}") -> NewJob:
    identity = msgspec.convert({"value": "same", "rule": rule, "on_conflict": on_conflict}, Identity)
    return msgspec.structs.replace(one.new(arguments=arguments)[0], unique=identity)


def submit_disturbed(
    one: Yard, jobs: Sequence[NewJob], query: str, disturb: Callable[[], object]
) -> list[SubmitResult]:
    """Submit jobs, and let another thread do something just before the first statement of this name."""
    submitting = enqueue(jobs, one.store.lanes({HOME}))
    is_over = False

    def steps() -> QuerySteps[list[SubmitResult]]:
        nonlocal is_over
        inner = submitting.start()
        try:
            wanted = next(inner)
            while True:
                if wanted.query == query and not is_over:
                    is_over = True
                    elsewhere.submit(disturb).result(60)
                wanted = inner.send((yield wanted))
        except StopIteration as stop:
            return cast("list[SubmitResult]", stop.value)

    with ThreadPoolExecutor(1) as elsewhere:
        answer = one.store.run(Operation(steps))
    assert is_over, f"no statement {query}"
    return answer


def is_somebody_blocked(one: Yard) -> bool:
    with psycopg.connect(one.store.url) as connection:
        rows: Any = connection.execute(
            "SELECT 1 FROM pg_stat_activity "
            "WHERE cardinality(pg_blocking_pids(pid)) > 0 AND datname = current_database()"
        ).fetchall()
    return bool(rows)


@pytest.mark.parametrize("on_conflict", ["replace", "reschedule"])
def test_a_job_that_is_claimed_before_it_can_be_replaced_makes_room_for_the_new_one(
    one: Yard, other: Yard, on_conflict: str
) -> None:
    [(first, _)] = one.submit([unique(one, "queued")])
    new = unique(one, "queued", on_conflict, '{"n":2}')
    [(second, created)] = submit_disturbed(one, [new], "lock_job", other.claim_one)
    assert (second, created) == (new.id, True)
    [(third, created)] = submit_disturbed(
        one, [unique(one, "queued", on_conflict, '{"n":3}')], "withdraw", other.claim_one
    )
    assert created
    assert len({first, second, third}) == 3
    one.audit()


def test_a_job_that_must_be_over_first_is_given_when_it_is_claimed_meanwhile(one: Yard, other: Yard) -> None:
    [(first, _)] = one.submit([unique(one, "finished")])
    new = unique(one, "finished", "replace", '{"n":2}')
    assert submit_disturbed(one, [new], "withdraw", other.claim_one) == [(first, False)]
    assert one.store.read(read.arguments(first)) == "{}"
    one.audit()


def test_a_claim_that_began_before_does_not_take_a_replaced_job_with_its_old_arguments(one: Yard) -> None:
    runner = one.runner()
    [(job, _)] = one.submit([unique(one, "queued")])
    backend = one.store.backend
    assert isinstance(backend, PostgresBackend)
    lane = one.store.lanes({HOME})[HOME]
    with closing(backend.connect()) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1 FROM posthorse.meta")  # this fixes what it sees
        one.submit([unique(one, "queued", "replace", '{"n":2}')])
        with pytest.raises(psycopg.errors.SerializationFailure):  # a plain claim skips it
            backend.execute_on(connection)(query_rows("claim", [(lane, 0, 10, None)], runner=runner, room=10))
    [claimed] = one.claim(runner)
    assert (claimed.job, claimed.arguments) == (job, '{"n":2}')


@pytest.mark.parametrize("query", ["find_keys", "lock_keys"])
def test_an_expired_key_that_is_forgotten_between_two_looks_is_taken_anew(one: Yard, other: Yard, query: str) -> None:
    [first] = one.new(key="k")
    one.submit([msgspec.structs.replace(first, key_span=SECOND)])
    for each in (one, other):
        each.pass_time(minutes=1)
    jobs = [msgspec.structs.replace(job, key_span=SECOND) for job in one.new(2, key="k", arguments='{"n":2}')]
    answers = submit_disturbed(one, jobs, query, lambda: other.store.run(forget_expired_keys(10)))
    assert answers == [(jobs[0].id, True), (jobs[0].id, False)]
    assert one.submit(one.new(key="k", arguments='{"n":2}')) == [(jobs[0].id, False)]


def test_an_expired_key_that_is_taken_over_is_not_forgotten(one: Yard, other: Yard) -> None:
    [first] = one.new(key="k")
    one.submit([msgspec.structs.replace(first, key_span=SECOND)])
    for each in (one, other):
        each.pass_time(minutes=1)
    forgotten: list[int] = []
    [heir] = one.new(key="k")
    thread = threading.Thread(target=lambda: forgotten.append(other.store.run(forget_expired_keys(10))))

    def forget() -> None:
        thread.start()
        until(lambda: forgotten or is_somebody_blocked(one))

    assert submit_disturbed(one, [heir], "enqueue_one", forget) == [(heir.id, True)]
    thread.join()
    assert forgotten == [0]
    assert one.submit(one.new(key="k")) == [(heir.id, False)]


@pytest.mark.parametrize("rule", ["finished", "queued"])
def test_of_two_heirs_the_second_waits_and_finds_the_first(one: Yard, other: Yard, rule: UniqueRule) -> None:
    [(over, _)] = one.submit([unique(one, rule)])
    one.ask(over, "cancel")
    second: list[SubmitResult] = []
    thread = threading.Thread(target=lambda: second.extend(other.submit([unique(other, rule)])))

    def compete() -> None:
        thread.start()
        until(lambda: second or is_somebody_blocked(one))

    first = submit_disturbed(one, [unique(one, rule)], "hand_over_keys", compete)
    thread.join()
    assert second == [(first[0].id, False)]
