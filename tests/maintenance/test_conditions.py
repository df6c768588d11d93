"""Conditions are reported once when they begin, and again only after they were over, whatever looks and dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import posthorse as ph
from posthorse.clock import Clock, micros_of
from posthorse.maintenance.chores.conditions import LookAtConditions
from posthorse.maintenance.schedules import Scheduler
from posthorse.rules.schedules import MisfirePolicy
from posthorse.rules.tuning import Tuning
from posthorse.store.operations import runners
from posthorse.store.operations.conditions import look_at_conditions, report_change
from posthorse.store.operations.incidents import forget_incidents
from posthorse.store.operations.read import call as read_call
from posthorse.store.operations.store_facts import store_now
from posthorse.store.operations.submit import EntryTerms
from tests.waiting import until, until_state

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
Late = ph.events.QueueLate
Behind = ph.events.JobBehind
Lost = ph.events.WorkerLost
Missed = ph.events.ScheduleMissed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(store_url: str, clock: Clock) -> Iterator[ph.Posthorse]:
    tuning = Tuning(conditions_interval=0.0, dead_letters_interval=3_600.0)
    app = ph.Posthorse(store_url, clock=clock, lease="6s", tuning=tuning)

    @app.job(queue="mail")
    def work() -> None: ...

    yield app
    app.close()


def look(app: ph.Posthorse) -> None:
    """Let a process look now, as one that has just started does."""
    asyncio.run(LookAtConditions(app.store, app.registry.conditions, app.registry.queues).run(None))


def told(app: ph.Posthorse, kind: str = "tell") -> list[Any]:
    """Return the events of which an observer was notified, in order."""
    found: list[Any] = []
    for job in sorted(app.jobs(kind=kind), key=lambda job: job.id):
        call = app.store.read(read_call(job.id))
        assert call is not None
        args, kwargs = app.registry[kind].signature.decode(call.arguments)
        found += [*args, *kwargs.values()]
    return found


def enqueue(app: ph.Posthorse, queue: str = "mail") -> ph.Job[object]:
    kind: ph.Kind[[], object] = ph.Kind(app, app.registry["work"])
    return kind.using(queue=queue).enqueue()


def observe_queues(app: ph.Posthorse, queue: str | None = None, *, resolved: bool = False) -> None:
    def tell(event: Late) -> None: ...

    app.on(Late, after="5m", queue=queue, name="tell", resolved=resolved)(tell)


def test_a_queue_that_is_late_is_reported_once_and_again_after_it_was_in_time(app: ph.Posthorse, clock: Clock) -> None:
    observe_queues(app, queue="mail")
    first = enqueue(app)
    enqueue(app, "photos")
    look(app)
    assert told(app) == []
    clock.advance(6 * MINUTE)
    for _ in range(3):
        look(app)
    [event] = told(app)
    assert (event.queue, event.job, event.limit, event.is_over) == ("mail", first.id, 5 * MINUTE, False)
    assert 6 * MINUTE <= event.waited < 7 * MINUTE
    assert event.since == first.status().created_at + 5 * MINUTE <= event.at
    first.cancel()
    enqueue(app)
    look(app)
    clock.advance(6 * MINUTE)
    look(app)
    assert [each.is_over for each in told(app)] == [False, False]


def test_the_end_is_reported_to_those_that_ask_when_it_is_clearly_over(app: ph.Posthorse, clock: Clock) -> None:
    observe_queues(app, resolved=True)
    jobs = [enqueue(app)]
    clock.advance(3 * MINUTE)
    jobs.append(enqueue(app))
    clock.advance(3 * MINUTE)
    look(app)
    jobs[0].cancel()
    look(app)
    assert len(told(app)) == 1, "the next job waits for more than half of the limit"
    jobs[1].cancel()
    for _ in range(2):
        look(app)
    began, ended = told(app)
    assert (ended.queue, ended.is_over, ended.job, ended.waited) == ("mail", True, None, timedelta(0))
    assert ended.since == began.since
    assert ended.at >= began.at


def test_a_queue_of_observers_is_looked_at_only_if_it_is_named(app: ph.Posthorse, clock: Clock) -> None:
    observe_queues(app)
    named: list[object] = []
    app.on(Late, after="5m", queue=["posthorse", "mail"], name="named")(named.append)
    enqueue(app, "posthorse")
    clock.advance(6 * MINUTE)
    look(app)
    assert [event.queue for event in told(app)] == []
    assert [event.queue for event in told(app, "named")] == ["posthorse"]


def test_processes_that_look_at_once_report_once(app: ph.Posthorse, clock: Clock) -> None:
    observe_queues(app, resolved=True)
    job = enqueue(app)
    clock.advance(6 * MINUTE)
    start = threading.Barrier(6)

    def race() -> None:
        start.wait()
        look(app)

    for _ in range(2):  # it begins, and it is over
        threads = [threading.Thread(target=race) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with suppress(ph.InvalidTransition):
            job.cancel()
    assert [event.is_over for event in told(app)] == [False, True]


def test_a_process_that_looked_long_ago_reports_nothing(app: ph.Posthorse, clock: Clock) -> None:
    observe_queues(app)
    look(app)
    job = enqueue(app)
    clock.advance(6 * MINUTE)
    rules = [observer.rule for observer in app.registry.conditions.values()]
    late = app.store.read(look_at_conditions(rules))
    [change] = late.changes
    look(app)
    job.cancel()
    look(app)
    assert app.store.run(report_change(change, None, EntryTerms({}))) is False
    assert len(told(app)) == 1


@pytest.mark.parametrize("state", ["late", "in time"])
def test_after_the_clock_was_set_back_conditions_are_found_again(app: ph.Posthorse, clock: Clock, state: str) -> None:
    observe_queues(app)
    job = enqueue(app)
    clock.advance(6 * MINUTE)
    look(app)
    if state == "in time":
        job.cancel()
        look(app)
    clock.advance(-DAY)
    look(app)
    if state == "late":  # no job has waited, by the clock as it is now
        job.cancel()
        look(app)
    enqueue(app)
    clock.advance(6 * MINUTE)
    for _ in range(2):
        look(app)
    assert len(told(app)) == 2


def test_while_the_queue_of_observers_is_closed_nothing_counts_as_reported(
    app: ph.Posthorse, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    observe_queues(app)
    enqueue(app)
    clock.advance(6 * MINUTE)
    app.queue("posthorse").drain()
    look(app)
    assert told(app) == []
    assert "cannot notify the observer tell: queue 'posthorse' is being drained" in caplog.text
    app.queue("posthorse").resume()
    look(app)
    assert len(told(app)) == 1


def test_a_worker_looks_and_runs_the_observer(app: ph.Posthorse, clock: Clock) -> None:
    heard: list[Late] = []
    app.on(Late, after="5m", queue="photos", name="tell", max_attempts=2)(heard.append)
    enqueue(app, "photos")
    app.queue("photos").pause()
    clock.advance(6 * MINUTE)
    with app.worker():
        until(lambda: heard, what="the observer runs")
    assert [event.queue for event in heard] == ["photos"]


# ── lost workers ─────────────────────────────────────────────────────────────────────────────────────


def register(app: ph.Posthorse, id: str, worker: str) -> None:
    runner = runners.Runner(id, worker, "web-3", 4711, "0", 10, ("mail",), ("work",))
    app.store.run(runners.register(runner, lease=6_000_000))


def lose(app: ph.Posthorse, clock: Clock) -> None:
    clock.advance(timedelta(seconds=7))
    app.store.run(runners.rescue_expired(grace=0))


def observe_losses(app: ph.Posthorse, name: str = "tell") -> None:
    def tell(event: Lost) -> None: ...

    app.on(Lost, name=name)(tell)


def runner_id(number: int) -> str:
    return f"00000000-0000-4000-8000-00000000000{number}"


def test_a_worker_that_fell_silent_is_reported_once_with_what_it_held(app: ph.Posthorse, clock: Clock) -> None:
    observe_losses(app)
    look(app)
    for number in (1, 2):
        register(app, runner_id(number), "web-3:41")
    register(app, runner_id(3), "web-3:42")
    app.store.run(runners.retire(runner_id(3)))
    lose(app, clock)
    for _ in range(3):
        look(app)
    [event] = told(app)
    assert (event.worker, event.host, event.jobs) == ("web-3:41", "web-3", 0)
    assert sorted(event.runners) == [runner_id(1), runner_id(2)]
    assert timedelta(seconds=6) < event.at - event.last_seen < MINUTE


def test_a_new_observer_hears_of_no_loss_before_it(app: ph.Posthorse, clock: Clock) -> None:
    register(app, runner_id(1), "before")
    lose(app, clock)
    observe_losses(app)
    look(app)
    register(app, runner_id(2), "after")
    lose(app, clock)
    look(app)
    assert [event.worker for event in told(app)] == ["after"]


def test_each_observer_hears_of_a_loss_even_if_the_clock_was_set_back(app: ph.Posthorse, clock: Clock) -> None:
    observe_losses(app)
    observe_losses(app, "other")
    look(app)
    register(app, runner_id(1), "web-3:41")
    lose(app, clock)
    clock.advance(-DAY)
    look(app)
    look(app)
    assert len(told(app)) == len(told(app, "other")) == 1


def test_what_is_forgotten_is_not_reported_again(app: ph.Posthorse, clock: Clock) -> None:
    observe_losses(app)
    look(app)
    register(app, runner_id(1), "web-3:41")
    lose(app, clock)
    clock.advance(-50 * DAY)
    look(app)  # the report is made long before the loss, by this clock
    for days in (45, 3, 30, 30):
        clock.advance(days * DAY)
        app.store.run(forget_incidents())
        look(app)
    assert len(told(app)) == 1
    rows = app.store.read(look_at_conditions([app.registry.conditions["tell"].rule]))
    assert rows.incidents == []


# ── schedules ────────────────────────────────────────────────────────────────────────────────────────


def set_clock(app: ph.Posthorse, to: datetime) -> None:
    app.store.clock.shift += micros_of(to) - app.store.read(store_now())


def observe_schedules(app: ph.Posthorse) -> None:
    def tell(event: Missed) -> None: ...

    app.on(Missed, name="tell")(tell)


def attend(app: ph.Posthorse) -> None:
    asyncio.run(Scheduler(app.store, app.registry.schedules, app.registry.queues, has_rivals=False).turn())


@pytest.mark.parametrize(("misfire", "jobs"), [("once", 1), ("skip", 0), ("all", 3)])
def test_times_that_a_worker_finds_missed_are_reported_once(
    app: ph.Posthorse, misfire: MisfirePolicy, jobs: int
) -> None:
    kind: ph.Kind[[], object] = ph.Kind(app, app.registry["work"])
    app.schedule(kind.bind(), every="1h", name="hourly", misfire=misfire, overlap="allow")
    observe_schedules(app)
    set_clock(app, datetime(2040, 6, 1, 12, 30, tzinfo=UTC))
    attend(app)
    look(app)
    set_clock(app, datetime(2040, 6, 1, 15, 30, tzinfo=UTC))
    attend(app)
    for _ in range(2):
        look(app)
    [event] = told(app)
    assert (event.schedule, event.jobs) == ("hourly", jobs)
    assert (event.since.hour, event.until.hour) == (13, 15)


def test_a_schedule_that_no_worker_attends_to_is_reported_once(app: ph.Posthorse) -> None:
    kind: ph.Kind[[], object] = ph.Kind(app, app.registry["work"])
    app.schedule(kind.bind(), every="1h", name="hourly")
    observe_schedules(app)
    set_clock(app, datetime(2040, 6, 1, 12, 30, tzinfo=UTC))
    attend(app)
    set_clock(app, datetime(2040, 6, 1, 13, 0, 30, tzinfo=UTC))
    look(app)
    assert told(app) == [], "within its grace it may still be made"
    set_clock(app, datetime(2040, 6, 1, 14, 30, tzinfo=UTC))
    for _ in range(2):
        look(app)
    [event] = told(app)
    assert (event.since.hour, event.until, event.jobs) == (13, None, None)
    attend(app)
    for _ in range(2):
        look(app)
    assert told(app) == [event], "what a worker then did about it is known to be missed"
    set_clock(app, datetime(2040, 6, 1, 17, 30, tzinfo=UTC))
    look(app)
    assert [each.since.hour for each in told(app)] == [13, 15]


def test_a_paused_schedule_misses_nothing(app: ph.Posthorse) -> None:
    kind: ph.Kind[[], object] = ph.Kind(app, app.registry["work"])
    schedule = app.schedule(kind.bind(), every="1h", name="hourly")
    observe_schedules(app)
    set_clock(app, datetime(2040, 6, 1, 12, 30, tzinfo=UTC))
    attend(app)
    schedule.pause()
    set_clock(app, datetime(2040, 6, 1, 17, 30, tzinfo=UTC))
    look(app)
    schedule.resume()
    look(app)
    attend(app)
    look(app)
    assert told(app) == []


# ── long jobs ────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_whose_forecast_lies_behind_is_reported_and_its_end_too(app: ph.Posthorse, clock: Clock) -> None:
    release = threading.Event()

    @app.job
    def convert(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(20), size=1):
            for number in batch:
                if number >= 5:
                    release.wait(30)

    def tell(event: Behind) -> None: ...

    app.on(Behind, within="1s", kind="convert", name="tell", resolved=True)(tell)
    look(app)
    job = convert.enqueue()
    with app.worker(concurrency=2):
        until(lambda: job.status().progress.eta is not None, what="there is a forecast")
        clock.advance(2 * MINUTE)
        for _ in range(3):
            look(app)
        [event] = told(app)
        assert (event.job, event.kind, event.queue, event.is_over) == (job.id, "convert", "default", False)
        assert event.within == timedelta(seconds=1)
        assert event.due == job.status().created_at + timedelta(seconds=1) < event.at
        assert event.eta is not None
        release.set()
        until_state(job, "completed")
        for _ in range(2):
            look(app)
    assert [each.is_over for each in told(app)] == [False, True]


# ── processes that die ───────────────────────────────────────────────────────────────────────────────

APPLICATION = """
    import os

    import posthorse as ph
    from posthorse.rules.tuning import Tuning

    app = ph.Posthorse(os.environ["STORE"], lease="3s", poll="0.5s", tuning=Tuning(conditions_interval=0.05))


    @app.on(ph.events.QueueLate, queue="mail", after="1s")
    def observe(event: ph.events.QueueLate) -> str:
        return event.queue
"""


@pytest.mark.parametrize("failpoint", ["before_report", "after_report"])
def test_a_worker_that_is_killed_while_it_reports_leaves_one_report(
    store_url: str, tmp_path: Path, failpoint: str
) -> None:
    (tmp_path / "observed.py").write_text(textwrap.dedent(APPLICATION))
    client = ph.Posthorse(store_url)
    client.migrate()

    @client.job(queue="mail")
    def work() -> None: ...

    work.enqueue()
    environment = {**os.environ, "STORE": store_url, "PYTHONPATH": str(tmp_path)}

    def start(**more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "posthorse", "worker", "--app", "observed:app", "-q", "posthorse"]
        return subprocess.Popen(
            command, env={**environment, **more}, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
        )

    killed = start(POSTHORSE_FAILPOINT=f"{failpoint}:kill")
    try:
        until(lambda: killed.poll() is not None or client.jobs(kind="observe").count(), patience=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    worker = start()
    try:
        until(lambda: client.jobs("state:completed", kind="observe").count(), patience=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert [job.result() for job in client.jobs(kind="observe")] == ["mail"]
    client.close()
