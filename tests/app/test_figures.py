"""Figures over time, as an application reads them."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

import posthorse as ph
from posthorse import ids
from posthorse.app.report import report_of
from posthorse.clock import monotonic
from posthorse.errors import OutcomeUnknown, StoreUnreachable
from posthorse.rules.job import Lane
from posthorse.rules.tallies import decode_histogram, percentile
from posthorse.store.base import Operation
from posthorse.store.operations.tallies import TallyBatch, TallyRow, tallies, write_tallies
from posthorse.views.figures import Figures
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.tallying import MAX_MEASURED, Tallying
from tests.waiting import until, until_state

WRITING = cast("Any", write_tallies("", TallyBatch(1, (), (), None)).start).func
"""What tells the operation of a write from others."""


def test_a_store_where_nothing_happened_has_no_figures(app: ph.Posthorse) -> None:
    app.migrate()
    figures = app.figures()
    assert (figures.rows, figures.depths, figures.errors, figures.releases) == ([], [], [], [])
    assert figures.until - figures.since == timedelta(days=1)
    assert msgspec.json.decode(figures.to_json(), type=Figures) == figures


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"by": "colour"}, "by is 'colour'"),
        ({"since": "1h", "until": "2h"}, "must be before"),
        ({"since": datetime(2030, 1, 1)}, "must have a time zone"),  # noqa: DTZ001  # wrong on purpose
        ({"since": datetime(2030, 1, 1, tzinfo=UTC), "until": datetime(2029, 1, 1, tzinfo=UTC)}, "must be before"),
    ],
)
def test_figures_that_cannot_be_had_are_refused(app: ph.Posthorse, words: dict[str, object], complaint: str) -> None:
    app.migrate()
    with pytest.raises(ph.InvalidOption, match=complaint):
        app.figures(**words)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.tuning(tallies_interval=300.0)
def test_after_ten_thousand_jobs_the_figures_equal_what_is_stored(app: ph.Posthorse) -> None:
    """Several kinds, failures, retries, cancels, jobs in bulk; and times as listeners heard them."""
    ran: dict[str, list[float]] = {}

    @app.listen(ph.events.Ended)
    def hear(event: ph.events.Ended) -> None:
        ran.setdefault(event.kind, []).append(event.seconds)

    @app.job
    async def quick(number: int) -> None: ...

    @app.job(queue="slow")
    async def slow(number: int) -> None:
        await asyncio.sleep(number % 7 / 1000)

    @app.job(max_attempts=2, backoff=0)
    async def failing(number: int) -> None:
        if number % 3:
            raise ValueError(f"no {number}")

    app.enqueue_many([quick.bind(number) for number in range(9_000)])
    app.enqueue_many([slow.bind(number) for number in range(700)])
    app.enqueue_many([failing.bind(number) for number in range(200)])
    later = app.enqueue_many([slow.using(delay="1h").bind(number) for number in range(100)])
    for job in later[:50]:
        job.cancel()
    app.jobs("state:scheduled").cancel()
    with app.worker(concurrency=50):
        until(lambda: not app.jobs("state:pending,processing,scheduled").counted().number, patience=120)
    figures = app.figures(since="1h")
    stored = {
        state: {kind: app.jobs(f"state:{state} kind:{kind}").count() for kind in ("quick", "slow", "failing")}
        for state in ("completed", "failed", "cancelled")
    }
    assert stored["completed"] == {"quick": 9_000, "slow": 700, "failing": 67}
    rows = {row.key: row for row in figures.rows}
    for state, kinds in stored.items():
        assert {kind: getattr(rows[kind], state) for kind in kinds} == kinds
    assert {kind: row.started for kind, row in rows.items()} == {"quick": 9_000, "slow": 700, "failing": 333}
    assert {kind: row.retried for kind, row in rows.items()} == {"quick": 0, "slow": 0, "failing": 133}
    for kind, seconds in ran.items():
        assert rows[kind].waited is not None
        spread = rows[kind].ran
        assert spread is not None
        seconds.sort()
        if len(seconds) > MAX_MEASURED:
            continue
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("longest", 1.0)):
            exact = seconds[math.ceil(share * len(seconds)) - 1]
            assert getattr(spread, name) == pytest.approx(exact, rel=0.1, abs=2e-6), (kind, name)
        assert spread.mean == pytest.approx(sum(seconds) / len(seconds), abs=2e-6)
    [group] = figures.errors
    assert (group.kind, group.type, group.message, group.count) == ("failing", "ValueError", "no #", 266)
    assert (group.within, group.over_time) == (266, [])
    for by in ("queue", "minute", "hour", "day", "tenant"):
        others = app.figures(since="1h", by=by).rows
        assert sum(row.completed for row in others) == 9_767
        assert sum(row.cancelled for row in others) == 100
    assert {row.key for row in app.figures(by="queue").rows} == {"default", "slow"}
    assert app.figures(since="2h", until="1h").rows == []


def test_errors_are_counted_over_time_and_lead_to_their_dead_letters(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0)
    def bill(number: int) -> None:
        raise (ValueError if number % 3 else LookupError)("no")

    jobs = app.enqueue_many([bill.bind(number) for number in range(9)])
    with app.worker():
        for job in jobs:
            until_state(job, "failed")
    figures = app.figures(since="1h", by="minute")
    assert [(group.type, group.within) for group in figures.errors] == [("ValueError", 12), ("LookupError", 6)]
    minutes = {row.began_at for row in figures.rows}
    for group in figures.errors:
        assert sum(each.count for each in group.over_time) == group.within
        assert {each.began_at for each in group.over_time} <= minutes
    assert "" not in {row.key for row in app.figures(since="1h", by="queue").rows}
    rare = app.jobs(cause=figures.errors[1].fingerprint)
    assert {job.id for job in rare.page()} == {job.id for job in jobs[::3]}
    assert str(rare.counted()) == "3"
    assert rare.retry() == 3
    assert not rare.count()
    assert app.figures(since="2h", until="1h").errors == []


def test_a_report_reads_each_day_once(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.job
    def work() -> None: ...

    job = work.enqueue()
    with app.worker():
        until_state(job, "completed")
    read: list[int] = []

    def noted(since: int, until: int, *, beyond: int) -> Operation[list[TallyRow]]:
        read.append(since)
        return tallies(since, until, beyond=beyond)

    monkeypatch.setattr("posthorse.app.figures.tallies", noted)
    now = datetime.now(UTC)
    for by in ("kind", "queue", "hour", "error"):
        made = report_of(app, since=now - timedelta(days=30), until=now + timedelta(seconds=5), by=by, now=now)
        assert made.totals.completed == 1
        assert len(read) == len(set(read)) <= 2, "today, of which tallies are left, and perhaps tomorrow"
        read.clear()


def test_tenants_are_counted_if_the_application_asks_for_it(store_url: str) -> None:
    app = ph.Posthorse(store_url, tenant_figures=True)

    @app.job
    def bill(number: int) -> None: ...

    app.enqueue_many([bill.using(tenant=tenant).bind(1) for tenant in ("north", "north", "south")])
    bill.enqueue(1)
    with app.worker():
        until(lambda: not app.jobs("state:pending,processing").count())
    assert {row.key: row.completed for row in app.figures(by="tenant").rows} == {"north": 2, "south": 1, "": 1}
    app.close()


def test_releases_leave_a_mark_and_errors_name_the_first(store_url: str) -> None:
    for release in ("2.0", "2.1", "2.1", ""):
        app = ph.Posthorse(store_url, release=release)

        @app.job(max_attempts=1)
        def bill() -> None:
            raise ValueError("no")

        job = bill.enqueue()
        with app.worker():
            until_state(job, "failed")
        app.close()
    with closing(ph.Posthorse(store_url)) as reader:
        figures = reader.figures()
    assert [mark.name for mark in figures.releases] == ["2.0", "2.1"]
    assert [(group.release, group.count) for group in figures.errors] == [("2.0", 4)]


def test_no_message_of_an_error_leaves_its_codec(store_url: str) -> None:
    class Hiding:
        mark = "hide"

        def pack(self, text: str, about: ph.About) -> str:
            return text.encode().hex()

        def unpack(self, packed: str, about: ph.About) -> str:
            return bytes.fromhex(packed).decode()

    app = ph.Posthorse(store_url, codecs=[Hiding()])

    @app.job(max_attempts=1)
    def bill() -> None:
        raise ValueError("the card of Ann")

    job = bill.enqueue()
    with app.worker():
        until_state(job, "failed")
    [group] = app.figures().errors
    assert "Ann" not in group.message
    assert group.message.startswith("in app/test_figures.py:bill")
    app.close()


def test_beyond_a_thousand_series_the_rest_is_counted_together(app: ph.Posthorse) -> None:
    tallying = Tallying(app.store, "runner", {})
    tallying.ended([running(number) for number in range(1_200)], ())
    written = tallying.take()
    assert written is not None
    assert len(written.tallies) == 1_001
    assert {row.kind: row.times for row in written.tallies}["other"] == 200


def test_beyond_a_thousand_one_of_eight_stands_for_eight(app: ph.Posthorse) -> None:
    draw = random.Random(7)
    seconds = [draw.lognormvariate(-3, 1) for _ in range(10_003)]
    tallying = Tallying(app.store, "runner", {})
    left = [running(1, took) for took in seconds]
    while left:
        size = draw.randint(1, 90)
        tallying.ended(left[:size])
        del left[:size]
    written = tallying.take()
    assert written is not None
    row, started = written.tallies
    assert started.times == 10_003
    over = decode_histogram(row.histogram)
    assert row.times == 10_003
    assert sum(over.values()) == pytest.approx(10_003, abs=8)
    measured = sum(over.values())
    seconds.sort()
    for share in (0.5, 0.9):
        assert percentile(over, share) / 1e6 == pytest.approx(seconds[int(share * len(seconds))], rel=0.2)
    assert row.micros / 1e6 / measured == pytest.approx(sum(seconds) / len(seconds), rel=0.1)


def test_a_job_that_runs_is_counted_as_started_once(app: ph.Posthorse) -> None:
    job = running(1)
    jobs = {job.claimed.job: job}
    tallying = Tallying(app.store, "runner", jobs)
    first = tallying.take()
    assert first is not None
    assert [(row.happened, row.times) for row in first.tallies] == [("started", 1)]
    assert tallying.take() is None
    jobs.clear()
    tallying.ended([job, running(1)])
    last = tallying.take()
    assert last is not None
    assert [(row.happened, row.times) for row in last.tallies] == [("completed", 2), ("started", 1)]


def running(lane: int, seconds: float = 0.0) -> RunningJob:
    """A job of a lane and a kind of its own."""
    return cast(
        "RunningJob",
        SimpleNamespace(
            claimed=SimpleNamespace(job=ids.new_id(), lane=lane, epoch=1, run_at=None),
            lane=Lane("default", f"kind{lane}"),
            seconds=seconds,
            began=monotonic(),
            is_counted=False,
        ),
    )


@pytest.mark.tuning(tallies_interval=0.02)
def test_what_the_store_does_not_confirm_is_counted_once(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply to each second write is lost, and so is each third write."""
    arun, sent = app.store.arun, Counter[str]()

    async def unsure(operation: Operation[object]) -> object:
        if getattr(operation.start, "func", None) is not WRITING:
            return await arun(operation)
        sent["tried"] += 1
        if sent["tried"] % 3 == 0:
            raise StoreUnreachable("it is away")
        answer = await arun(operation)
        if sent["tried"] % 2 == 0:
            raise OutcomeUnknown("the reply was lost")
        return answer

    @app.job
    def work(number: int) -> None: ...

    jobs = app.enqueue_many([work.bind(number) for number in range(300)])
    monkeypatch.setattr(app.store, "arun", unsure)
    with app.worker(concurrency=2):
        for job in jobs:
            until_state(job, "completed")
        more = app.enqueue_many([work.bind(number) for number in range(300)])
        for job in more:
            until_state(job, "completed")
        until(lambda: app.figures().rows[0].completed == 600)
    assert sent["tried"] > 3
    [row] = app.figures().rows
    assert (row.started, row.completed) == (600, 600)
