"""`app.events()`: reading and following what happens to jobs, in both colours."""

from __future__ import annotations

import asyncio
import itertools
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest

import posthorse as ph
from posthorse.app import hub
from posthorse.app.event_reader import Events
from posthorse.errors import InvalidCall, InvalidOption, OutcomeUnknown, StoreUnreachable
from posthorse.failpoints import passing
from posthorse.rules.stream_cursor import StreamPlace
from posthorse.rules.watched import ALL_KINDS, Interest
from posthorse.store.operations import runners, telling
from posthorse.store.operations.stream import forget_told, forget_watchers, read_page, stream_state
from tests.waiting import until

Event = ph.events.JobEvent | ph.events.StoreEvent | ph.events.Missed

pytestmark = pytest.mark.tuning(events_interval=0.01, telling_interval=0.02, request_interval=0.05)


@contextmanager
def collected(events: Events) -> Iterator[list[Event]]:
    """Follow in a thread; yield the growing list of what came."""
    found: list[Event] = []

    def follow() -> None:
        for event in events:
            found.append(event)  # noqa: PERF402  # others read the list meanwhile

    events.__enter__()
    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        events.close()
        thread.join(10)
        assert not thread.is_alive()


def names(found: list[Event], job: ph.Job[object]) -> list[str]:
    return [event.name for event in list(found) if isinstance(event, ph.events.JobEvent) and event.job == job.id]


def test_a_follower_gets_the_life_of_a_job_in_order(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0, tags=["red"])
    def work(number: int) -> int:
        if number:
            raise ValueError("no")
        return number

    with collected(app.events(kind="work", follow=True)) as found, app.worker():
        until(lambda: app.store.watched.has_attempts)
        good, bad = work.enqueue(0), work.enqueue(1)
        until(lambda: names(found, bad)[-1:] == ["failed"] and names(found, good)[-1:] == ["completed"])
    assert names(found, good) == ["submitted", "started", "completed"]
    assert names(found, bad) == ["submitted", "started", "attempt_failed", "started", "failed"]
    last = next(event for event in found if event.name == "failed")
    assert isinstance(last, ph.events.Failed)
    assert (last.kind, last.queue, last.tenant, list(last.tags), last.attempt) == ("work", "default", None, ["red"], 2)
    assert last.error == ph.JobError("ValueError", "no")
    assert last.at.tzinfo is not None


def test_reading_goes_on_from_any_cursor(app: ph.Posthorse) -> None:
    @app.job
    def work() -> None: ...

    with collected(app.events(follow=True)) as found:
        app.enqueue_many([work.bind() for _ in range(7)])
        app.enqueue_many([work.bind() for _ in range(5)])
        until(lambda: len(found) == 12)
    everything = [*app.events()]
    assert everything == found
    for place, event in enumerate(found):
        assert [*app.events(after=event.cursor)] == found[place + 1 :]


def test_a_coroutine_reads_and_follows(app: ph.Posthorse) -> None:
    @app.job
    def work() -> None: ...

    async def follow() -> None:
        async with app.events(follow=True) as events:
            jobs = await app.aenqueue_many([work.bind() for _ in range(3)])
            seen = [await anext(events) for _ in jobs]
            assert [event.job for event in seen if isinstance(event, ph.events.JobSubmitted)] == [
                job.id for job in jobs
            ]
        assert [event async for event in app.events()] == seen
        with pytest.raises(InvalidCall):
            next(app.events())

    asyncio.run(follow())


def test_a_reader_that_stands_still_costs_bounded_memory_and_misses_nothing(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_WAITING", 10)

    @app.job
    def work() -> None: ...

    with app.events(follow=True) as slow, collected(app.events(follow=True)) as found:
        jobs: list[str] = []

        def enqueue_some() -> None:
            jobs.extend(job.id for job in app.enqueue_many([work.bind() for _ in range(5)]))
            until(lambda: len(found) == len(jobs))

        for _ in range(12):
            enqueue_some()
        follower = slow._follower  # pyright: ignore[reportPrivateUsage]
        assert follower.is_behind
        assert len(follower.waiting) <= 10 + 5
        read = list(itertools.islice(slow, 60))
        assert [event.job for event in read if isinstance(event, ph.events.JobEvent)] == jobs
        more = work.enqueue()
        assert next(slow) == next(event for event in iter(lambda: _last(found, 61), None))
        assert more.id not in jobs


def _last(found: list[Event], count: int) -> Event:
    until(lambda: len(found) == count)
    return found[-1]


def test_a_filter_judges_name_kind_queue_and_tenant(app: ph.Posthorse) -> None:
    @app.job(queue="one")
    def first() -> None: ...

    @app.job(queue="two")
    def second() -> None: ...

    with collected(app.events(follow=True)) as found:
        first.enqueue()
        second.using(tenant="acme").enqueue().cancel()
        until(lambda: len(found) == 3)
    assert [event.name for event in app.events(kind="second")] == ["submitted", "cancelled"]
    assert [event.name for event in app.events(queue=["one"])] == ["submitted"]
    assert [event.name for event in app.events(tenant="acme", names="cancelled")] == ["cancelled"]
    assert [*app.events(kind="third")] == []


def test_names_of_events_may_be_their_classes(app: ph.Posthorse) -> None:
    @app.job
    def work() -> None: ...

    with collected(app.events(follow=True)) as found:
        work.enqueue().cancel()
        until(lambda: len(found) == 2)
    submitted, cancelled = ph.events.JobSubmitted, ph.events.Cancelled
    assert [event.name for event in app.events(names=cancelled)] == ["cancelled"]
    assert [*app.events(names=submitted | cancelled)] == found
    assert [*app.events(names=[submitted, "cancelled"])] == found
    assert [*app.events(names=[submitted | ph.events.Missed])] == found[:1]
    assert [*app.events(names=ph.events.JobEvent)] == found
    for other in (int, ph.events.Missed, [], [submitted, 3], ph.events.DeadLettersGrew):
        with pytest.raises(InvalidOption, match="a class such as ph"):
            app.events(names=other)  # type: ignore[arg-type]


def test_what_happens_to_queues_schedules_and_workers_is_told_while_it_is_watched(app: ph.Posthorse) -> None:
    @app.job(queue="mail")
    def work() -> None: ...

    nightly = app.schedule(work.bind(), cron="0 3 * * *", name="nightly")
    mail, dead = app.queue("mail"), str(uuid.uuid4())
    app.migrate()
    mail.pause()  # no reader watches
    with collected(app.events(follow=True)) as found:
        mail.drain()
        mail.set(weight=3, rate="10/s")
        mail.reset("weight")
        mail.resume()
        mail.reset()
        mail.reset()  # nothing is left
        nightly.pause()
        nightly.resume()
        app.store.run(runners.register(runners.Runner(dead, "w", "web-3", 1, "0", 1, (), ()), lease=-1_000_000))
        app.store.run(runners.rescue_expired(grace=0))
        job = work.enqueue()
        until(lambda: names(found, job))
    *of_store, submitted = found
    assert isinstance(submitted, ph.events.JobSubmitted)
    changes = [event.settings for event in of_store if isinstance(event, ph.events.QueueChanged)]
    assert changes[:2] == [{"draining": True}, {"weight": 3, "rate": "10/s"}]
    assert changes[2:4] == [{"weight": None}, {"paused": False, "draining": False}]
    assert changes[4] == dict.fromkeys(("rate", "paused", "draining"))
    steered = [event for event in of_store if isinstance(event, ph.events.SchedulePaused | ph.events.ScheduleResumed)]
    assert [(event.name, event.schedule) for event in steered] == [
        ("schedule_paused", "nightly"),
        ("schedule_resumed", "nightly"),
    ]
    lost = of_store[-1]
    assert isinstance(lost, ph.events.WorkerLost)
    assert (lost.worker, lost.host, lost.runners, lost.jobs) == ("w", "web-3", [dead], 0)
    assert len(of_store) == 8

    assert [*app.events()] == found
    for number, event in enumerate(found):
        assert [*app.events(after=event.cursor)] == found[number + 1 :]
    assert [*app.events(names=ph.events.StoreEvent)] == of_store
    assert [*app.events(names="worker_lost")] == [*app.events(names=ph.events.WorkerLost)] == [lost]
    assert [*app.events(queue="mail")] == [*of_store[:5], submitted]
    assert [*app.events(kind="work")] == [submitted]
    assert [*app.events(queue="other")] == [*app.events(tenant="acme")] == []


def test_pages_end_within_what_concerns_no_job_and_go_on(app: ph.Posthorse) -> None:
    app.migrate()
    app.store.run(telling.watch("test", Interest(), "life", seconds=60))
    for number in range(250):
        app.queue("mail").set(weight=number + 1)
    weights = [event.settings["weight"] for event in app.events() if isinstance(event, ph.events.QueueChanged)]
    assert weights == [*range(1, 251)]


def test_what_cannot_be_read_is_refused_in_words(app: ph.Posthorse) -> None:
    with pytest.raises(InvalidOption, match="not a cursor"):
        app.events(after="yesterday")
    with pytest.raises(InvalidOption, match="did you mean 'completed'"):
        app.events(names=["complete"])
    with pytest.raises(InvalidOption, match="names is 3"):
        app.events(names=3)  # type: ignore[arg-type]
    app.migrate()
    with app.store.transaction(), pytest.raises(InvalidCall, match="inside a transaction"):
        next(app.events())


def test_a_cursor_that_is_gone_is_reported_and_reading_goes_on(app: ph.Posthorse) -> None:
    @app.job
    def work() -> None: ...

    with collected(app.events(follow=True)) as found:

        def has_grown_to(count: int) -> bool:
            return len(found) == count

        for count in (1, 2, 3):
            work.enqueue()
            until(partial(has_grown_to, count))
    app.store.run(forget_told(-10_000_000))
    [missed, *_] = app.events(after=found[0].cursor)
    assert isinstance(missed, ph.events.Missed)
    assert (missed.why, missed.after) == ("too old", found[0].cursor)
    life, _, rest = found[0].cursor.partition("-")
    for cursor, why in ((f"other-{rest}", "another store"), (f"{life}-{'9' * 9}-0-0", "too new")):
        [missed] = app.events(after=cursor)
        assert isinstance(missed, ph.events.Missed)
        assert missed.why == why
        assert [*app.events(after=missed.cursor)] == []


def test_the_watch_ends_with_its_last_reader_or_soon_after_its_process(app: ph.Posthorse) -> None:
    def watchers() -> int:
        return len(app.store.read(telling.queues_and_watchers()).watchers)

    app.migrate()
    assert watchers() == 0
    with app.events(follow=True), app.events(follow=True, kind="mail"):
        assert watchers() == 1
    until(lambda: watchers() == 0)
    events = app.events(follow=True)
    with events:
        assert watchers() == 1
    del events
    app.close()
    until(lambda: watchers() == 0)
    assert app.store.run(forget_watchers(3600.0)) == []


def test_a_reader_sees_what_commits_inside_a_transaction_when_it_commits(app: ph.Posthorse) -> None:
    @app.job
    def work() -> None: ...

    with collected(app.events(follow=True)) as found:
        work.enqueue()
        until(lambda: len(found) == 1)
        with app.store.transaction():
            late = work.enqueue()
            assert names(found, late) == []
        until(lambda: names(found, late) == ["submitted"])
    assert app.store.watched.submitted in (ALL_KINDS, frozenset())
    assert app.store.read(stream_state()).life is not None


def watchers_of(app: ph.Posthorse) -> int:
    return len(app.store.read(telling.queues_and_watchers()).watchers)


def test_a_stream_that_is_never_quiet_keeps_its_watch_and_lets_readers_in(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.job
    def work() -> None: ...

    monkeypatch.setattr(hub, "RENEWAL_INTERVAL", 0.0)
    is_busy = threading.Event()
    is_busy.set()
    watches: list[str] = []

    def watch(name: str, wanted: Interest, life: str, *, seconds: float) -> object:
        watches.append(name)
        return telling.watch(name, wanted, life, seconds=seconds)

    def read(place: StreamPlace | None, names: Sequence[str] | None = None, *, mark: int = 0) -> object:
        if is_busy.is_set():
            work.enqueue()  # there is news at each look
        return read_page(place, names, mark=mark)

    monkeypatch.setattr(hub, "start_watching", watch)
    monkeypatch.setattr(hub, "read_page", read)
    try:
        with collected(app.events(follow=True)) as found:
            until(lambda: len(found) > 10)
            before = len(watches)
            until(lambda: len(watches) > before + 3)
            with collected(app.events(follow=True)) as also_found:
                until(lambda: also_found)
            is_busy.clear()
            until(lambda: len(found) == len([*app.events()]))
    finally:
        is_busy.clear()
    assert all(isinstance(event, ph.events.JobSubmitted) for event in found)


def test_a_reader_is_told_that_its_watch_ended_before_it_was_renewed(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.job
    def work() -> None: ...

    monkeypatch.setattr(hub, "RENEWAL_INTERVAL", 0.0)
    with collected(app.events(follow=True)) as found:
        first = work.enqueue()
        until(lambda: len(found) == 1)
        monkeypatch.setattr(hub, "WATCH_TIME", 0.001)  # over before the next renewal
        until(lambda: len(found) > 1)
    missed = found[1]
    assert isinstance(missed, ph.events.Missed)
    assert (missed.why, missed.after) == ("not watched", missed.cursor)
    assert names(found, first) == ["submitted"]
    assert [*app.events(after=missed.cursor)] == []


def test_a_reader_is_told_that_the_application_was_closed_meanwhile(app: ph.Posthorse) -> None:
    @app.job
    def work() -> None: ...

    with app.events(follow=True) as events:
        app.hub.close()
        missed = next(events)
        assert isinstance(missed, ph.events.Missed)
        assert missed.why == "not watched"
        until(lambda: watchers_of(app) == 1 and app.store.watched.submitted is ALL_KINDS)
        job = work.enqueue()
        event = next(events)
        assert isinstance(event, ph.events.JobSubmitted)
        assert event.job == job.id


def test_a_thread_that_ends_late_leaves_the_next_one_its_watch(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.job
    def work() -> None: ...

    ends, may_end = threading.Event(), threading.Event()

    def unwatch_late(name: str) -> object:
        ends.set()
        may_end.wait(30)
        return telling.unwatch(name)

    with app.events(follow=True):
        [old] = [thread for thread in threading.enumerate() if thread.name == "posthorse-events"]
    monkeypatch.setattr(hub, "unwatch", unwatch_late)
    app.hub.close()
    assert ends.wait(30)
    with app.events(follow=True) as events:
        may_end.set()
        old.join(30)
        assert watchers_of(app) == 1
        job = work.enqueue()
        [event] = itertools.islice(events, 1)
        assert isinstance(event, ph.events.JobSubmitted)
        assert event.job == job.id


@pytest.mark.parametrize("error", [StoreUnreachable("away"), RuntimeError("odd"), OutcomeUnknown("lost")])
def test_a_start_that_the_store_did_not_take_is_told_later(app: ph.Posthorse, error: Exception) -> None:
    go = threading.Event()

    @app.job
    def work() -> None:
        go.wait(30)

    errors = [error]
    hit = threading.Event()

    def fail() -> None:
        if errors:
            hit.set()
            raise errors.pop()

    with passing("before_telling", fail), collected(app.events(follow=True)) as found, app.worker():
        until(lambda: app.store.watched.has_attempts)
        job = work.enqueue()
        assert hit.wait(30)
        expected = ["submitted"]
        if not isinstance(error, OutcomeUnknown):
            expected.append("started")
            until(lambda: names(found, job) == expected)
        go.set()
        until(lambda: names(found, job)[-1:] == ["completed"])
    assert names(found, job) == [*expected, "completed"]
