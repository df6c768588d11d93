"""Declaring listeners, and what an application hears of its own enqueuing."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any, cast

import pytest

import posthorse as ph
from posthorse.errors import InvalidOption


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url)
    app.migrate()
    yield app
    app.close()


@pytest.fixture
def idle() -> ph.Posthorse:
    return ph.Posthorse("sqlite:///never-opened.db")


@pytest.fixture
def heard(app: ph.Posthorse) -> list[ph.events.Submitted]:
    heard: list[ph.events.Submitted] = []
    app.listen(ph.events.Submitted)(heard.append)
    return heard


def declare(app: ph.Posthorse) -> ph.Kind[[int], None]:
    @app.job(queue="mail")
    def welcome(user: int) -> None: ...

    return welcome


def test_one_event_reports_all_jobs_of_a_call(app: ph.Posthorse, heard: list[ph.events.Submitted]) -> None:
    kind = declare(app)
    jobs = app.enqueue_many([kind.bind(1), kind.using(tenant="acme", queue="slow").bind(2)])
    one = ph.events.SubmittedJob(job=jobs[0].id, kind="welcome", queue="mail", tenant=None)
    other = ph.events.SubmittedJob(job=jobs[1].id, kind="welcome", queue="slow", tenant="acme")
    assert heard == [ph.events.Submitted(jobs=[one, other])]


def test_each_job_that_is_enqueued_alone_is_reported(app: ph.Posthorse, heard: list[ph.events.Submitted]) -> None:
    kind = declare(app)
    jobs = [kind.enqueue(number) for number in range(3)]  # the first call creates what the others would otherwise skip
    jobs += [asyncio.run(kind.aenqueue(number)) for number in range(2)]
    assert [each.job for event in heard for each in event.jobs] == [job.id for job in jobs]


def test_coroutines_are_heard_as_well(app: ph.Posthorse, heard: list[ph.events.Submitted]) -> None:
    job = asyncio.run(declare(app).aenqueue(1))
    assert [each.job for event in heard for each in event.jobs] == [job.id]


def test_the_job_is_committed_when_the_listener_is_called(app: ph.Posthorse) -> None:
    states: list[ph.State] = []
    app.listen(ph.events.Submitted)(lambda event: states.append(app.get_job(event.jobs[0].job).status().state))
    declare(app).enqueue(1)
    assert states == [ph.State.PENDING]


def test_a_job_that_a_key_matched_is_not_reported(app: ph.Posthorse, heard: list[ph.events.Submitted]) -> None:
    kind = declare(app).using(key="one")
    first = kind.enqueue(1)
    assert not kind.enqueue(1).created
    assert [each.job for event in heard for each in event.jobs] == [first.id]


def test_what_is_refused_is_not_reported(app: ph.Posthorse, heard: list[ph.events.Submitted]) -> None:
    kind = declare(app).using(key="one")
    kind.enqueue(1)
    heard.clear()
    with pytest.raises(ph.KeyConflict):
        kind.enqueue(2)
    assert heard == []


def test_a_transaction_reports_its_jobs_once_it_is_committed(
    app: ph.Posthorse, heard: list[ph.events.Submitted]
) -> None:
    kind = declare(app)
    with app.store.transaction():
        job = kind.enqueue(1)
        assert heard == []
    assert [each.job for event in heard for each in event.jobs] == [job.id]


def test_a_transaction_that_is_rolled_back_reports_nothing(app: ph.Posthorse, heard: list[ph.events.Submitted]) -> None:
    kind = declare(app)
    with suppress(ValueError), app.store.transaction():
        kind.enqueue(1)
        raise ValueError("changed my mind")
    assert heard == []


def test_an_async_transaction_reports_its_jobs_once_it_is_committed(
    app: ph.Posthorse, heard: list[ph.events.Submitted]
) -> None:
    kind = declare(app)

    async def main() -> str:
        async with app.store.atransaction():
            job = await kind.aenqueue(1)
            assert heard == []
        return job.id

    assert [asyncio.run(main())] == [each.job for event in heard for each in event.jobs]


def test_a_transaction_on_a_connection_of_the_user_that_the_store_commits_reports_its_jobs(sqlite_url: str) -> None:
    app, heard = ph.Posthorse(sqlite_url), list[ph.events.Submitted]()
    app.migrate()
    app.listen(ph.events.Submitted)(heard.append)
    kind = declare(app)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        with app.store.transaction(connection):
            job = kind.enqueue(1)
            assert heard == []
        assert [each.job for event in heard for each in event.jobs] == [job.id]
    app.close()


def test_a_transaction_that_the_user_commits_reports_nothing(sqlite_url: str) -> None:
    app, heard = ph.Posthorse(sqlite_url), list[ph.events.Submitted]()
    app.migrate()
    app.listen(ph.events.Submitted)(heard.append)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        job = declare(app).using(connection=connection).enqueue(1)
    assert job.status().state == "pending"
    assert heard == []
    app.close()


def test_listeners_stay_when_the_application_is_led_to_another_store(sqlite_url: str) -> None:
    app, heard = ph.Posthorse("sqlite:///never-opened.db"), list[object]()
    app.listen(ph.events.Submitted)(heard.append)
    app.use_url(sqlite_url)
    declare(app).enqueue(1)
    app.close()
    assert len(heard) == 1


def test_a_listener_that_is_taken_back_hears_nothing(app: ph.Posthorse, heard: list[ph.events.Submitted]) -> None:
    app.unlisten(heard.append)
    app.unlisten(heard.append)
    declare(app).enqueue(1)
    assert heard == []


def test_a_listener_that_fails_fails_no_enqueue(app: ph.Posthorse, heard: list[ph.events.Submitted]) -> None:
    def fail(event: object) -> None:
        raise ValueError("of the listener's own")

    app.listen(ph.events.Submitted)(fail)
    assert declare(app).enqueue(1).created
    assert len(heard) == 1


def test_the_decorator_returns_the_function(idle: ph.Posthorse) -> None:
    @idle.listen(ph.events.Started, ph.events.Ended)
    def tell(event: ph.events.Started | ph.events.Ended) -> str:
        return event.kind

    assert tell(ph.events.Started(job="1", kind="k", queue="q", tenant=None, attempt=1, runner="r")) == "k"


async def awaited(event: object) -> None: ...


def of_nothing() -> None: ...


def of_more(event: object, app: object) -> None: ...


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (awaited, "make it a plain function"),
        (functools.partial(awaited), "make it a plain function"),
        (of_nothing, "called with the event alone"),
        (of_more, "missing a required argument: 'app'"),
        (3, "needs a function that takes an event, not 3"),
    ],
)
def test_what_cannot_listen_is_refused(idle: ph.Posthorse, function: object, why: str) -> None:
    with pytest.raises(InvalidOption, match=why):
        idle.listen(ph.events.Ended)(cast("Callable[[object], object]", function))


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ((), "needs the events to listen to; they are ph.events.Submitted, ph.events.Started"),
        ((ph.events.DeadLettersGrew,), "write @app.on"),
        ((int,), "cannot listen to <class 'int'>"),
    ],
)
def test_what_cannot_be_listened_to_is_refused(idle: ph.Posthorse, events: tuple[Any, ...], why: str) -> None:
    with pytest.raises(InvalidOption, match=why):
        idle.listen(*events)
