"""The store's clock is set back or forward: nothing waits for as long as it stepped, and nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import posthorse as ph
from posthorse.clock import SECOND, Clock, microseconds, moment
from posthorse.maintenance.chores import all_chores
from posthorse.maintenance.chores.rescue import RescueFromSilentWorkers
from posthorse.maintenance.clock_steps import ClockSteps
from posthorse.maintenance.sweep import Sweeper
from posthorse.rules.job import Lane
from posthorse.rules.lifecycle import Policy
from posthorse.store.operations.checkpoints import Checkpoint, checkpoint
from posthorse.store.operations.claim import Claimed, Probe, claim
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.read import workers
from posthorse.store.operations.runners import Runner, beat, register, take_leadership
from posthorse.store.operations.store_facts import store_now
from tests.statuses import list_statuses
from tests.waiting import auntil, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LEASE = 3.0
HOUR = timedelta(hours=1)


@dataclass(slots=True)
class SteppingClock(Clock):
    """A clock that can be set; the time since the machine's boot goes on unchanged."""

    stepped: int = 0

    def step(self, by: timedelta) -> None:
        self.shift += microseconds(by)
        self.stepped += microseconds(by)

    def boot_now(self) -> int:
        return Clock.boot_now(self) - self.stepped


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def app(store_url: str, clock: SteppingClock) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, clock=clock, lease="6s", poll="0.2s")
    yield app
    app.close()


def now(app: ph.Posthorse) -> datetime:
    return moment(app.store.read(store_now()))


@asynccontextmanager
async def sweeping(app: ph.Posthorse, *, holder: str = "one") -> AsyncIterator[Sweeper]:
    chores = all_chores(app.store, lease=LEASE, policy=Policy(max_interruptions=10))
    sweeper = Sweeper(app.store, holder, chores, lease=LEASE)
    task = asyncio.create_task(sweeper.run_forever())
    try:
        yield sweeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def mend(app: ph.Posthorse) -> None:
    """Do the first look of a sweep that begins after the clock was set back."""
    await ClockSteps(app.store).look()


def hire(app: ph.Posthorse) -> str:
    """Register a runner without heartbeats."""
    runner = Runner(str(uuid.uuid4()), "silent", "h", 1, "0", 10, (), ("work",))
    app.store.run(register(runner, lease=round(LEASE * SECOND)))
    return runner.id


def take(app: ph.Posthorse, runner: str) -> list[Claimed]:
    lane = Lane("default", "work")
    return app.store.run(claim(runner, [Probe(app.store.lanes({lane})[lane], 0, 0)], 10))


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────


def test_rates_and_retry_budgets_go_on_after_the_clock_was_set_back(app: ph.Posthorse, clock: SteppingClock) -> None:
    app.queue("paced", rate="10/s")
    app.queue("frugal", retry_budget="5/s")

    @app.job(queue="paced")
    async def paced(n: int) -> int:
        return n

    @app.job(rate=ph.Rate("10/s", per="user"))
    async def fair(user: str, n: int) -> int:
        return n

    @app.job(queue="frugal", backoff=0, max_attempts=2)
    async def fails(n: int) -> int:
        raise ValueError

    def some() -> list[ph.Job[int]]:
        return [
            *app.enqueue_many([paced.bind(n) for n in range(12)]),
            *app.enqueue_many([fair.bind("a", n) for n in range(12)]),
            *app.enqueue_many([fails.bind(n) for n in range(7)]),
        ]

    def are_over(jobs: list[ph.Job[int]]) -> bool:
        return all(job.status().state.is_final for job in jobs)

    with app.worker(concurrency=20):
        jobs = some()
        until(lambda: are_over(jobs))
        jobs = some()
        clock.step(-HOUR)  # some of them wait for their tokens
        jobs += some()
        until(lambda: are_over(jobs))


def test_those_who_are_held_before_a_gate_go_on_though_nobody_else_comes(
    app: ph.Posthorse, clock: SteppingClock
) -> None:
    @app.job(rate=ph.Rate("2/s", per="user"))
    async def paced(user: str) -> None: ...

    with app.worker():
        jobs = app.enqueue_many([paced.bind("a") for _ in range(8)])
        until(lambda: any(job.status().state == "blocked" for job in jobs))
        clock.step(-HOUR)
        until(lambda: all(job.status().state.is_final for job in jobs))


def test_a_place_in_a_sequence_is_behind_those_given_before_the_clock_was_set_back(
    app: ph.Posthorse, clock: SteppingClock
) -> None:
    ran: list[int] = []

    @app.job(sequence=ph.Sequence(per="user"))
    async def ordered(user: str, n: int) -> None:
        ran.append(n)

    jobs = [ordered.using(queue="first").enqueue("a", 1)]
    clock.step(-HOUR)
    jobs += [ordered.using(queue="second").enqueue("a", 2), ordered.using(queue="first").enqueue("a", 3)]
    with app.worker():
        until(lambda: all(job.status().state.is_final for job in jobs))
    assert ran == [1, 2, 3]


# ── waits ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_seen", [True, False], ids=["while a worker runs", "while none runs"])
def test_waits_for_a_span_last_no_longer_and_moments_are_kept(
    app: ph.Posthorse, clock: SteppingClock, *, is_seen: bool
) -> None:
    """Delays, retries and snoozes are spans; `run_at` is a moment that users chose."""
    failed: list[int] = []

    @app.job(backoff="40s", max_attempts=2)
    async def flaky(n: int) -> int:
        if not failed:
            failed.append(n)
            raise ValueError
        return n

    @app.job
    async def work() -> None: ...

    with app.worker():
        retried = flaky.enqueue(1)
        until(lambda: failed and retried.status().state == "scheduled")
    delayed = work.using(delay="30s").enqueue()
    named = work.using(run_at=now(app) + timedelta(seconds=30)).enqueue()

    async def sweep() -> None:
        async with sweeping(app):
            await auntil(lambda: _has_duty(app))
            clock.step(-HOUR)
            await auntil(lambda: _is_due_within(app, delayed, timedelta(minutes=1)))

    if is_seen:
        asyncio.run(sweep())
    else:
        clock.step(-HOUR)
        asyncio.run(mend(app))
    for job in (retried, delayed):
        due = job.status().run_at
        assert due is not None
        assert timedelta(0) < due - now(app) <= timedelta(seconds=41), job
    due = named.status().run_at
    assert due is not None
    assert due - now(app) > timedelta(minutes=59)
    clock.advance(timedelta(seconds=42))
    with app.worker():
        until(lambda: retried.status().state == delayed.status().state == "completed")
    assert named.status().state == "scheduled"


async def _is_due_within(app: ph.Posthorse, job: ph.Job[None], span: timedelta) -> bool:
    due = (await job.astatus()).run_at
    return due is not None and due - now(app) < span


async def _has_duty(app: ph.Posthorse) -> bool:
    return not await app.store.arun(take_leadership("sweep", "nobody", span=round(LEASE * SECOND)))


def test_jobs_that_wait_in_line_expire_when_they_would_have(app: ph.Posthorse, clock: SteppingClock) -> None:
    @app.job(expires="20s")
    async def urgent() -> None: ...

    job = urgent.enqueue()
    clock.step(-HOUR)
    asyncio.run(mend(app))
    assert job.status().created_at <= now(app)
    clock.advance(timedelta(seconds=21))
    with app.worker():
        until(lambda: job.status().state.is_final)
    assert job.status().state == "cancelled"


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_and_windows_count_no_longer_after_the_clock_was_set_back(app: ph.Posthorse, clock: SteppingClock) -> None:
    @app.job
    async def work() -> None: ...

    @app.job(unique=ph.Unique(until="20s"))
    async def throttled() -> None: ...

    def ids() -> set[str]:
        return {work.using(key=ph.Key("k", ttl="20s")).enqueue().id, throttled.enqueue().id}

    first = ids()
    with app.worker():  # they are over, but their keys count
        until(lambda: all(app.get_job(id).status().state == "completed" for id in first))
    clock.step(-HOUR)
    asyncio.run(mend(app))
    asyncio.run(mend(app))
    assert ids() == first, "they still count"
    clock.advance(timedelta(seconds=21))
    assert not ids() & first


def test_keys_of_delayed_jobs_count_no_longer_either(app: ph.Posthorse, clock: SteppingClock) -> None:
    @app.job(unique=ph.Unique(until="20s"))
    async def throttled() -> None: ...

    @app.job
    async def work() -> None: ...

    def ids() -> list[str]:
        key = ph.Key("k", ttl="10s")
        return [
            throttled.using(delay="30m").enqueue().id,
            work.using(delay="30m", key=key).enqueue().id,
        ]

    first = ids()
    clock.step(-HOUR)
    asyncio.run(mend(app))
    assert ids() == first, "they still count"
    clock.advance(timedelta(seconds=21))
    assert not set(ids()) & set(first)


# ── schedules ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "by"),
    [
        ({"every": "1s"}, timedelta(minutes=-3)),
        ({"every": "1s"}, -timedelta(days=10)),
        ({"every": "1s"}, HOUR),
        ({"cron": "* * * * * *"}, timedelta(minutes=-3)),
        ({"every": "1s", "jitter": "0.9s"}, timedelta(minutes=-3)),
    ],
    ids=str,
)
def test_intervals_go_on_within_seconds_of_a_step(
    app: ph.Posthorse, clock: SteppingClock, options: Mapping[str, str], by: timedelta
) -> None:
    @app.job
    async def tick() -> None: ...

    app.schedule(tick.bind(), name="tick", misfire=ph.Misfire("all", limit=400), **options)  # type: ignore[arg-type]

    def instants(state: str = "completed") -> list[datetime]:
        found = [status for status in list_statuses(app, limit=1_000) if status.state == state]
        return [status.scheduled_at for status in found if status.scheduled_at is not None]

    with app.worker():
        until(instants)
        clock.step(timedelta(minutes=3))
        until(lambda: max(instants()) - min(instants()) > timedelta(minutes=2), what="the times between are dealt with")
        until(lambda: "jitter" not in options or instants("scheduled"), what="the next run waits for that job")
        clock.step(by)
        known = len(instants())
        until(lambda: len(instants()) >= known + 2)
    assert len(set(instants())) == len(instants())


# ── leases and duties ────────────────────────────────────────────────────────────────────────────────


def test_jobs_of_the_dead_are_free_when_their_lease_would_have_ended(app: ph.Posthorse, clock: SteppingClock) -> None:
    app.job(kind="work")(_work)
    job = ph.Kind[[], None](app, app.registry["work"]).enqueue()
    assert len(take(app, hire(app))) == 1
    clock.step(-HOUR)
    asyncio.run(mend(app))
    assert job.status().state == "processing"
    clock.advance(timedelta(seconds=LEASE + 1))

    async def sweep() -> None:
        async with sweeping(app):
            await auntil(lambda: _is_pending(job))

    asyncio.run(sweep())


def _work() -> None: ...


async def _is_pending(job: ph.Job[None]) -> bool:
    return (await job.astatus()).state == "pending"


def test_a_duty_of_the_dead_is_taken_when_it_would_have_ended(app: ph.Posthorse, clock: SteppingClock) -> None:
    span = round(LEASE * SECOND)
    assert app.store.run(take_leadership("sweep", "dead", span=span))
    clock.step(-HOUR)
    clock.advance(timedelta(seconds=LEASE + 1))
    assert app.store.run(take_leadership("sweep", "alive", span=span))
    assert not app.store.run(take_leadership("sweep", "other", span=span))


def test_runners_may_beat_before_they_are_judged_after_a_step_forward(app: ph.Posthorse, clock: SteppingClock) -> None:
    """F28: all leases end at once, only by the store's clock."""

    async def sweep() -> None:
        async with sweeping(app) as sweeper:
            await auntil(lambda: _knows_the_clock(sweeper))
            runner = await asyncio.to_thread(hire, app)
            clock.step(timedelta(days=1))
            await auntil(lambda: _is_clement(sweeper))
            assert (await app.store.arun(beat(runner, lease=60 * SECOND, running=0, draining=False))).is_alive
        assert [row.id for row in await app.store.aread(workers())] == [runner]

    asyncio.run(sweep())


async def _knows_the_clock(sweeper: Sweeper) -> bool:
    """Return whether it has looked at the clock: it cannot notice an earlier step forward."""
    return sweeper._clock_steps._ahead is not None  # pyright: ignore[reportPrivateUsage]


async def _is_clement(sweeper: Sweeper) -> bool:
    [rescues] = [chore for chore in sweeper._chores if isinstance(chore, RescueFromSilentWorkers)]  # pyright: ignore[reportPrivateUsage]
    return rescues._judges_from > 0  # pyright: ignore[reportPrivateUsage]


# ── long jobs ────────────────────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_lies_in_the_future_no_more(app: ph.Posthorse, clock: SteppingClock) -> None:
    """Attempts are counted since the last slice: a slice of tomorrow would forgive them all until then."""
    app.job(kind="work")(_work)
    job = ph.Kind[[], None](app, app.registry["work"]).enqueue()
    [claimed] = take(app, runner := hire(app))
    attempt = Fence(claimed.job, claimed.epoch, runner)
    app.store.run(checkpoint(attempt, Checkpoint(1, 2, "[]", None, "{}", "{}")))
    clock.step(-HOUR)
    asyncio.run(mend(app))
    with app.store.transaction() as connection:
        table = "posthorse_checkpoints" if app.store.backend.capabilities.is_file else "posthorse.checkpoints"
        row: tuple[int, int]
        [row] = connection.execute(f"SELECT updated_at, advanced_at FROM {table}").fetchall()  # type: ignore[attr-defined]
    assert max(row) <= now(app).timestamp() * 1_000_000
    assert job.status().state == "processing"


def test_a_clock_that_goes_on_is_not_taken_for_one_that_was_set(
    app: ph.Posthorse, clock: SteppingClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A sleep of the machine, or a test that moves the clock, moves the time since boot as well."""

    async def sweep() -> None:
        async with sweeping(app) as sweeper:
            await auntil(lambda: _has_duty(app))
            clock.advance(HOUR)
            await asyncio.sleep(0)
            for _ in range(3):
                await sweeper._look()  # pyright: ignore[reportPrivateUsage]
            assert not await _is_clement(sweeper)

    with caplog.at_level(logging.WARNING, "posthorse"):
        asyncio.run(sweep())
    assert not [record for record in caplog.records if "set back" in record.message]
    assert datetime.now(UTC) < now(app)
