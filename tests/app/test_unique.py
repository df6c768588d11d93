"""Unique jobs: which jobs are the same, for how long, what happens to duplicates; and races end with one job."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

import psycopg
import pytest
from msgspec import structs

import posthorse as ph
from posthorse import ids
from posthorse.clock import Clock
from posthorse.rules.job import Options
from posthorse.store.operations import read
from posthorse.store.operations.runners import promote
from posthorse.store.operations.submit import enqueue
from tests.waiting import until_state

SUBMITTER = """
import sys
import posthorse as ph

app = ph.Posthorse(sys.argv[1])

@app.job
def report(week: str, number: int) -> None: ...

sys.stdin.readline()
for rule in sys.argv[2:]:
    until, on_conflict = rule.split()
    kind = report.using(unique=ph.Unique(until, "week", on_conflict))
    for turn in range(20):
        job = kind.enqueue(f"week {turn}", turn)
        print(until, turn, job.id, job.created)
"""


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, lease="6s")
    yield app
    app.close()


def test_the_same_job_is_given_until_it_is_over(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: str, pages: int = 3) -> str:
        if week == "bad":
            raise ValueError
        return week

    first, again = report.enqueue("a"), report.enqueue("a")
    assert (first.created, again.created) == (True, False)
    assert first == again
    others = [report.enqueue("b"), report.using(tenant="t").enqueue("a"), report.using(unique=False).enqueue("a")]
    assert all(other.created for other in others)
    assert len({first, *others}) == 4
    with app.worker():
        first.result(timeout=30)
        second = report.enqueue("a")
        assert second.created
        assert second != first
        failing = report.using(max_attempts=1).enqueue("bad")
        until_state(failing, "failed")
        assert report.using(max_attempts=1).enqueue("bad").created
    cancelled = report.using(delay="1h").enqueue("c")
    assert report.enqueue("c") == cancelled
    cancelled.cancel()
    assert report.enqueue("c").created


def test_a_unique_job_survives_its_own_retry_but_not_beside_a_newer_one(app: ph.Posthorse) -> None:
    @app.job
    def report(week: str) -> None: ...

    unique = report.using(unique=True)
    old = unique.enqueue("a")
    old.cancel()
    old.retry()
    assert unique.enqueue("a") == old
    old.cancel()
    new = unique.enqueue("a")
    assert new.created
    with pytest.raises(
        ph.InvalidTransition, match=f"job {new.id} of the same kind with the same arguments is not over"
    ):
        old.retry()
    assert old.status().state == "cancelled"
    new.cancel()
    old.retry()
    assert unique.enqueue("a") == old
    plain = report.enqueue("a")
    plain.cancel()
    plain.retry()  # it was never unique


def test_equal_arguments_are_the_same_however_they_are_written(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def export(filters: dict[str, int], tags: set[str], *, to: str) -> None: ...

    one = export.enqueue({"a": 1, "b": 2}, {"x", "y", "z"}, to="f")
    assert export.enqueue(tags={"z", "y", "x"}, to="f", filters={"b": 2, "a": 1}) == one
    assert export.enqueue({"a": 1, "b": 3}, {"x", "y", "z"}, to="f").created


def test_duplicates_within_one_call_become_one_job(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: str) -> None: ...

    over = report.enqueue("over")
    over.cancel()
    running = report.enqueue("running")
    weeks = ["a", "over", "a", "running", "over", "b"]
    jobs = app.enqueue_many([report.bind(week) for week in weeks])
    assert [job.created for job in jobs] == [True, True, False, False, False, True]
    assert jobs[0] == jobs[2]
    assert jobs[1] == jobs[4]
    assert jobs[1] != over
    assert jobs[3] == running
    assert all(job.status().state == "pending" for job in jobs)


def test_a_key_and_an_identity_go_together(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: str) -> None: ...

    first = report.using(key="k").enqueue("a")
    assert report.using(key="k").enqueue("a") == report.using(key="other").enqueue("a") == report.enqueue("a") == first
    with pytest.raises(ph.KeyConflict):
        report.using(key="k").enqueue("b")
    assert report.enqueue("b").created  # the conflict took no identity


def test_racing_threads_get_one_job_and_so_do_racing_heirs(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: str) -> None: ...

    app.migrate()
    for turn in range(3):
        jobs: list[ph.Job[None]] = []
        barrier = threading.Barrier(8)

        def submit(jobs: list[ph.Job[None]] = jobs, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            jobs.append(report.enqueue("a"))

        threads = [threading.Thread(target=submit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(jobs)) == 1, turn
        assert sum(job.created for job in jobs) == 1
        jobs[0].cancel()  # the next ones race for the identity that it releases


def test_racing_processes_get_one_job_whatever_the_rule(store_url: str) -> None:
    app = ph.Posthorse(store_url)
    app.migrate()

    @app.job
    def report(week: str, number: int) -> None: ...

    for until in ("finished", "queued", "1ms"):  # the first ones are over: the next ones race to take over
        for turn in range(20):
            report.using(unique=ph.Unique(until, "week")).enqueue(f"week {turn}", -1).cancel()
    app.close()
    rules = ["finished return", "queued replace", "1h reschedule"]
    command = [sys.executable, "-c", SUBMITTER, store_url, *rules]
    submitters = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for submitter in submitters:
        assert submitter.stdin is not None
        submitter.stdin.write("go\n")
        submitter.stdin.flush()
    lines = [line.split() for submitter in submitters for line in submitter.communicate(timeout=60)[0].splitlines()]
    assert len(lines) == 180
    assert len({(until, turn, job) for until, turn, job, _ in lines}) == 60
    assert sum(created == "True" for *_, created in lines) == 60


@pytest.mark.parametrize("unique", ["yes", 1, "until", {"until": "queued"}])
def test_what_is_no_yes_or_no_is_refused(sqlite_url: str, unique: object) -> None:
    app = ph.Posthorse(sqlite_url)
    with pytest.raises(ph.InvalidOption, match="unique is"):
        app.job(unique=unique)  # type: ignore[call-overload]  # that is the point
    app.close()


def test_names_that_are_no_parameters_are_refused_where_they_are_declared(app: ph.Posthorse) -> None:
    def index(ctx: ph.Context, doc_id: int, text: str = "") -> None: ...

    for name in ("doc", "ctx"):
        with pytest.raises(ph.InvalidOption, match=f"Unique.by names '{name}', which is not a parameter of 'index'"):
            app.job(unique=ph.Unique(by=name))(index)
    kind = app.job(index)
    with pytest.raises(ph.InvalidOption, match="did you mean 'text'"):
        kind.using(unique=ph.Unique(by=["doc_id", "texts"]))
    kind.using(unique=ph.Unique(by=["doc_id", "text", "tenant"]))


# ── what is compared ─────────────────────────────────────────────────────────────────────────────────


def test_jobs_are_the_same_by_some_of_their_arguments(app: ph.Posthorse) -> None:
    @app.job(unique=ph.Unique(by="doc_id"))
    def index(doc_id: int, text: str) -> None: ...

    first = index.enqueue(1, "a")
    assert index.enqueue(1, "b") == first
    assert index.enqueue(text="c", doc_id=1) == first
    assert index.enqueue(2, "a").created
    assert index.using(tenant="t").enqueue(1, "a").created
    one_a_tenant = index.using(unique=ph.Unique(by="tenant"))
    assert [one_a_tenant.using(tenant=who).enqueue(7, "a").created for who in "aabb"] == [True, False, True, False]


def test_jobs_are_the_same_by_what_a_function_says(app: ph.Posthorse) -> None:
    def host(url: str, **_: object) -> str:
        return url.split("/")[2]

    @app.job(unique=ph.Unique(by=host), max_attempts=1)
    def fetch(url: str, *, depth: int = 1) -> None: ...

    first = fetch.enqueue("https://a.example/1")
    assert fetch.enqueue("https://a.example/2", depth=3) == first
    assert fetch.enqueue("https://b.example/1").created
    first.cancel()
    second = fetch.enqueue("https://a.example/3")
    assert second.created
    with pytest.raises(ph.InvalidTransition, match=f"job {second.id} of the same kind"):
        first.retry()  # it kept the key that the function returned
    second.cancel()
    first.retry(arguments={"url": "https://a.example/4"})
    assert fetch.enqueue("https://a.example/5") == first


# ── for how long ─────────────────────────────────────────────────────────────────────────────────────


def test_until_queued_one_may_wait_while_one_runs(app: ph.Posthorse) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    @app.job(unique=ph.Unique(until="queued"), max_attempts=2, backoff="1h")
    def index(doc_id: int) -> None:
        has_begun.set()
        assert may_end.wait(30)
        raise ValueError(doc_id)

    first = index.enqueue(7)
    assert index.enqueue(7) == first
    with app.worker(concurrency=1):
        assert has_begun.wait(30)
        second = index.enqueue(7)
        assert second.created
        assert index.enqueue(7) == second
        may_end.set()
        until_state(first, "scheduled")  # waiting for its retry, which does not take the identity again
        until_state(second, "scheduled")
    third = index.enqueue(7)
    assert third.created
    assert index.enqueue(7) == third
    first.cancel()
    first.retry()  # it was started once, and holds no identity
    assert index.enqueue(7) == third
    third.cancel()
    fourth = index.enqueue(7)
    assert fourth.created
    with pytest.raises(ph.InvalidTransition):
        third.retry()  # it was never started


def test_a_window_holds_whatever_becomes_of_the_job(store_url: str) -> None:
    clock = Clock()
    app = ph.Posthorse(store_url, clock=clock)

    @app.job(unique=ph.Unique(until="10m", by="user_id"))
    def remind(user_id: int, text: str) -> str:
        return text

    first = remind.enqueue(7, "a")
    with app.worker():
        assert first.result(timeout=30) == "a"
        assert remind.enqueue(7, "b") == first
    clock.advance(timedelta(minutes=9))
    assert remind.enqueue(7, "b") == first
    clock.advance(timedelta(minutes=2))
    second = remind.enqueue(7, "c")
    assert second.created
    second.cancel()
    assert remind.enqueue(7, "d") == second
    second.retry()  # any number of times: the window is about enqueuing
    clock.advance(timedelta(minutes=11))
    jobs = app.enqueue_many([remind.bind(7, "e"), remind.bind(7, "f"), remind.bind(8, "g")])
    assert [job.created for job in jobs] == [True, False, True]
    assert remind.using(unique=True).enqueue(7, "e").created  # another rule makes another identity
    app.close()


# ── what is done then ────────────────────────────────────────────────────────────────────────────────


def test_the_same_job_can_be_an_error(app: ph.Posthorse) -> None:
    @app.job(unique=ph.Unique(on_conflict="raise"))
    def report(week: str) -> None: ...

    first = report.enqueue("a")
    with pytest.raises(ph.NotUnique, match=f"job {first.id} of kind 'report' is the same, and is pending") as raised:
        app.enqueue_many([report.bind("b"), report.bind("a")])
    assert (raised.value.job, raised.value.state) == (first.id, "pending")
    assert report.enqueue("b").created, "the other one was not written either"
    with pytest.raises(ph.NotUnique, match="two jobs of kind 'report' in this call are the same"):
        app.enqueue_many([report.bind("c"), report.bind("c")])
    first.cancel()
    assert report.enqueue("a").created
    with pytest.raises(ph.InvalidOption, match="a schedule has no caller to raise it to"):
        app.schedule(report.bind("a"), name="weekly", cron="0 3 * * 1")


def test_a_waiting_job_is_replaced_where_it_stands(app: ph.Posthorse) -> None:
    order: list[str] = []

    @app.job(unique=ph.Unique(by="doc_id", on_conflict="replace"), max_attempts=1)
    def index(doc_id: int, text: str) -> str:
        order.append(text)
        if text == "bad":
            raise ValueError(text)
        return text

    [one, two, three] = [index.enqueue(number, f"{number} old") for number in (1, 2, 3)]
    again = index.using(tags=["new"], max_attempts=3).enqueue(2, "2 new")
    assert (again, again.created) == (two, False)
    assert (two.status().max_attempts, two.status().tags) == (3, ("new",))
    first, _ = app.enqueue_many([index.using(sequence="s").bind(6, "6 old"), index.bind(6, "6 newer")])
    assert index.using(sequence="other").enqueue(6, "6 new") == first
    row = app.store.read(read.job(first.id))
    assert row is not None
    assert Options.decode(row.options).sequence == "s", "its place in a sequence stays"
    first.cancel()
    later = index.using(delay="1h").enqueue(4, "4 old")
    due = later.status().run_at
    assert index.enqueue(4, "4 new") == later
    assert (later.status().state, later.status().run_at) == ("scheduled", due)
    paused = index.enqueue(5, "5 old")
    paused.pause()
    assert index.enqueue(5, "5 new") == paused
    assert paused.status().state == "paused"
    paused.resume()
    with app.worker(concurrency=1):
        assert [job.result(timeout=30) for job in (one, two, three, paused)] == ["1 old", "2 new", "3 old", "5 new"]
    assert order == ["1 old", "2 new", "3 old", "5 new"]


def test_a_job_that_was_started_is_not_replaced(app: ph.Posthorse) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    @app.job(unique=ph.Unique(by="doc_id", on_conflict="replace"), backoff="1h")
    def index(doc_id: int, text: str) -> None:
        has_begun.set()
        assert may_end.wait(30)
        raise ValueError(text)

    first = index.enqueue(7, "old")
    with app.worker(concurrency=1):
        assert has_begun.wait(30)
        assert index.enqueue(7, "new") == first
        may_end.set()
        until_state(first, "scheduled")
        assert str(first.status().error) == "ValueError: old"
        assert index.enqueue(7, "new") == first
    stored = app.store.read(read.arguments(first.id))
    assert stored == '{"doc_id":7,"text":"old"}'


def test_a_job_is_put_off_by_each_call_and_the_newest_arguments_count(store_url: str) -> None:
    clock = Clock()
    app = ph.Posthorse(store_url, clock=clock)

    @app.job
    def index(doc_id: int, text: str) -> str:
        return text

    soon = index.using(delay="10s", unique=ph.Unique(until="queued", by="doc_id", on_conflict="reschedule"))
    first = soon.enqueue(7, "a")
    for text in "bcde":
        clock.advance(timedelta(seconds=8))
        app.store.run(promote(10))
        assert first.status().state == "scheduled"
        assert soon.enqueue(7, text) == first
    clock.advance(timedelta(seconds=11))
    with app.worker():
        assert first.result(timeout=30) == "e"
        second = soon.enqueue(7, "f")
        assert second.created
        assert soon.using(delay=0).enqueue(7, "g") == second
        assert second.result(timeout=30) == "g"
    third = soon.using(delay=0).enqueue(7, "h")
    assert third.status().state == "pending"
    assert soon.enqueue(7, "i") == third
    assert third.status().state == "scheduled"
    third.pause()
    assert soon.using(delay="1h").enqueue(7, "j") == third
    assert third.resume() == "scheduled"
    clock.advance(timedelta(minutes=61))
    with app.worker():
        assert third.result(timeout=30) == "j"
    app.close()


def test_the_last_of_equal_jobs_in_one_call_counts_in_the_place_of_the_first(app: ph.Posthorse) -> None:
    order: list[str] = []

    @app.job
    def index(doc_id: int, text: str) -> None:
        order.append(text)

    replaced = index.using(unique=ph.Unique(by="doc_id", on_conflict="replace"))
    jobs = app.enqueue_many([replaced.bind(1, "a"), replaced.bind(2, "b"), replaced.bind(1, "c")])
    assert [job.created for job in jobs] == [True, True, False]
    assert jobs[0] == jobs[2]
    put_off = index.using(unique=ph.Unique(by="doc_id", on_conflict="reschedule"))
    early, _, late = app.enqueue_many(
        [put_off.bind(3, "d"), put_off.using(tenant="t").bind(3, "e"), put_off.using(delay="1h").bind(3, "f")]
    )
    assert early == late
    assert early.status().state == "scheduled"
    with app.worker(concurrency=1):
        until_state(jobs[1], "completed")
    assert order[:2] == ["c", "b"]


@pytest.mark.parametrize("on_conflict", ["replace", "reschedule"])
def test_what_came_last_always_runs(app: ph.Posthorse, on_conflict: Literal["replace", "reschedule"]) -> None:
    """Replacing a job at the moment when a worker claims it loses nothing: the newest runs, perhaps as another job."""
    ran: list[int] = []

    @app.job(unique=ph.Unique(until="queued", by="doc_id", on_conflict=on_conflict))
    async def index(doc_id: int, number: int) -> None:
        ran.append(number)

    with app.worker(concurrency=2):
        jobs = [index.enqueue(1, number) for number in range(100)]
        for job in set(jobs):
            job.result(timeout=30)
    assert 99 in ran
    assert len(ran) == len(set(jobs)) == len(set(ran))


# ── racing ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("until", ["queued", "1h"])
@pytest.mark.parametrize("on_conflict", ["return", "replace", "reschedule", "raise"])
def test_racing_threads_get_one_job_whatever_the_rule(
    app: ph.Posthorse, until: str, on_conflict: Literal["return", "replace", "reschedule", "raise"]
) -> None:
    @app.job(unique=ph.Unique(until=until, by="doc_id", on_conflict=on_conflict))
    def index(doc_id: int, number: int) -> None: ...

    app.migrate()
    jobs: list[ph.Job[None]] = []
    refused: list[str | None] = []
    barrier = threading.Barrier(6)

    def submit(number: int) -> None:
        barrier.wait()
        try:
            jobs.append(index.enqueue(7, number))
        except ph.NotUnique as error:
            refused.append(error.job)

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(jobs)) == 1
    assert sum(job.created for job in jobs) == 1
    assert len(jobs) + len(refused) == 6
    assert set(refused) == ({jobs[0].id} if on_conflict == "raise" else set())


def test_an_uncommitted_twin_is_waited_for(app: ph.Posthorse) -> None:
    @app.job(unique=ph.Unique(by="doc_id", on_conflict="replace"))
    def index(doc_id: int, text: str) -> None: ...

    app.migrate()
    rival: list[ph.Job[None]] = []
    thread = threading.Thread(target=lambda: rival.append(index.enqueue(7, "outside")))
    with own_connection(app) as connection:
        inside = index.using(connection=connection).enqueue(7, "inside")
        thread.start()
        assert index.using(connection=connection).enqueue(7, "inside again") == inside
        connection.commit()
    thread.join()
    assert rival == [inside]
    assert app.store.read(read.arguments(inside.id)) == '{"doc_id":7,"text":"outside"}'
    with own_connection(app) as connection:
        index.using(connection=connection).enqueue(7, "rolled back")
        index.using(connection=connection).enqueue(8, "rolled back")
        with pytest.raises(ph.NotUnique):
            index.using(connection=connection, unique=ph.Unique(by="doc_id", on_conflict="raise")).enqueue(7, "no")
        connection.rollback()
    assert app.store.read(read.arguments(inside.id)) == '{"doc_id":7,"text":"outside"}'
    assert index.enqueue(8, "free").created


@pytest.mark.parametrize("unique", [ph.Unique(on_conflict="raise"), ph.Unique("queued"), ph.Unique("1h", "doc_id")])
def test_submitting_again_after_a_lost_reply_finds_the_same_jobs(app: ph.Posthorse, unique: ph.Unique) -> None:
    @app.job(unique=unique)
    def index(doc_id: int) -> None: ...

    calls = [index.using(key=ph.Key("k", ttl="1h")).bind(1), index.bind(2)]
    jobs = [structs.replace(call.template, id=ids.new_id()) for call in calls]
    lanes = app.store.lanes({job.lane for job in jobs})
    operation = enqueue(jobs, lanes)
    first = app.store.run(operation)
    assert first == app.store.run(operation) == [(job.id, True) for job in jobs]


def test_jobs_that_are_not_unique_ask_for_no_keys(app: ph.Posthorse) -> None:
    @app.job
    def plain(number: int) -> None: ...

    template = plain.bind(7).template
    job = structs.replace(template, id=ids.new_id())
    steps = enqueue([job], app.store.lanes({job.lane})).start()
    assert next(steps).query == "enqueue_one"
    with pytest.raises(StopIteration):
        steps.send([(ids.milliseconds_of(job.id) * 1000, 0)])


@contextmanager
def own_connection(app: ph.Posthorse) -> Iterator[Any]:
    """Open a connection of the user's, in a transaction."""
    if app.store.backend.capabilities.is_file:
        connection: Any = sqlite3.connect(app.store.where, timeout=30)
    else:
        connection = psycopg.connect(app.store.url)
    yield connection
    connection.close()


def test_a_retry_of_bad_items_takes_the_identity_back_or_is_refused_beside_a_newer_job(app: ph.Posthorse) -> None:
    @app.job
    def load(ctx: ph.Context, week: str) -> None:
        for batch in ctx.slices(range(2), tolerate=2):
            for item in batch:
                with batch.tolerate(item):
                    raise ValueError

    unique = load.using(unique=True)
    with app.worker():
        old = unique.enqueue("a")
        old.result(timeout=30)
    old.retry_bad_items()
    assert unique.enqueue("a") == old
    with app.worker():
        old.result(timeout=30)
    new = unique.enqueue("a")
    assert new.created
    with pytest.raises(
        ph.InvalidTransition, match=f"job {new.id} of the same kind with the same arguments is not over"
    ):
        old.retry_bad_items()
    assert old.status().state == "completed"
