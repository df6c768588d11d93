"""Long arguments stay in the store until their job starts, whichever way it was claimed; short ones come along."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

import posthorse as ph
from posthorse.store.base import TypedQuery
from posthorse.store.operations import read, through_gates
from posthorse.store.operations.claim import Claimed
from posthorse.store.operations.one_job import ARGUMENTS
from posthorse.store.queries import LIGHT, Row, Value
from posthorse.worker.claiming.claim_values import ClaimedJob
from posthorse.worker.claiming.prefetch import MAX_AHEAD, Prefetch
from posthorse.worker.running import preflight
from posthorse.worker.running.slots import Slots
from tests.waiting import until
from tests.worker import isolated_jobs

LONG = "long" * LIGHT


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> list[Claimed]:
    """Return the list of what the workers of the test claimed, as it came from the store."""
    seen: list[Claimed] = []
    add = Slots.add

    def noting(slots: Slots, jobs: Sequence[ClaimedJob]) -> None:
        seen.extend(job.claimed for job in jobs)
        add(slots, jobs)

    monkeypatch.setattr(Slots, "add", noting)
    return seen


def test_what_is_claimed_ahead_brings_no_more_than_some_megabytes() -> None:
    assert MAX_AHEAD * LIGHT <= 10_000_000


@pytest.mark.parametrize("way", ["one lane", "several lanes", "the newest first", "through gates"])
def test_however_it_is_claimed_a_job_gets_its_long_arguments_when_it_begins(
    app: ph.Posthorse, claims: list[Claimed], way: str
) -> None:
    if way == "the newest first":
        app.queue("default", order="lifo")

    @app.job(concurrency=5 if way == "through gates" else None)
    async def on_loop(text: str) -> int:
        return len(text)

    @app.job
    def in_thread(text: str) -> int:
        return len(text)

    kinds: list[ph.Kind[[str], int]] = [on_loop] if way == "one lane" else [on_loop, in_thread]
    jobs = [kind.enqueue(text) for kind in kinds for text in ("short", LONG, "")]
    with app.worker(concurrency=6):
        assert [job.result(timeout=30) for job in jobs] == [5, len(LONG), 0] * len(kinds)

    brought = {claimed.job: claimed.arguments for claimed in claims}
    assert [brought[job.id] is None for job in jobs] == [False, True, False] * len(kinds)


def test_a_limit_may_go_by_a_long_argument(app: ph.Posthorse, claims: list[Claimed]) -> None:
    most: dict[str, int] = {}
    running: Counter[str] = Counter()

    @app.job(concurrency=ph.Concurrency(1, per="text"))
    async def work(text: str, number: int) -> int:
        running[text] += 1
        most[text] = max(most.get(text, 0), running[text])
        await asyncio.sleep(0)
        running[text] -= 1
        return number

    jobs = [work.enqueue(text, number) for number in range(3) for text in (LONG, LONG + "er")]
    with app.worker(concurrency=4):
        assert [job.result(timeout=30) for job in jobs] == [0, 0, 1, 1, 2, 2]
    assert most == {LONG: 1, LONG + "er": 1}
    assert {claimed.arguments for claimed in claims} == {None}


def test_a_claim_reads_none_where_its_limits_go_by_something_else(
    app: ph.Posthorse, claims: list[Claimed], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def noting(query: TypedQuery[Any], rows: Sequence[Row] | None = None, /, **values: Value) -> object:
        asked.append(query.name)
        return query(rows, **values)

    for query in (through_gates.JOBS_AT, ARGUMENTS):
        monkeypatch.setattr(through_gates, query.name.upper(), partial(noting, query))

    @app.job(concurrency=ph.Concurrency(1, per="tenant"))
    async def work(text: str, number: int) -> int:
        return number

    jobs = [work.using(tenant="t").enqueue(LONG, number) for number in range(3)]
    with app.worker(concurrency=4):
        assert [job.result(timeout=30) for job in jobs] == [0, 1, 2]
    assert set(asked) == {"jobs_at"}


def test_the_child_of_an_isolated_job_gets_them_too(store_url: str, claims: list[Claimed]) -> None:
    isolated_jobs.app.use_url(store_url)
    with isolated_jobs.app.worker():
        assert isolated_jobs.length.enqueue(LONG).result(timeout=30) == len(LONG)
    isolated_jobs.app.close()
    assert [claimed.arguments for claimed in claims] == [None]


def test_those_of_jobs_that_wait_for_a_slot_are_not_read(
    app: ph.Posthorse, claims: list[Claimed], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[str] = []

    def noting(job: str) -> object:
        wanted.append(job)
        return read.arguments(job)

    def ten(_: Prefetch) -> int:
        return 10

    monkeypatch.setattr(preflight, "arguments", noting)
    monkeypatch.setattr(Prefetch, "allowance", ten)
    may_end = threading.Event()

    @app.job
    def hold(text: str) -> None:
        may_end.wait(30)

    jobs = [hold.enqueue(LONG) for _ in range(4)]
    with app.worker(concurrency=2):
        until(lambda: len(claims) >= 4 and len(wanted) >= 2, what="all are claimed, and two begin")
        assert set(wanted) == {job.id for job in jobs[:2]}
        may_end.set()
        for job in jobs:
            job.result(timeout=30)
    assert len(wanted) == 4
