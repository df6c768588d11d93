"""Waiting for events: a job that waits holds no worker, and no event is lost, whenever it is sent."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any, cast

import pytest

import posthorse as ph
from posthorse import testing as pt
from posthorse.clock import Clock
from posthorse.store.operations.signals import forget_expired_signals, wake_missed
from tests.waiting import until, until_state
from tests.worker import isolated_jobs, packed_jobs


def rows_of(app: ph.Posthorse, table: str) -> list[tuple[Any, ...]]:
    with app.store.transaction() as open_connection:
        connection = cast("Any", open_connection)
        return list(connection.execute(f"SELECT * FROM {app.store.backend.dialect.table(table)}").fetchall())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def approving(app: ph.Posthorse) -> ph.Kind[[], object]:
    """Return a kind that waits for an approval."""

    @app.job(max_attempts=1)
    def approving(ctx: ph.Context) -> object:
        return ctx.wait_event("approved", timeout="7d")

    return approving


@pytest.mark.parametrize("is_async", [False, True])
def test_a_job_that_waits_holds_no_worker_and_says_what_it_waits_for(app: ph.Posthorse, is_async: bool) -> None:
    begun: list[int] = []

    @app.job(max_attempts=1)
    def order(ctx: ph.Context) -> list[object]:
        begun.append(1)
        try:
            found = ctx.wait_event("approved", timeout="7d")
        except Exception:  # what ends the attempt is another one
            return []
        return [found, ctx.attempt]

    @app.job(max_attempts=1)
    async def aorder(ctx: ph.Context) -> list[object]:
        begun.append(1)
        return [await ctx.await_event("approved", timeout="7d"), ctx.attempt]

    @app.job
    def other() -> str:
        return "ran"

    with app.worker(concurrency=1):
        job = (aorder if is_async else order).enqueue()
        status = until_state(job, "blocked")
        assert str(status.reason).startswith("waits for the event approved until 20")
        assert other.enqueue().result(timeout=30) == "ran"
        why = job.why().leading
        assert (why.code, why.facts["event"], why.facts["topic"]) == ("event", "approved", None)
        assert why.sentence.startswith("Its own code waits for the event approved, and goes on without in ")
        assert why.command == f"posthorse send-event approved --job {job.id}"
        assert app.send_event("approved", {"by": "eva"}, job=job)
        assert job.result(timeout=30) == [{"by": "eva"}, 1]
    assert len(begun) == 2
    assert [event.name for event in job.events()] == [
        "submitted", "started", "waiting", "queued", "started", "completed"
    ]  # fmt: skip
    assert [attempt.outcome for attempt in job.attempts()] == ["waiting", "completed"]
    assert rows_of(app, "listeners") == []


def test_an_event_that_was_sent_before_is_there(app: ph.Posthorse, approving: ph.Kind[[], object]) -> None:
    job = approving.enqueue()
    assert app.send_event("approved", (1, {2}), job=job.id)
    with app.worker():
        assert job.result(timeout=30) == [1, [2]]
    assert [attempt.outcome for attempt in job.attempts()] == ["completed"]


def test_the_payload_has_its_types_and_is_kept_for_later_attempts(app: ph.Posthorse) -> None:
    seen: list[object] = []

    @app.job(max_attempts=2, backoff=0)
    def order(ctx: ph.Context) -> None:
        seen.append(ctx.wait_event("approved"))
        if ctx.attempt == 1:
            app.send_event("approved", "another", job=ctx.job_id, again=True)
            raise ValueError("after the event")

    with app.worker():
        job = order.enqueue()
        until_state(job, "blocked")
        app.send_event("approved", ({1, 2}, b"x"), job=job)
        job.result(timeout=30)
    assert seen == [({1, 2}, b"x")] * 2


def test_the_first_event_counts_unless_it_is_replaced(app: ph.Posthorse, approving: ph.Kind[[], object]) -> None:
    job = approving.enqueue()
    assert app.send_event("approved", "first", job=job)
    assert not app.send_event("approved", "second", job=job)
    assert app.send_event("approved", "first", job=job), "sent again, as after a lost reply"
    assert app.send_event("approved", "third", job=job, again=True)
    with app.worker():
        assert job.result(timeout=30) == "third"


def test_all_jobs_that_wait_at_a_topic_get_its_event_now_and_later(app: ph.Posthorse) -> None:
    @app.job
    def waits(ctx: ph.Context) -> object:
        return ctx.wait_event("paid", topic="order-7")

    with app.worker():
        jobs = [waits.enqueue() for _ in range(5)]
        stranger = waits.using(tenant="acme").enqueue()
        for job in (*jobs, stranger):
            until_state(job, "blocked")
        why = jobs[0].why().leading
        assert why.command == "posthorse send-event paid --topic order-7"
        assert app.send_event("paid", 7, topic="order-7")
        assert [job.result(timeout=30) for job in (*jobs, waits.enqueue())] == [7] * 6
        assert stranger.status().state == "blocked"
        assert app.send_event("paid", 8, topic="order-7", tenant="acme")
        assert stranger.result(timeout=30) == 8


# ── too late ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_that_does_not_come_is_an_error_and_a_retry_waits_again(store_url: str, clock: Clock) -> None:
    with closing(ph.Posthorse(store_url, clock=clock, lease="6s")) as app:

        @app.job(max_attempts=1)
        def order(ctx: ph.Context) -> object:
            return ctx.wait_event("approved", timeout="1h")

        with app.worker():
            job = order.enqueue()
            until_state(job, "blocked")
        clock.advance(timedelta(hours=2))
        with app.worker():
            with pytest.raises(ph.JobFailed, match=r"the event 'approved' did not come until .* UTC; send it"):
                job.result(timeout=30)
            job.retry()
            assert until_state(job, "blocked", "failed").state == "blocked"
            app.send_event("approved", "late", job=job)
            assert job.result(timeout=30) == "late"


def test_code_may_go_on_without_and_then_the_event_stays_late(app: ph.Posthorse) -> None:
    seen: list[str] = []

    @app.job(max_attempts=3, backoff=0)
    async def order(ctx: ph.Context) -> None:
        try:
            await ctx.await_event("approved", timeout="100ms")
        except ph.EventTimeout:
            seen.append("late")
        else:
            seen.append("there")
        if ctx.attempt == 1:
            raise ValueError("before the next step")
        if ctx.attempt == 2:
            await ctx.astep("remind", seen.append, "reminded")
            await app.asend_event("approved", job=ctx.job_id)
            raise ValueError("after the next step")

    with app.worker():
        order.enqueue().result(timeout=30)
    assert seen == ["late", "late", "reminded", "late"]


def test_a_timeout_of_zero_only_looks(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def order(ctx: ph.Context) -> str:
        try:
            return str(ctx.wait_event("approved", timeout=0))
        except ph.EventTimeout:
            return "not yet"

    with app.worker():
        assert order.enqueue().result(timeout=30) == "not yet"
        job = order.using(delay="100ms").enqueue()
        app.send_event("approved", "there", job=job)
        assert job.result(timeout=30) == "there"


# ── steering a job that waits ────────────────────────────────────────────────────────────────────────


def test_a_job_that_waits_is_paused_and_hears_what_came_meanwhile(
    app: ph.Posthorse, approving: ph.Kind[[], object]
) -> None:
    with app.worker():
        job, silent = approving.enqueue(), approving.enqueue()
        for each in (job, silent):
            until_state(each, "blocked")
            assert each.pause() == "paused"
        app.send_event("approved", "meanwhile", job=job)
        time.sleep(0.3)
        assert job.status().state == "paused"
        for each in (job, silent):
            each.resume()
        assert job.result(timeout=30) == "meanwhile"
        until_state(silent, "blocked")
        app.send_event("approved", "then", job=silent)
        assert silent.result(timeout=30) == "then"


def test_a_job_that_waits_is_cancelled_and_retried(app: ph.Posthorse, approving: ph.Kind[[], object]) -> None:
    with app.worker():
        job = approving.enqueue()
        until_state(job, "blocked")
        assert job.cancel() == "cancelled"
        app.send_event("approved", "too late", job=job)
        time.sleep(0.3)
        assert job.status().state == "cancelled"
        job.retry()
        assert job.result(timeout=30) == "too late"


def test_a_pause_that_was_asked_for_comes_before_the_wait(app: ph.Posthorse) -> None:
    jobs: list[ph.Job[object]] = []

    @app.job
    def order(ctx: ph.Context) -> object:
        if not jobs[0].status().progress.done:
            ctx.set_progress(1)
            ctx.checkpoint()
            jobs[0].pause()
            until(lambda: ctx.stop_requested)
        return ctx.wait_event("approved")

    with app.worker():
        jobs.append(order.using(delay="50ms").enqueue())
        until_state(jobs[0], "paused")
        jobs[0].resume()
        until_state(jobs[0], "blocked")
        app.send_event("approved", 1, job=jobs[0])
        assert jobs[0].result(timeout=30) == 1


# ── races ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.all_postgres
@pytest.mark.tuning(keys_interval=3600.0)
def test_no_event_is_lost_whenever_it_is_sent(app: ph.Posthorse) -> None:
    """The chore that looks for missed events does not run here."""
    sent = 60
    chance = random.Random(7)

    @app.job(max_attempts=1)
    def waits(ctx: ph.Context, number: int) -> object:
        return [ctx.wait_event("one"), ctx.wait_event("two", topic=f"topic {number % 3}")]

    def send(jobs: list[ph.Job[object]]) -> None:
        for number, job in enumerate(jobs):
            time.sleep(chance.choice([0.0, 0.0, 0.002, 0.01]))
            app.send_event("one", number, job=job)
            if number % 7 == 0:
                app.send_event("two", "both", topic=f"topic {number % 3}")

    with app.worker(concurrency=8), ThreadPoolExecutor(3) as threads:
        jobs = [waits.enqueue(number) for number in range(sent)]
        for done in [threads.submit(send, jobs[part::3]) for part in range(3)]:
            done.result()
        for topic in range(3):
            app.send_event("two", "both", topic=f"topic {topic}")
        results = [cast("list[object]", job.result(timeout=25)) for job in jobs]
    assert [result[1] for result in results] == ["both"] * sent
    assert sorted(cast("int", result[0]) for result in results) == sorted([*range(sent // 3)] * 3)


@pytest.mark.all_postgres
@pytest.mark.tuning(keys_interval=3600.0)
def test_an_event_between_the_look_and_the_end_of_the_attempt_is_heard(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def waits(ctx: ph.Context) -> object:
        try:
            return ctx.wait_event("approved")
        except ph.Interrupted:
            app.send_event("approved", "in between", job=ctx.job_id)
            raise

    with app.worker():
        job = waits.enqueue()
        assert job.result(timeout=20) == "in between"
    assert [attempt.outcome for attempt in job.attempts()] == ["waiting", "completed"]


@pytest.mark.tuning(keys_interval=3600.0)
def test_a_job_does_not_wait_for_a_sender_whose_transaction_is_long(
    app: ph.Posthorse, approving: ph.Kind[[], object]
) -> None:
    if app.settings.url.startswith("sqlite"):
        pytest.skip("nothing else is written while a transaction writes")
    job = approving.enqueue()
    with app.store.transaction():
        app.send_event("approved", "at last", job=job)
        worker = app.worker()
        thread = threading.Thread(target=worker.__enter__)
        thread.start()
        with ThreadPoolExecutor(1) as outside:
            outside.submit(until, lambda: job.status().state == "blocked", what="its wait").result()
            assert outside.submit(job.status).result().reason is not None
    assert job.result(timeout=30) == "at last"
    worker.__exit__(None, None, None)
    thread.join()


def test_an_event_is_sent_if_its_transaction_commits(app: ph.Posthorse, approving: ph.Kind[[], object]) -> None:
    def send(payload: str, *, fails: bool) -> ph.Job[object]:
        with app.store.transaction():
            job = approving.enqueue()
            app.send_event("approved", payload, job=job)
            if fails:
                raise RuntimeError(payload)
        return job

    app.migrate()
    with pytest.raises(RuntimeError, match="undone"):
        send("undone", fails=True)
    assert rows_of(app, "signals") == []
    job = send("done", fails=False)
    with app.worker():
        assert job.result(timeout=30) == "done"


def test_jobs_that_a_sender_did_not_see_are_found(app: ph.Posthorse, approving: ph.Kind[[], object]) -> None:
    """As a sender does whose transaction is of another isolation level."""
    with app.worker():
        job = approving.enqueue()
        until_state(job, "blocked")
    assert job.status().state == "blocked"
    [(tenant, topic, *_)] = rows_of(app, "listeners")
    with app.store.transaction() as open_connection:
        cast("Any", open_connection).execute(
            f"INSERT INTO {app.store.backend.dialect.table('signals')} (tenant, topic, payload, sent_at, expires_at) "
            f"VALUES ('{tenant}', '{topic}', '7', 0, 9000000000000000)"
        )
    app.store.run(wake_missed())
    with app.worker():
        assert job.result(timeout=30) == 7


# ── what is refused, and what leaves ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "job= or topic="),
        ({"job": "01936f5e-7c1a-7d2b-8e3f-0123456789ab", "topic": "x"}, "job= or topic="),
        ({"job": "01936f5e-7c1a-7d2b-8e3f-0123456789ab", "tenant": "x"}, "tenant= is for a topic"),
        ({"job": "no id"}, "is not a job id"),
        ({"topic": ""}, "a topic is ''"),
        ({"topic": "x", "name": "a/b"}, "must have no /"),
        ({"topic": "x", "name": ""}, "the name of an event is ''"),
        ({"topic": "x", "payload": object()}, "must be plain data"),
        ({"topic": "x", "payload": "x" * 1_100_000}, "takes 1,100,002 bytes"),
        ({"topic": "x", "expires": "soon"}, "expires"),
    ],
)
def test_an_event_that_cannot_be_sent_says_why(sqlite_url: str, given: dict[str, Any], told: str) -> None:
    with closing(ph.Posthorse(sqlite_url)) as app:
        with pytest.raises(ph.UsageError) as error:
            app.send_event(**{"name": "approved", **given})
        assert told in str(error.value)


def test_an_event_for_a_job_that_does_not_exist_is_not_sent(app: ph.Posthorse) -> None:
    app.migrate()
    with pytest.raises(ph.JobNotFound):
        app.send_event("approved", job="01936f5e-7c1a-7d2b-8e3f-0123456789ab")
    assert rows_of(app, "signals") == []


def test_a_name_with_a_slash_cannot_be_waited_for(app: ph.Posthorse) -> None:
    @app.job
    def order(ctx: ph.Context) -> object:
        return ctx.wait_event("a/b")

    with app.worker(), pytest.raises(ph.JobFailed, match="must have no /"):
        order.enqueue().result(timeout=30)


def test_expired_events_do_not_count_and_leave(store_url: str, clock: Clock) -> None:
    with closing(ph.Posthorse(store_url, clock=clock, lease="6s")) as app:

        @app.job(max_attempts=1)
        def order(ctx: ph.Context) -> object:
            return ctx.wait_event("approved", timeout=0)

        app.migrate()
        app.send_event("approved", 1, topic="kept")
        job = order.enqueue()
        app.send_event("approved", 1, job=job, expires="1h")
        clock.advance(timedelta(hours=2))
        with app.worker(), pytest.raises(ph.JobFailed):
            job.result(timeout=30)
        assert len(rows_of(app, "signals")) == 2
        assert app.store.run(forget_expired_signals(10)) == 1
        assert [topic for _, topic, *_ in rows_of(app, "signals")] == ["kept/approved"]


def test_steps_and_waits_leave_with_their_job(app: ph.Posthorse) -> None:
    @app.job
    def order(ctx: ph.Context) -> object:
        ctx.step("first", len, "abc")
        return ctx.wait_event("approved")

    with app.worker():
        job, other = order.enqueue(), order.enqueue()
        for each in (job, other):
            until_state(each, "blocked")
        job.cancel()
        job.delete()
    assert [str(row[0]) for row in rows_of(app, "steps")] == [other.id]
    assert [str(row[2]) for row in rows_of(app, "listeners")] == [other.id]


# ── elsewhere ────────────────────────────────────────────────────────────────────────────────────────


def test_a_child_process_waits_and_hears(store_url: str) -> None:
    app = isolated_jobs.app
    app.use_url(store_url)
    with app.worker():
        job = isolated_jobs.waits.enqueue()
        until_state(job, "blocked")
        app.send_event("approved", "apart", job=job)
        assert job.result(timeout=60) == "apart"
    app.close()


@pytest.mark.parametrize("by_topic", [False, True])
def test_events_are_packed_by_codecs(store_url: str, by_topic: bool) -> None:
    app = packed_jobs.app
    app.use_url(store_url)
    app.migrate()
    with app.worker():
        job = packed_jobs.waits.using(tenant="acme").enqueue("order-7" if by_topic else None)
        until_state(job, "blocked")
        if by_topic:
            app.send_event("approved", packed_jobs.MARKER, topic="order-7", tenant="acme")
        else:
            app.send_event("approved", packed_jobs.MARKER, job=job)
        assert job.result(timeout=30) == packed_jobs.MARKER
    [(_, _, payload, *_)] = rows_of(app, "signals")
    assert payload.startswith("~z:")
    assert all(packed_jobs.MARKER not in str(row) for row in rows_of(app, "steps"))
    app.close()


@pytest.fixture
def kit(sqlite_url: str) -> Iterator[pt.Kit]:
    app = ph.Posthorse(sqlite_url)

    @app.job(kind="order", max_attempts=1)
    def order(ctx: ph.Context) -> object:
        ctx.sleep("cool down", "3d")
        return ctx.wait_event("approved", timeout="7d")

    with pt.kit(app) as kit:
        yield kit


def test_a_drain_moves_sleeps_and_leaves_what_waits(kit: pt.Kit) -> None:
    job = ph.Kind[[], object](kit.app, kit.app.registry["order"]).enqueue()
    assert kit.drain().snoozed == 1
    kit.clock.advance("3d")
    [left] = kit.drain().left
    assert "waits for the event approved" in left.why
    kit.app.send_event("approved", "by eva", job=job)
    assert kit.drain().completed == 1
    assert job.result() == "by eva"


def test_a_drain_that_lets_time_leap_comes_to_the_end_of_a_wait(kit: pt.Kit) -> None:
    ph.Kind[[], object](kit.app, kit.app.registry["order"]).enqueue()
    began = kit.clock.now
    with pytest.raises(ph.EventTimeout):
        kit.drain(due=True)
    assert timedelta(days=10) <= kit.clock.now - began < timedelta(days=10, minutes=1)


def test_a_context_for_tests_gets_events() -> None:
    def order(ctx: ph.Context) -> object:
        ctx.sleep("cool down", "3d")
        return ctx.wait_event("approved", timeout="7d")

    ctx = pt.context()
    with pytest.raises(ph.Interrupted, match="sleeps until"):
        order(ctx)
    again = ctx.resumed()
    with pytest.raises(ph.Interrupted, match="waits for the event approved until"):
        order(again)
    with pytest.raises(ph.EventTimeout):
        order(again.resumed())
    again.send_event("approved", "by eva")
    assert order(again.resumed()) == "by eva"
