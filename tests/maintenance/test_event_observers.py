"""Durable observers: each event that one wants is handed over exactly once, whichever process dies."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec.structs import replace

import posthorse as ph
from posthorse.errors import InvalidOption, TooLarge
from posthorse.maintenance.event_observers import EventObservers
from posthorse.rules.watched import decode_interest
from posthorse.store.operations import stream
from posthorse.store.operations.observing import places_of
from posthorse.store.operations.read import call
from posthorse.store.operations.stream import forget_told
from posthorse.store.operations.telling import queues_and_watchers
from tests.waiting import until

quick = pytest.mark.tuning(observers_interval=0.02, telling_interval=0.02, request_interval=0.05, events_interval=0.02)

Completed, Failed = ph.events.Completed, ph.events.Failed


@pytest.fixture
def seen() -> list[object]:
    return []


def observers_of(app: ph.Posthorse, keep: float = 86_400.0) -> EventObservers:
    registry = app.registry
    return EventObservers(app.store, registry.event_observers, registry.queues, registry.packing, keep=keep)


def is_watched(app: ph.Posthorse) -> bool:
    return app.store.watched.has_attempts


@quick
def test_each_event_becomes_one_job_of_its_observer(app: ph.Posthorse, seen: list[object]) -> None:
    @app.job(max_attempts=1)
    def work(number: int) -> float:
        return 1 / number

    @app.on(Completed | Failed, kind="work")
    def observe(event: ph.events.Completed | ph.events.Failed) -> None:
        seen.append(event)

    with app.worker():
        until(lambda: is_watched(app))
        jobs = app.enqueue_many([work.bind(number) for number in range(20)])
        until(lambda: len(seen) == 20)
    found = Counter((type(event), event.job) for event in seen if isinstance(event, Completed | Failed))
    assert set(found.values()) == {1}
    assert {job for kind, job in found if kind is Failed} == {jobs[0].id}
    assert {job for _, job in found} == {job.id for job in jobs}
    [failed] = [event for event in seen if isinstance(event, Failed)]
    assert failed.error is not None
    assert failed.error.type == "ZeroDivisionError"


@quick
def test_a_batch_is_a_list_of_events(app: ph.Posthorse, seen: list[object]) -> None:
    @app.job
    def work() -> None: ...

    @app.on([Completed, ph.events.JobSubmitted], batch="0.3s")
    async def observe(events: list[ph.events.JobEvent]) -> None:
        seen.append(events)

    with app.worker():
        until(lambda: is_watched(app))
        app.enqueue_many([work.bind() for _ in range(1_500)])
        until(lambda: sum(len(events) for events in seen if isinstance(events, list)) == 3_000)
    assert max(len(events) for events in seen if isinstance(events, list)) <= 1_000
    assert len(seen) <= 10


@quick
def test_an_observer_does_not_hear_of_observers_unless_it_names_their_queue(
    app: ph.Posthorse, seen: list[object]
) -> None:
    @app.job
    def work() -> None: ...

    @app.on(ph.events.JobEvent)
    def everything(event: ph.events.JobEvent) -> None:
        seen.append(event)

    @app.on(Completed, queue="posthorse")
    def others(event: ph.events.Completed) -> None:
        seen.append(event)

    with app.worker():
        until(lambda: is_watched(app))
        job = work.enqueue()
        until(lambda: len(seen) >= 6)
    events = [event for event in seen if isinstance(event, ph.events.JobEvent)]
    assert [event.name for event in events if event.job == job.id] == ["submitted", "started", "completed"]
    assert {event.kind for event in events if event.job != job.id} == {"everything"}


@quick
def test_of_two_processes_one_hands_over(app: ph.Posthorse) -> None:
    @app.job
    def work() -> None: ...

    @app.on(ph.events.JobSubmitted)
    def observe(event: ph.events.JobSubmitted) -> None: ...

    app.migrate()

    async def race() -> None:
        both = [observers_of(app), observers_of(app)]
        for each in both:
            await each._turn()  # pyright: ignore[reportPrivateUsage]
        await app.gate.aterms([])
        app.gate.look_again()
        await app.aenqueue_many([work.bind() for _ in range(10)])
        for _ in range(3):
            await asyncio.gather(*(each._turn() for each in both))  # pyright: ignore[reportPrivateUsage]

    asyncio.run(race())
    assert app.jobs(kind="observe").count() == 10


@quick
def test_a_place_that_is_gone_is_reported(
    app: ph.Posthorse, seen: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    @app.job
    def work() -> None: ...

    @app.on(ph.events.JobSubmitted, ph.events.Missed)
    def observe(event: ph.events.JobSubmitted | ph.events.Missed) -> None:
        seen.append(event)

    app.migrate()

    async def miss() -> None:
        observers = observers_of(app)
        await observers._turn()  # pyright: ignore[reportPrivateUsage]
        app.gate.look_again()
        for _ in range(3):
            await work.aenqueue()
            async with app.events(follow=True) as events:  # takes ticks
                assert events.cursor is not None
        await app.store.arun(forget_told(-10_000_000))
        await observers._turn()  # pyright: ignore[reportPrivateUsage]

    asyncio.run(miss())
    assert "missed events: the place where it was is too old" in caplog.text
    with app.worker():
        until(lambda: seen)
    missed = next(event for event in seen if isinstance(event, ph.events.Missed))
    assert missed.why == "too old"


@pytest.mark.tuning(observer_pages=1)
def test_a_look_reads_a_few_pages_for_each_observer(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_BLOCKS", 3)  # the last one of a page begins the next

    @app.job
    def work() -> None: ...

    @app.on(ph.events.JobSubmitted)
    def first(event: ph.events.JobSubmitted) -> None: ...

    @app.on(ph.events.JobSubmitted)
    def second(event: ph.events.JobSubmitted) -> None: ...

    app.migrate()

    async def look() -> None:
        observers = observers_of(app)
        await observers._turn()  # pyright: ignore[reportPrivateUsage]
        app.gate.look_again()
        for _ in range(7):
            await work.aenqueue()
        for count in (3, 5, 7):
            assert await observers._turn()  # pyright: ignore[reportPrivateUsage]
            assert [await app.jobs(kind=kind).acount() for kind in ("first", "second")] == [count, count]
        turns = [await observers._turn() for _ in range(5)]  # pyright: ignore[reportPrivateUsage]
        assert not turns[-1]

    asyncio.run(look())


@quick
def test_an_observer_that_cannot_be_notified_holds_no_other_up(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    @app.job
    def work() -> None: ...

    @app.on(ph.events.JobSubmitted)
    def broken(event: ph.events.JobSubmitted) -> None: ...

    @app.on(ph.events.JobSubmitted)
    def sound(event: ph.events.JobSubmitted) -> None: ...

    app.migrate()

    def refuse(told: object) -> NoReturn:
        raise TooLarge("too large")

    async def look() -> None:
        observers = app.registry.event_observers
        observers["broken"] = replace(observers["broken"], make=refuse)
        both = observers_of(app)
        await both._turn()  # pyright: ignore[reportPrivateUsage]
        app.gate.look_again()
        for _ in range(3):
            await work.aenqueue()
            await both._turn()  # pyright: ignore[reportPrivateUsage]

    asyncio.run(look())
    assert app.jobs(kind="sound").count() == 3
    assert caplog.text.count("cannot notify the observer broken") == 1  # it is left alone for a moment


def test_a_watch_of_new_code_is_not_narrowed_by_old_code(store_url: str) -> None:
    def declare(*events: type[ph.events.JobEvent]) -> ph.Posthorse:
        app = ph.Posthorse(store_url)

        @app.on(list(events))
        def observe(event: object) -> None: ...

        return app

    old, new = declare(Completed), declare(Completed, Failed)
    new.migrate()

    async def look() -> None:
        for app in (old, new, old):
            await observers_of(app)._turn()  # pyright: ignore[reportPrivateUsage]

    asyncio.run(look())
    watchers = new.store.read(queues_and_watchers()).watchers
    assert sorted(tuple(decode_interest(words).names or ()) for words, _ in watchers) == [
        ("completed",),
        ("completed", "failed"),
    ]
    assert [*new.store.read(places_of(["observer observe"]))] == ["observer observe"]
    old.close()
    new.close()


@quick
def test_a_batch_that_is_too_large_becomes_several_jobs(app: ph.Posthorse, seen: list[object]) -> None:
    @app.job(max_attempts=1)
    async def work() -> None:
        raise ValueError("\N{DOVE OF PEACE}" * 4_000)

    @app.on(Failed, batch="1h")
    async def observe(events: list[ph.events.Failed]) -> None:
        seen.append(events)

    with app.worker():
        until(lambda: app.store.read(places_of(["observer observe"])))
        app.enqueue_many([work.bind() for _ in range(1_000)])
        until(lambda: sum(len(events) for events in seen if isinstance(events, list)) == 1_000, patience=60)
    assert len(seen) == 4  # of 12 MB


@quick
def test_what_concerns_no_job_is_observed_too(app: ph.Posthorse, seen: list[object]) -> None:
    @app.on(ph.events.QueueChanged | ph.events.WorkerLost, queue="mail")
    def observe(event: ph.events.StoreEvent) -> None:
        seen.append(event)

    with app.worker():
        until(lambda: app.store.read(places_of(["observer observe"])))
        app.queue("photos").pause()
        app.queue("mail").pause()
        until(lambda: seen)
    [event] = seen
    assert isinstance(event, ph.events.QueueChanged)
    assert (event.queue, event.settings) == ("mail", {"paused": True})


@pytest.mark.parametrize("is_closed", [False, True])
def test_an_observer_whose_watch_ended_hears_that_once(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture, *, is_closed: bool
) -> None:
    @app.job
    def work() -> None: ...

    @app.on(ph.events.JobSubmitted | ph.events.Missed)
    def observe(event: ph.events.JobSubmitted | ph.events.Missed) -> None: ...

    app.migrate()

    async def turn(times: int = 3, observers: EventObservers | None = None) -> None:
        both = observers or observers_of(app, keep=60.0)
        for _ in range(times):
            await both._turn()  # pyright: ignore[reportPrivateUsage]

    def told() -> list[str]:
        jobs = [app.store.read(call(job.id)) for job in sorted(app.jobs(kind="observe"), key=lambda job: job.id)]
        return ["missed" if "not watched" in job.arguments else "submitted" for job in jobs if job is not None]

    asyncio.run(turn())  # it is new: it has missed nothing
    app.gate.look_again()
    work.enqueue()
    asyncio.run(turn())
    assert told() == ["submitted"]
    asyncio.run(turn())  # a restart in time
    app.store.clock.advance(timedelta(seconds=61))
    app.gate.look_again()
    work.enqueue()  # no process writes that down
    if is_closed:
        app.queue("posthorse").drain()
        asyncio.run(turn())
        assert told() == ["submitted"]
        app.queue("posthorse").resume()

    async def race() -> None:
        await asyncio.gather(turn(), turn())

    asyncio.run(race())
    app.gate.look_again()
    work.enqueue()
    asyncio.run(turn())
    assert told() == ["submitted", "missed", "submitted"]
    assert "the observer observe missed events: nothing watched for it" in caplog.text


def test_an_observer_of_changed_code_that_was_watched_has_missed_nothing(app: ph.Posthorse) -> None:
    app.migrate()

    def observing(*events: type[ph.events.JobEvent | ph.events.Missed]) -> EventObservers:
        newer = ph.Posthorse(app.settings.url, clock=app.store.clock)

        def observe(event: ph.events.JobEvent | ph.events.Missed) -> None: ...

        newer.on(*events, name="observe")(observe)
        return EventObservers(app.store, newer.registry.event_observers, newer.registry.queues, keep=60.0)

    for observers in (observing(Completed, ph.events.Missed), observing(Failed, ph.events.Missed)):
        asyncio.run(observers._turn())  # pyright: ignore[reportPrivateUsage]
        asyncio.run(observers._turn())  # pyright: ignore[reportPrivateUsage]
    assert [*app.jobs(kind="observe")] == []


@quick
def test_what_cannot_be_observed_is_refused(app: ph.Posthorse) -> None:
    with pytest.raises(InvalidOption, match="cannot tell of <class 'int'>"):
        app.on(int)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="needs the events"):
        app.on([ph.events.Missed])
    with pytest.raises(InvalidOption, match="by, after, within and resolved"):
        app.on(Completed, by=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="does not go with"):
        app.on(ph.events.DeadLettersGrew, batch="1s")  # type: ignore[type-var]
    with pytest.raises(InvalidOption, match="at most 1h"):
        app.on(Completed, batch="2h")

    def single(event: ph.events.Completed) -> None: ...

    with pytest.raises(InvalidOption, match="a list of"):
        app.on(Completed, batch="1s")(single)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="and is notified of"):
        app.on(Failed)(single)  # type: ignore[arg-type]


APPLICATION = """
    import os
    import sys

    import posthorse as ph

    app = ph.Posthorse(os.environ["STORE"], lease="3s", poll="0.5s")


    @app.job
    def work(number: int) -> int:
        return number


    @app.on(ph.events.Completed, kind="work")
    def observe(event: ph.events.Completed) -> str:
        return event.job
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "observed.py").write_text(textwrap.dedent(APPLICATION))
    return tmp_path


@pytest.mark.parametrize(
    ("failpoint", "kills"),
    [
        ("before_hand_over", 3),
        ("after_hand_over", 3),
        (None, 3),
        pytest.param(None, 100, marks=[pytest.mark.soak, pytest.mark.timeout(0)]),
    ],
)
def test_workers_that_are_killed_hand_over_each_event_once(
    folder: Path, store_url: str, failpoint: str | None, kills: int
) -> None:
    client = ph.Posthorse(store_url)
    client.migrate()

    @client.job
    def work(number: int) -> int:
        return number

    environment = {**os.environ, "STORE": store_url, "PYTHONPATH": str(folder)}
    if failpoint is not None:
        environment["POSTHORSE_FAILPOINT"] = f"{failpoint}:kill:2"

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "posthorse", "worker", "--app", "observed:app", "--concurrency", "4"]
        return subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True)

    def observed() -> list[object]:
        return [job.result(timeout=30) for job in client.jobs("state:completed", kind="observe")]

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def completed_more_than(count: int) -> bool:
        return client.jobs("state:completed", kind="work").count() > count

    worker = start()
    sent: list[str] = []
    try:
        until(lambda: client.store.read(places_of(["observer observe"])), what="the observer is entered")
        for count in range(10, 10 * kills + 1, 10):
            kill()
            worker = start()  # its runner knows of the watch from its first look on
            sent += [job.id for job in client.enqueue_many([work.bind(number) for number in range(10)])]
            until(partial(completed_more_than, count - 10), what="some completed")
            if count == 20:
                environment.pop("POSTHORSE_FAILPOINT", None)
            time.sleep(random.uniform(0, 0.5))  # so that the next kill strikes at any moment of a look
        until(lambda: client.jobs("state:completed", kind="observe").count() >= len(sent), patience=60)
    finally:
        kill()
    assert Counter(observed()) == Counter(sent)
    client.close()
