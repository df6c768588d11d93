"""The scheduler: one job for each time, whichever process looks, whatever clocks, pauses and deploys do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

import posthorse as ph
from posthorse.app.schedules import known_schedules
from posthorse.clock import Clock, micros_of, moment
from posthorse.errors import OutcomeUnknown, StoreError, StoreUnreachable
from posthorse.ids import moved_to, new_id
from posthorse.maintenance import schedules as scheduling
from posthorse.maintenance.schedules import Scheduler
from posthorse.rules.schedules import Declared, MisfirePolicy, Overlap, Policies, job_at
from posthorse.rules.tuning import Tuning
from posthorse.store.base import Operation
from posthorse.store.operations.schedules import ScheduledRun, fire, go_back, trigger
from posthorse.store.operations.store_facts import store_now
from posthorse.store.operations.submit import EntryTerms
from posthorse.store.store import Store
from tests.statuses import list_statuses
from tests.waiting import until, until_state

HOUR = timedelta(hours=1)
NOON = datetime(2040, 6, 1, 12, tzinfo=UTC)
AGAIN = timedelta(microseconds=1)
"""How much later the instant of a repeated time is."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(store_url: str, clock: Clock, tuning: Tuning) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, clock=clock, tuning=tuning)
    app.job(kind="report")(report)
    yield app
    app.close()


def report(ctx: ph.Context, number: int = 0) -> str:
    return str(ctx.scheduled_at)


def call(app: ph.Posthorse, number: int = 0) -> ph.Call[object]:
    kind: ph.Kind[[int], object] = ph.Kind(app, app.registry["report"])
    return kind.bind(number)


def set_clock(app: ph.Posthorse, to: datetime) -> None:
    """Set the store's clock to a moment."""
    app.store.clock.shift += micros_of(to) - app.store.read(store_now())


def look(app: ph.Posthorse, times: int = 1, by: Scheduler | None = None) -> Scheduler:
    """Let a worker's scheduler look this many times."""
    scheduler = by or Scheduler(app.store, app.registry.schedules, app.registry.queues)

    async def turn() -> None:
        for _ in range(times):
            while await scheduler.turn() < 0.4:  # something had to be done, or must be in a moment
                set_clock(
                    app, datetime.now(UTC) + timedelta(microseconds=app.store.clock.shift) + timedelta(seconds=0.3)
                )

    asyncio.run(turn())
    return scheduler


def times_of(app: ph.Posthorse, name: str = "hourly") -> list[datetime]:
    """Return the times for which a schedule made jobs."""
    found = [status for status in list_statuses(app, limit=1000) if status.schedule == name]
    return sorted(status.scheduled_at for status in found if status.scheduled_at is not None)


def test_a_time_that_comes_gets_one_job_that_knows_it(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app), name="hourly", every="1h")
    scheduler = look(app)
    assert times_of(app) == []
    set_clock(app, NOON + HOUR)
    look(app, by=scheduler)
    look(app)
    look(app, by=scheduler)
    assert times_of(app) == [NOON + HOUR]
    status = schedule.status()
    assert (status.state, status.last_at, status.next_at) == ("active", NOON + HOUR, NOON + 2 * HOUR)
    with app.worker():
        assert app.get_job(str(status.last_job)).result(timeout=30) == str(NOON + HOUR)


@pytest.mark.parametrize(
    ("misfire", "made_up"),
    [
        ("skip", []),
        ("once", [9]),
        ("all", list(range(1, 10))),
        (ph.Misfire("all", limit=3), [7, 8, 9]),
        (ph.Misfire("skip", grace="45m"), [9]),
    ],
    ids=str,
)
def test_what_becomes_of_missed_times_is_what_misfire_says(
    app: ph.Posthorse, misfire: MisfirePolicy | ph.Misfire, made_up: Sequence[int]
) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", misfire=misfire, overlap="allow")
    look(app)
    set_clock(app, NOON + 9.5 * HOUR)
    look(app, 3)
    assert times_of(app) == [NOON + number * HOUR for number in made_up]
    set_clock(app, NOON + 10 * HOUR)
    look(app)
    assert times_of(app)[-1] == NOON + 10 * HOUR


@pytest.mark.parametrize(
    ("back", "before", "again"),
    [(timedelta(minutes=30), [], []), (timedelta(minutes=31), [], [3]), (timedelta(hours=5), [-1, 0], [1, 2, 3])],
    ids=str,
)
def test_an_interval_goes_on_by_a_clock_that_was_put_back(
    app: ph.Posthorse, back: timedelta, before: Sequence[int], again: Sequence[int]
) -> None:
    """A time less than half an interval ahead may have run a moment ago. Others are new instants."""
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="allow")
    look(app)
    for hour in (1, 2, 3):
        set_clock(app, NOON + hour * HOUR)
        look(app)
    set_clock(app, NOON + 3 * HOUR - back)
    look(app)
    for hour in (*before, 1, 2, 3, 4):
        set_clock(app, max(NOON + 3 * HOUR - back, NOON + hour * HOUR))
        look(app)
    once = [NOON + hour * HOUR for hour in (*before, 1, 2, 3, 4)]
    assert times_of(app) == sorted([*once, *(NOON + hour * HOUR + AGAIN for hour in again)])


@pytest.mark.parametrize("cron", ["0 * * * *", "0 15 * * *"])
def test_each_pass_of_the_clock_is_another_instant(app: ph.Posthorse, cron: str) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", cron=cron, overlap="allow")
    look(app)
    for _ in range(3):
        set_clock(app, NOON + 3 * HOUR)
        look(app)
        set_clock(app, NOON - HOUR)
        look(app)
    assert times_of(app) == [NOON + 3 * HOUR + number * AGAIN for number in range(3)]


@pytest.mark.parametrize(("back", "again"), [(timedelta(hours=3), 0), (timedelta(hours=4), 1), (timedelta(days=9), 1)])
def test_a_time_of_the_day_comes_again_only_after_a_correction(app: ph.Posthorse, back: timedelta, again: int) -> None:
    """As in Vixie cron: the times of a clock that was days ahead were not the true ones."""
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", cron="0 15 * * *", overlap="allow")
    look(app)
    days = [NOON + 3 * HOUR + timedelta(days=day) for day in range(10)]
    for at in days:
        set_clock(app, at)
        look(app)
    now = days[-1] - back
    set_clock(app, now)
    look(app)
    for at in days:
        if at > now:
            set_clock(app, at)
            look(app)
    repeated = [at + AGAIN for at in days if at > now] if again else []
    assert times_of(app) == sorted([*days, *repeated])


def test_dates_never_come_again(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", at=[NOON + HOUR, NOON + 20 * HOUR], overlap="allow")
    look(app)
    for hour in (1, 20, 0, 1, 20, 21):
        set_clock(app, NOON + hour * HOUR)
        look(app)
    assert times_of(app) == [NOON + HOUR, NOON + 20 * HOUR]


@pytest.mark.parametrize("is_changed", [False, True], ids=["resumed", "changed by a deploy"])
def test_times_come_again_though_the_clock_was_put_back_while_the_schedule_stood(
    app: ph.Posthorse, other: ph.Posthorse, *, is_changed: bool
) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app), name="hourly", every="1h", overlap="allow")
    other.schedule(call(other), name="hourly", every="30m" if is_changed else "1h", overlap="allow")
    look(app)
    for hour in (1, 2, 3, 4):
        set_clock(app, NOON + hour * HOUR)
        look(app)
    if not is_changed:
        schedule.pause()
    set_clock(app, NOON)
    if not is_changed:
        schedule.resume()
    look(other)
    set_clock(app, NOON + 2 * HOUR)
    look(other)
    assert times_of(app) == sorted([*(NOON + hour * HOUR for hour in (1, 2, 3, 4)), NOON + 2 * HOUR + AGAIN])


def test_of_two_that_see_a_clock_put_back_one_lets_times_come_again(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="allow")
    look(app)
    for hour in (1, 2):
        set_clock(app, NOON + hour * HOUR)
        look(app)
    declared, known, now = app.registry.schedules["hourly"], micros_of(NOON + 2 * HOUR), micros_of(NOON)
    back = go_back(declared, known=known, now=now, comes_again_after=now)
    set_clock(app, NOON)
    assert app.store.run(back)
    set_clock(app, NOON + HOUR)
    look(app)
    assert not app.store.run(back)
    for minute in (31, 60):
        set_clock(app, NOON + timedelta(minutes=minute))
        look(app)
    assert times_of(app) == [NOON + HOUR, NOON + HOUR + AGAIN, NOON + 2 * HOUR]


def test_a_clock_that_was_a_year_ahead_for_a_while_does_not_silence_a_schedule(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="allow")
    look(app)
    set_clock(app, NOON + timedelta(days=365))
    look(app)
    set_clock(app, NOON)
    look(app)
    set_clock(app, NOON + HOUR)
    look(app)
    assert times_of(app) == [NOON + HOUR, NOON + timedelta(days=365)]


@pytest.mark.parametrize(
    ("overlap", "states"),
    [
        ("allow", ["pending", "pending", "pending"]),
        ("skip", ["pending"]),
        ("cancel", ["cancelled", "cancelled", "pending"]),
    ],
)
def test_a_run_that_is_not_over_meets_the_next_as_declared(
    app: ph.Posthorse, overlap: Overlap, states: Sequence[str]
) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app), name="hourly", every="1h", overlap=overlap)
    look(app)
    for hour in (1, 2, 3):
        set_clock(app, NOON + hour * HOUR)
        look(app)
    found = sorted(list_statuses(app), key=lambda status: status.id)
    assert [status.state for status in found] == states
    assert schedule.status().skipped == (2 if overlap == "skip" else 0)
    if not found[0].state.is_final:
        app.get_job(found[0].id).cancel()
    set_clock(app, NOON + 4 * HOUR)
    look(app)
    assert times_of(app)[-1] == NOON + 4 * HOUR, "a run that is over blocks no other"


def test_a_pause_outlives_deploys_and_its_times_are_passed_over(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app), name="hourly", every="1h", misfire="all")
    look(app)
    schedule.pause()
    set_clock(app, NOON + 3 * HOUR)
    look(app)  # another process: as after a deploy
    assert (schedule.status().state, schedule.status().next_at, times_of(app)) == ("paused", None, [])
    schedule.resume()
    look(app)
    assert times_of(app) == []
    set_clock(app, NOON + 4 * HOUR)
    look(app)
    assert times_of(app) == [NOON + 4 * HOUR]


def test_a_schedule_can_be_triggered_and_paused_before_any_worker_met_it(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app, 7), name="hourly", every="1h")
    assert schedule.status().state == "unattended"
    schedule.pause()
    job = schedule.trigger()
    assert job.status().schedule == "hourly"
    assert abs((job.status().scheduled_at or NOON) - NOON) < timedelta(minutes=1)
    assert schedule.status().last_job == job.id
    look(app)
    assert schedule.status().state == "paused"


def test_a_trigger_that_is_run_again_after_a_lost_reply_makes_one_job(app: ph.Posthorse) -> None:
    schedule = app.schedule(call(app, 7), name="hourly", every="1h")
    [declared] = (known.declared for known in known_schedules(app))
    lanes = app.store.lanes({declared.call.lane})
    job = msgspec.structs.replace(declared.call, id=new_id())
    triggering = trigger(declared, job, EntryTerms(lanes))
    first = app.store.run(triggering)
    app.store.clock.advance(timedelta(seconds=1))
    assert app.store.run(triggering).id == first.id
    assert [job.id for job in app.jobs()] == [first.id]
    assert schedule.status().last_job == first.id


# ── queues that take no more ─────────────────────────────────────────────────────────────────────────


def test_a_drained_queue_refuses_times_and_says_so_once_and_no_burst_comes_after(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app), name="hourly", every="1h", overlap="allow", misfire="all")
    look(app)
    queue = app.queue("default")
    queue.drain()
    scheduler = None
    for hour in (1, 2, 3):
        set_clock(app, NOON + hour * HOUR)
        scheduler = look(app, by=scheduler)
    assert times_of(app) == []
    assert schedule.status().skipped == 3
    told = [record.message for record in caplog.records if "refuses" in record.message]
    assert len(told) == 1
    assert "schedule hourly: times that its queue refuses get no job: queue 'default' is being drained" in told[0]
    queue.resume()
    look(app)
    assert times_of(app) == []
    set_clock(app, NOON + 4 * HOUR)
    look(app)
    assert times_of(app) == [NOON + 4 * HOUR]


def test_a_full_queue_takes_the_newest_times_that_it_has_room_for(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app), name="hourly", every="1h", overlap="allow", misfire="all")
    look(app)
    app.queue("default").set(max_depth=2)
    set_clock(app, NOON + 5 * HOUR)
    look(app)
    assert times_of(app) == [NOON + 4 * HOUR, NOON + 5 * HOUR]
    assert schedule.status().skipped == 3
    assert "queue 'default' is full: 0 jobs wait and 2 may" in caplog.text


def test_a_run_is_not_cancelled_for_one_that_is_refused(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="cancel")
    look(app)
    set_clock(app, NOON + HOUR)
    look(app)
    app.queue("default").drain()
    set_clock(app, NOON + 2 * HOUR)
    look(app)
    [only] = list_statuses(app)
    assert (only.state, only.scheduled_at) == ("pending", NOON + HOUR)


@pytest.mark.tuning(admission_interval=0.0)
def test_a_schedule_is_told_again_after_its_queue_took_a_job(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="allow")
    scheduler = look(app)
    for hour, is_drained in enumerate([True, True, False, True, True], 1):
        queue = app.queue("default")
        (queue.drain if is_drained else queue.resume)()
        set_clock(app, NOON + hour * HOUR)
        look(app, by=scheduler)
    assert times_of(app) == [NOON + 3 * HOUR]
    assert sum("refuses" in record.message for record in caplog.records) == 2


def test_a_trigger_asks_the_queue_like_any_other_call(app: ph.Posthorse) -> None:
    schedule = app.schedule(call(app), name="hourly", every="1h")
    app.queue("default").drain()
    with pytest.raises(ph.QueueClosed, match="queue 'default' is being drained"):
        schedule.trigger()
    with pytest.raises(ph.QueueClosed):
        asyncio.run(schedule.atrigger())
    app.queue("default").resume()
    app.queue("default").set(max_depth=1)
    assert schedule.trigger().created
    with pytest.raises(ph.QueueFull):
        schedule.trigger()
    with pytest.raises(ph.QueueFull):
        asyncio.run(schedule.atrigger())
    assert len(list_statuses(app)) == 1


def test_jobs_of_schedules_take_turns_in_a_fair_queue(app: ph.Posthorse) -> None:
    app.queue("default", fair=True)
    kind: ph.Kind[[int], object] = ph.Kind(app, app.registry["report"])
    set_clock(app, NOON)
    schedule = app.schedule(kind.using(tenant="acme").bind(1), name="hourly", every="1h", overlap="allow")
    look(app)
    set_clock(app, NOON + HOUR)
    look(app)
    schedule.trigger()
    with app.store.transaction() as connection:
        table = app.store.backend.dialect.table("lanes")
        rows = cast("Any", connection).execute(f"SELECT tenant FROM {table}").fetchall()
    assert [row[0] for row in rows] == ["acme"]


def test_async_twins_do_the_same(app: ph.Posthorse) -> None:
    schedule = app.schedule(call(app), name="hourly", every="1h")

    async def steer() -> None:
        await schedule.apause()
        job = await schedule.atrigger()
        assert (await schedule.astatus()).last_job == job.id
        assert (await schedule.astatus()).state == "paused"
        await schedule.aresume()
        assert (await schedule.astatus()).state == "unattended"

    asyncio.run(steer())


def test_dates_and_start_and_end_bound_a_schedule(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    dates = [NOON + 2 * HOUR, NOON + HOUR, NOON - HOUR]
    once = app.schedule(call(app), name="dates", at=dates, overlap="allow")
    app.schedule(call(app), name="span", every="1h", start=NOON + 2 * HOUR, end=NOON + 4 * HOUR, overlap="allow")
    look(app)
    for hour in range(1, 6):
        set_clock(app, NOON + hour * HOUR)
        look(app)
    assert times_of(app, "dates") == [NOON + HOUR, NOON + 2 * HOUR], "a date before the first declaration is over"
    assert times_of(app, "span") == [NOON + 2 * HOUR, NOON + 3 * HOUR]
    assert once.status().state == "ended"


def test_jitter_delays_a_run_and_everybody_draws_the_same(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", jitter="20m", overlap="allow")
    look(app)
    for hour in (1, 2, 3):
        set_clock(app, NOON + hour * HOUR)
        look(app)
    delays = [
        status.run_at - status.scheduled_at for status in list_statuses(app) if status.run_at and status.scheduled_at
    ]
    assert len(set(delays)) == 3
    assert all(timedelta(0) < delay < timedelta(minutes=20) for delay in delays)
    assert times_of(app) == [NOON + hour * HOUR for hour in (1, 2, 3)]


# ── deploys ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def other(app: ph.Posthorse, store_url: str, clock: Clock) -> Iterator[ph.Posthorse]:
    """Yield another version of the application, or another application, on the same store."""
    other = ph.Posthorse(store_url, clock=clock)
    other.job(kind="report")(report)
    yield other
    other.close()


def test_the_declaration_of_the_worker_that_started_last_counts(app: ph.Posthorse, other: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app, 1), name="hourly", every="1h", overlap="allow")
    other.schedule(call(other, 2), name="hourly", every="2h", overlap="allow")
    older = look(app)
    newer = look(other)
    for hour in (1, 2, 3, 4):
        set_clock(app, NOON + hour * HOUR)
        look(app, by=older)
        look(other, by=newer)
    assert times_of(app) == [NOON + 2 * HOUR, NOON + 4 * HOUR]


@pytest.mark.tuning(take_back_after=0.0)
def test_older_code_takes_a_schedule_back_when_newer_code_is_gone(app: ph.Posthorse, other: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app, 1), name="hourly", every="1h", overlap="allow")
    other.schedule(call(other, 2), name="hourly", every="2h", overlap="allow")
    older = look(app)
    look(other)
    look(app, 2, by=older)  # from the first look on, it knows since when no other process looks after it
    set_clock(app, NOON + HOUR)
    look(app, by=older)
    assert times_of(app) == [NOON + HOUR]


def test_a_schedule_that_left_the_code_runs_no_more_and_others_are_left_alone(
    app: ph.Posthorse, other: ph.Posthorse
) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="allow")
    other.schedule(call(other), name="theirs", every="1h", overlap="allow")
    look(app)
    set_clock(app, NOON + HOUR)
    look(other, 2)
    assert times_of(app) == []
    [gone, theirs] = known_schedules(app)
    assert (gone.declared.name, theirs.declared.name) == ("hourly", "theirs")
    assert app.schedule(call(app), name="again", every="1h").status().state == "unattended"


def test_times_that_changed_count_from_the_change_on(app: ph.Posthorse, other: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h")
    other.schedule(call(other), name="hourly", cron="30 * * * *", misfire="all")
    look(app)
    set_clock(app, NOON + timedelta(minutes=50))
    look(other)
    assert times_of(app) == []
    set_clock(app, NOON + timedelta(minutes=90))
    look(other)
    assert times_of(app) == [NOON + timedelta(minutes=90)]


# ── races ────────────────────────────────────────────────────────────────────────────────────────────


def test_schedulers_that_race_make_one_job_for_each_time(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)  # no scheduler lets others go first
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="allow")
    schedulers = [look(app) for _ in range(4)]
    barrier = threading.Barrier(len(schedulers))

    def race(scheduler: Scheduler) -> None:
        for hour in range(1, 9):
            if barrier.wait() == 0:
                set_clock(app, NOON + hour * HOUR)
            barrier.wait()
            asyncio.run(scheduler.turn())
            barrier.wait()

    threads = [threading.Thread(target=race, args=[scheduler]) for scheduler in schedulers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert times_of(app) == [NOON + hour * HOUR for hour in range(1, 9)]


def test_who_looked_before_others_acted_does_nothing(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app), name="hourly", every="1h")
    look(app)
    [known] = known_schedules(app)
    assert known.row is not None
    declared, handled_until = known.declared, known.row.handled_until

    def pass_to(known: int, declared: Declared = declared) -> list[str] | None:
        later = handled_until + 3_600_000_000
        run = ScheduledRun(later, msgspec.structs.replace(declared.call, id=moved_to(new_id(), handled_until)))
        lanes = app.store.lanes({declared.call.lane})
        fired = app.store.run(fire(declared, [run], known=known, handled_until=later, terms=EntryTerms(lanes)))
        return None if fired is None else list(fired.jobs)

    assert pass_to(handled_until - 1) is None, "another process handled it"
    assert pass_to(handled_until, msgspec.structs.replace(declared, policies=Policies(jitter=1))) is None, (
        "it was changed"
    )
    schedule.pause()
    assert pass_to(handled_until) is None, "it was paused"
    assert list_statuses(app) == []


def test_a_schedule_that_cannot_be_run_keeps_no_other(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="broken", every="1h")
    app.schedule(call(app), name="hourly", every="1h")
    scheduler = look(app)
    errors = cycle([ph.StoreError("not now"), RuntimeError("a fault of ours")])

    def shaky(*args: object, name: str, **others: object) -> object:
        if name == "broken":
            raise next(errors)
        return job_at(*args, name=name, **others)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(scheduling, "job_at", shaky)
    set_clock(app, NOON + HOUR)
    look(app, 2, by=scheduler)
    assert (times_of(app, "broken"), times_of(app)) == ([], [NOON + HOUR])
    monkeypatch.undo()
    set_clock(app, NOON + HOUR + timedelta(minutes=10))
    look(app, by=scheduler)
    assert times_of(app, "broken") == [NOON + HOUR], "as misfire says of what could not be run"


def test_times_are_not_remembered_for_ever(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="often", every="2m", overlap="allow")
    scheduler = look(app)
    for hour in (1, 2, 30, 52):
        set_clock(app, NOON + hour * HOUR)
        look(app, by=scheduler)
    with app.store.transaction() as connection:
        table = app.store.backend.dialect.table("fires")
        rows = cast("Any", connection).execute(f"SELECT due_at FROM {table}").fetchall()
    assert sorted(moment(due_at) for (due_at,) in rows) == [NOON + 30 * HOUR, NOON + 52 * HOUR]


PROGRAM = """
import sys, time
import posthorse as ph

app = ph.Posthorse(sys.argv[1], lease="3s")

@app.job
def tick() -> None: ...

app.schedule(tick.bind(), name="tick", every="1s", overlap="allow", misfire=ph.Misfire("all", limit=1000))
with app.worker(queues=["nobody"]):
    print("works", flush=True)
    time.sleep(60)
"""


def test_processes_that_race_and_are_killed_make_one_job_for_each_time(store_url: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    watcher = ph.Posthorse(store_url)
    processes = [start(tmp_path, store_url, POSTHORSE_FAILPOINT="before_fire:kill:2")]
    try:
        until(lambda: processes[0].poll() is not None)
        assert processes[0].returncode == -signal.SIGKILL
        assert len(times_of(watcher, "tick")) == 1
        processes += [start(tmp_path, store_url) for _ in range(2)]
        until(lambda: len(times_of(watcher, "tick")) >= 3)
        processes[1].send_signal(signal.SIGKILL)
        enough = len(times_of(watcher, "tick")) + 2
        until(lambda: len(times_of(watcher, "tick")) >= enough)
        found = times_of(watcher, "tick")
        assert {later - time for time, later in pairwise(found)} == {timedelta(seconds=1)}, (
            "no time twice, none left out"
        )
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        watcher.close()


def start(folder: Path, url: str, **variables: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "program.py", url]
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **variables}, stderr=subprocess.DEVNULL)


def test_a_worker_runs_its_schedules(app: ph.Posthorse) -> None:
    schedule = app.schedule(call(app), name="hourly", every="1s", overlap="allow")
    with app.worker():
        until(lambda: schedule.status().last_job is not None)
        job = app.get_job(str(schedule.status().last_job))
        status = until_state(job, "completed")
    assert job.result() == str(status.scheduled_at)
    assert status.started_at is not None
    assert status.scheduled_at is not None
    assert timedelta(0) <= status.started_at - status.scheduled_at < timedelta(minutes=1)


def test_a_run_that_is_paused_is_not_over(app: ph.Posthorse) -> None:
    """It goes on when it is resumed, and would then overlap with the next one, which `overlap` forbids."""
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="skip")
    look(app)
    set_clock(app, NOON + HOUR)
    look(app)
    [first] = list_statuses(app)
    app.get_job(first.id).pause()
    set_clock(app, NOON + 2 * HOUR)
    look(app)
    assert times_of(app) == [NOON + HOUR]
    app.get_job(first.id).cancel()
    set_clock(app, NOON + 3 * HOUR)
    look(app)
    assert times_of(app) == [NOON + HOUR, NOON + 3 * HOUR]


@pytest.mark.parametrize("is_written", [False, True])
@pytest.mark.parametrize("broken", [1, 2, 3])
def test_wherever_a_look_is_broken_off_a_time_is_neither_lost_nor_run_twice(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch, broken: int, is_written: bool
) -> None:
    """A time is marked as handled in the commit of its job: no commit has one without the other."""
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="allow", misfire="all")
    scheduler = look(app)
    set_clock(app, NOON + HOUR)
    arun, commits = Store.arun, 0

    async def broken_off(self: Store, operation: Operation[object]) -> object:
        nonlocal commits
        commits += 1
        if commits == broken and not is_written:
            raise StoreUnreachable("away")
        written = await arun(self, operation)
        if commits == broken:
            raise OutcomeUnknown("the reply was lost")
        return written

    with monkeypatch.context() as patch:
        patch.setattr(Store, "arun", broken_off)
        with suppress(StoreError):
            look(app, by=scheduler)
    set_clock(app, NOON + HOUR)
    look(app)
    assert times_of(app) == [NOON + HOUR]


def test_where_only_policies_changed_the_times_before_the_deploy_still_count(
    app: ph.Posthorse, other: ph.Posthorse
) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h", overlap="skip")
    other.schedule(call(other), name="hourly", every="1h", overlap="allow", misfire="all")
    look(app)
    set_clock(app, NOON + 2.5 * HOUR)
    look(other)
    assert times_of(app) == [NOON + HOUR, NOON + 2 * HOUR]


def test_a_resume_of_a_schedule_that_is_not_paused_passes_no_time_over(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app), name="hourly", every="1h")
    look(app)
    set_clock(app, NOON + 1.5 * HOUR)
    schedule.resume()
    look(app)
    assert times_of(app) == [NOON + HOUR]


def test_a_time_that_is_passed_over_leaves_the_last_run_as_it_was(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    schedule = app.schedule(call(app), name="hourly", every="1h", overlap="skip")
    look(app)
    for hour in (1, 2):
        set_clock(app, NOON + hour * HOUR)
        look(app)
    [job] = list_statuses(app)
    status = schedule.status()
    assert (status.last_at, status.last_job, status.skipped) == (NOON + HOUR, job.id, 1)


def test_times_that_were_made_up_late_are_not_run_again_when_the_clock_is_put_back(app: ph.Posthorse) -> None:
    """They are long past, and were handled a moment ago: the later of the two counts."""
    set_clock(app, NOON)
    often = ph.Misfire("all", limit=1_700)
    schedule = app.schedule(call(app), name="often", every="2m", misfire=often, overlap="allow")
    look(app)
    set_clock(app, NOON + 60 * HOUR)
    look(app)
    for minute in (-2, 0):
        set_clock(app, NOON + 4 * HOUR + timedelta(minutes=minute))
        look(app)
    assert schedule.status().last_at == NOON + 4 * HOUR + AGAIN, "it was run, and comes again"


def test_after_a_time_was_run_the_next_one_is_waited_for_to_the_moment(app: ph.Posthorse) -> None:
    set_clock(app, NOON)
    app.schedule(call(app), name="hourly", every="1h")
    scheduler = look(app)
    set_clock(app, NOON + HOUR)
    look(app, by=scheduler)
    set_clock(app, NOON + 2 * HOUR - timedelta(seconds=3))
    assert asyncio.run(scheduler.turn()) <= 3
