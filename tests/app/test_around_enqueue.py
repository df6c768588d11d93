"""The middleware around calls that enqueue: it tags, refuses, and sees what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

import posthorse as ph


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url)
    app.migrate()
    yield app
    app.close()


def declare(app: ph.Posthorse) -> ph.Kind[[int], None]:
    @app.job(queue="mail", tags=["own"])
    def welcome(user: int) -> None: ...

    return welcome


@pytest.mark.parametrize("is_async", [False, True])
def test_it_tags_the_jobs_of_a_call_from_the_outermost_on(app: ph.Posthorse, is_async: bool) -> None:
    steps: list[str] = []

    @app.around_enqueue
    def outer(jobs: Sequence[ph.Submission]) -> Iterator[Sequence[ph.Submission]]:
        steps.append(f"outer {[job.tags for job in jobs]}")
        yield [job.tagged("outer") for job in jobs]
        steps.append("outer is left")

    @app.around_enqueue
    def inner(jobs: Sequence[ph.Submission]) -> Iterator[Sequence[ph.Submission]]:
        steps.append(f"inner {[(job.kind, job.queue, job.tenant) for job in jobs]}")
        yield [job.tagged("inner") if job.tenant else job for job in jobs]
        steps.append("inner is left")

    kind = declare(app)
    calls = [kind.bind(1), kind.using(tenant="acme", tags=()).bind(2)]
    jobs = asyncio.run(app.aenqueue_many(calls)) if is_async else app.enqueue_many(calls)
    assert [list(job.status().tags) for job in jobs] == [["own", "outer"], ["outer", "inner"]]
    assert steps == [
        "outer [('own',), ()]",
        "inner [('welcome', 'mail', None), ('welcome', 'mail', 'acme')]",
        "inner is left",
        "outer is left",
    ]


def test_it_is_around_each_job_that_is_enqueued_alone(app: ph.Posthorse) -> None:
    kind = declare(app)
    kind.enqueue(0)  # the first call creates what the others would otherwise skip

    @app.around_enqueue
    def stamp(jobs: Sequence[ph.Submission]) -> Iterator[Sequence[ph.Submission]]:
        yield [job.tagged("stamped") for job in jobs]

    jobs = [kind.enqueue(1), asyncio.run(kind.aenqueue(2))]
    assert [list(job.status().tags) for job in jobs] == [["own", "stamped"]] * 2


def test_it_is_left_once_the_jobs_are_committed(app: ph.Posthorse) -> None:
    counts: list[int] = []

    @app.around_enqueue
    def count(jobs: Sequence[ph.Submission]) -> Iterator[None]:
        counts.append(app.jobs().count())
        yield
        counts.append(app.jobs().count())

    declare(app).enqueue(1)
    assert counts == [0, 1]


def test_one_that_refuses_leaves_nothing_in_the_store(app: ph.Posthorse) -> None:
    seen: list[object] = []

    @app.around_enqueue
    def watch(jobs: Sequence[ph.Submission]) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            seen.append(error)

    @app.around_enqueue
    def refuse(jobs: Sequence[ph.Submission]) -> Iterator[None]:
        if any(job.tenant is None for job in jobs):
            raise PermissionError("name a tenant")
        yield

    kind = declare(app)
    with pytest.raises(PermissionError) as refusal:
        app.enqueue_many([kind.using(tenant="acme").bind(1), kind.bind(2)])
    assert seen == [refusal.value]
    assert app.jobs().count() == 0
    assert kind.using(tenant="acme").enqueue(1).created


def test_an_error_of_the_call_is_seen_and_goes_on(app: ph.Posthorse) -> None:
    seen: list[object] = []

    @app.around_enqueue
    def swallow(jobs: Sequence[ph.Submission]) -> Iterator[None]:
        try:
            yield
        except ph.KeyConflict as error:
            seen.append(error)

    kind = declare(app).using(key="one")
    kind.enqueue(1)
    with pytest.raises(ph.KeyConflict) as conflict:
        kind.enqueue(2)
    assert seen == [conflict.value]


def test_what_is_no_list_of_the_same_jobs_is_refused(app: ph.Posthorse) -> None:
    @app.around_enqueue
    def lose(jobs: Sequence[ph.Submission]) -> Iterator[Sequence[ph.Submission]]:
        yield []

    with pytest.raises(ph.InvalidOption, match="the same jobs"):
        declare(app).enqueue(1)
    assert app.jobs().count() == 0
