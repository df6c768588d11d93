"""The sweep: jobs of dead runners are freed within their budgets, and due jobs become pending in order."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
import pytest

import posthorse as ph
from posthorse.clock import SECOND, Clock
from posthorse.errors import StoreUnreachable
from posthorse.maintenance.chores import all_chores
from posthorse.maintenance.chores.base import Chore
from posthorse.maintenance.chores.expired_keys import ForgetExpiredKeys
from posthorse.maintenance.chores.rescue import RescueFromSilentWorkers
from posthorse.maintenance.sweep import CLOSEST_LOOKS, LEADERSHIP, Sweeper
from posthorse.rules.job import Lane
from posthorse.rules.lifecycle import Policy
from posthorse.rules.tuning import Tuning
from posthorse.store.base import Operation, QuerySteps, operation, query
from posthorse.store.operations.checkpoints import Checkpoint, checkpoint
from posthorse.store.operations.claim import Claimed, Probe, claim
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.gates import tend_gates
from posthorse.store.operations.read import events, workers
from posthorse.store.operations.runners import (
    Held,
    NextDue,
    Runner,
    beat,
    next_due,
    orphans,
    register,
    rescue_expired,
    retire,
    take_leadership,
)
from posthorse.store.store import Store
from tests.waiting import auntil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

C = TypeVar("C", bound=Chore)

LEASE = 3.0
LANE = Lane("default", "work")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(store_url: str, clock: Clock, tuning: Tuning) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, clock=clock, tuning=tuning)
    app.job(kind="work")(work)
    yield app
    app.close()


def work(number: int = 0) -> None: ...


def enqueue(app: ph.Posthorse, count: int = 1, delay: float | None = None) -> list[ph.Job[object]]:
    kind: ph.Kind[[], object] = ph.Kind(app, app.registry["work"])
    return app.enqueue_many([(kind if delay is None else kind.using(delay=delay)).bind() for _ in range(count)])


def hire(app: ph.Posthorse) -> str:
    """Register a runner without heartbeats."""
    runner = Runner(str(uuid.uuid4()), "silent", "h", 1, "0", 10, (), ("work",))
    app.store.run(register(runner, lease=round(LEASE * 1_000_000)))
    return runner.id


def take(app: ph.Posthorse, runner: str, room: int = 10) -> list[Claimed]:
    number = app.store.lanes({LANE})[LANE]
    return app.store.run(claim(runner, [Probe(number, 0, 0)], room))


def sweeper(app: ph.Posthorse, holder: str = "one", *, max_interruptions: int = 10, lease: float = LEASE) -> Sweeper:
    chores = all_chores(app.store, lease=lease, policy=Policy(max_interruptions=max_interruptions))
    return Sweeper(app.store, holder, chores, lease=lease)


def chore_of(made: Sweeper, kind: type[C]) -> C:
    [chore] = [chore for chore in made._chores if isinstance(chore, kind)]
    return chore


def rescues_of(made: Sweeper) -> RescueFromSilentWorkers:
    return chore_of(made, RescueFromSilentWorkers)


@asynccontextmanager
async def sweeping(made: Sweeper) -> AsyncIterator[None]:
    task = asyncio.create_task(made.run_forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def state_is(job: ph.Job[object], state: str) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return (await job.astatus()).state == state

    return check


def test_the_jobs_of_a_runner_that_fell_silent_go_to_others_unspent(app: ph.Posthorse, clock: Clock) -> None:
    jobs = enqueue(app, 3)
    assert len(take(app, hire(app))) == 3
    clock.advance(timedelta(seconds=LEASE + 1))

    async def sweep() -> None:
        async with sweeping(sweeper(app)):
            for job in jobs:
                await auntil(state_is(job, "pending"))

    asyncio.run(sweep())
    status = jobs[0].status()
    assert (status.attempt, status.interruptions, status.crashes) == (1, 1, 0)
    assert status.reason == "its worker fell silent"
    [attempt] = jobs[0].attempts()
    assert (attempt.outcome, attempt.worker, attempt.started_at is not None) == ("lost", "silent", True)
    assert [event.name for event in app.store.read(events(jobs[0].id))] == ["lost"]
    assert app.store.read(workers()) == []


def test_a_runner_that_beats_keeps_its_jobs(app: ph.Posthorse, clock: Clock) -> None:
    silent, alive = hire(app), hire(app)
    lost, kept = enqueue(app, 2)
    assert [got.job for got in take(app, silent, 1)] == [lost.id]
    assert [got.job for got in take(app, alive, 1)] == [kept.id]
    clock.advance(timedelta(seconds=LEASE - 0.5))
    app.store.run(beat(alive, lease=60_000_000, running=1, draining=False))
    clock.advance(timedelta(seconds=1))

    async def sweep() -> None:
        async with sweeping(sweeper(app)):
            await auntil(state_is(lost, "pending"))

    asyncio.run(sweep())
    assert kept.status().state == "processing"
    assert [row.id for row in app.store.read(workers())] == [alive]


def test_leases_without_a_runner_are_freed(app: ph.Posthorse) -> None:
    (job,) = enqueue(app)
    runner = hire(app)
    take(app, runner)
    app.store.run(retire(runner))

    async def sweep() -> None:
        async with sweeping(sweeper(app)):
            await auntil(state_is(job, "pending"))

    asyncio.run(sweep())
    assert job.status().interruptions == 1


def test_a_job_that_is_lost_again_and_again_is_given_up(app: ph.Posthorse) -> None:
    (job,) = enqueue(app)

    async def lose() -> None:
        async with sweeping(sweeper(app, max_interruptions=3)):
            for expected in ("pending", "pending", "failed"):
                runner = await asyncio.to_thread(hire, app)
                assert len(await asyncio.to_thread(take, app, runner)) == 1
                await app.store.arun(retire(runner))
                await auntil(state_is(job, expected))

    asyncio.run(lose())
    status = job.status()
    assert (status.reason, status.interruptions, status.attempt) == ("no progress", 3, 1)
    assert status.error is not None
    assert "interrupted 3 times without progress" in status.error.message
    assert status.finished_at is not None


def test_a_committed_slice_clears_the_count_of_losses(app: ph.Posthorse) -> None:
    (job,) = enqueue(app)
    at = Checkpoint(1, None, "[]", None, "{}", "{}")

    async def lose() -> None:
        async with sweeping(sweeper(app, max_interruptions=2)):
            for _ in range(4):
                runner = await asyncio.to_thread(hire, app)
                (got,) = await asyncio.to_thread(take, app, runner)
                assert await app.store.arun(checkpoint(Fence(got.job, got.epoch, runner), at)) is not None
                await app.store.arun(retire(runner))
                await auntil(state_is(job, "pending"))

    asyncio.run(lose())
    assert job.status().interruptions == 1


def test_a_request_reaches_a_job_whose_worker_died_before_it_heard(app: ph.Posthorse) -> None:
    paused, cancelled = enqueue(app, 2)
    runner = hire(app)
    take(app, runner)
    paused.pause()
    cancelled.cancel()
    app.store.run(retire(runner))

    async def sweep() -> None:
        async with sweeping(sweeper(app)):
            await auntil(state_is(paused, "paused"))
            await auntil(state_is(cancelled, "cancelled"))

    asyncio.run(sweep())


def test_jobs_whose_time_has_come_are_lined_up_in_the_order_of_their_times(app: ph.Posthorse, clock: Clock) -> None:
    late, early = enqueue(app, delay=60), enqueue(app, delay=30)
    (ahead,) = enqueue(app, delay=3600)
    clock.advance(timedelta(seconds=70))

    async def sweep() -> None:
        async with sweeping(sweeper(app)):
            await auntil(state_is(late[0], "pending"))

    asyncio.run(sweep())
    assert [got.job for got in take(app, hire(app))] == [early[0].id, late[0].id]
    assert ahead.status().state == "scheduled"


@pytest.fixture
def neighbour(app: ph.Posthorse, clock: Clock) -> Iterator[ph.Posthorse]:
    """Yield the same application as another process has it: its writes notify no one here."""
    neighbour = ph.Posthorse(app.settings.url, clock=clock)
    neighbour.job(kind="work")(work)
    yield neighbour
    neighbour.close()


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list of the times of all looks for due jobs, from now on."""
    looks: list[float] = []

    def look() -> object:
        looks.append(time.monotonic())
        return next_due()

    monkeypatch.setattr("posthorse.maintenance.clock_steps.next_due", look)
    return looks


@pytest.mark.tuning(max_sweep_pause=3600.0)
def test_a_job_that_a_neighbour_delays_for_a_moment_wakes_the_sweep(
    app: ph.Posthorse, neighbour: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count_looks(monkeypatch)

    async def rested() -> bool:
        return bool(looks) and time.monotonic() - looks[-1] > 0.2

    async def sweep() -> None:
        # Only a write wakes it in time, where writes notify.
        made = sweeper(app, lease=3600)
        rescues_of(made)._interval = 3600.0
        async with sweeping(made):
            if app.store.backend.capabilities.is_file:
                await auntil(rested)
            for delay in (0.03, 0.3, 0.03):
                (job,) = await asyncio.to_thread(enqueue, neighbour, 1, delay)
                await auntil(state_is(job, "pending"))

    asyncio.run(sweep())


def test_however_much_is_written_the_sweep_looks_only_so_often(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count_looks(monkeypatch)
    app, neighbour = ph.Posthorse(sqlite_url), ph.Posthorse(sqlite_url)
    for one in (app, neighbour):
        one.job(kind="work")(work)

    def write() -> None:
        for _ in range(5_000):
            enqueue(neighbour)
            if len(looks) > 5:
                return

    async def sweep() -> None:
        async with sweeping(sweeper(app)):
            await asyncio.to_thread(write)

    asyncio.run(sweep())
    app.close()
    neighbour.close()
    between = looks[1:]  # there was no wake before the first
    assert len(between) > 4
    # On a busy machine one may be late, and the next in time; together they keep the distance.
    assert between[-1] - between[0] > (len(between) - 2) * CLOSEST_LOOKS


@pytest.mark.tuning(due_at_once=3)
def test_more_jobs_than_fit_one_turn_are_all_lined_up(app: ph.Posthorse, clock: Clock) -> None:
    jobs = enqueue(app, 10, delay=5)
    clock.advance(timedelta(seconds=6))

    async def sweep() -> None:
        async with sweeping(sweeper(app)):
            for job in jobs:
                await auntil(state_is(job, "pending"))

    asyncio.run(sweep())
    assert [got.job for got in take(app, hire(app))] == [job.id for job in jobs]


def test_one_sweeps_at_a_time_and_the_next_takes_over_without_delay(app: ph.Posthorse) -> None:
    """This needs no pause: a process without leadership was not held up, so it may judge at once."""
    (job,) = enqueue(app)

    async def sweep() -> None:
        first, second = sweeper(app, "one"), sweeper(app, "two")
        rescues = rescues_of(second)
        rescues._patience, rescues._clemency = 1000.0, 3600.0
        rescues._ran_at -= 2000.0

        async def has_duty() -> bool:
            return first.leads

        async def knows_that_it_was_not_held_up() -> bool:
            return time.monotonic() - rescues._ran_at < 1000.0

        async with sweeping(first):
            await auntil(has_duty)
            async with sweeping(second):
                await auntil(knows_that_it_was_not_held_up)
                assert second._leads_until == 0.0
        runner = await asyncio.to_thread(hire, app)
        await asyncio.to_thread(take, app, runner)
        app.store.clock.advance(timedelta(seconds=LEASE + 0.1))
        async with sweeping(second):
            await auntil(state_is(job, "pending"))

    asyncio.run(sweep())


def test_a_store_that_is_away_for_a_moment_does_not_end_the_sweep(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = enqueue(app)
    runner = hire(app)
    take(app, runner)
    app.store.run(retire(runner))
    failures: list[int] = []
    arun = Store.arun

    async def shaky(self: Store, operation: object) -> object:
        if len(failures) < 2:
            failures.append(1)
            raise StoreUnreachable("away") if len(failures) == 1 else RuntimeError("a fault of ours")
        return await arun(self, operation)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(Store, "arun", shaky)

    async def sweep() -> None:
        async with sweeping(sweeper(app)):
            await auntil(state_is(job, "pending"))

    asyncio.run(sweep())
    assert len(failures) == 2


# ── held up itself ───────────────────────────────────────────────────────────────────────────────────


HELD_UP = 3600.0
"""A lease in seconds so long that a busy machine cannot exceed it during a test."""


class SlowSweep:
    """A sweep whose machine clock the test controls: it goes on, and jumps forward by hours."""

    def __init__(self, app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sweeper = sweeper(app, lease=HELD_UP)
        self.count = 0
        """How often it judged, or let others send heartbeats first."""
        self._store = app.store
        self._ahead = 0.0
        for module in ("sweep", "chores.line_up", "chores.base", "chores.rescue", "chores.expired"):
            monkeypatch.setattr(f"posthorse.maintenance.{module}.monotonic", self.monotonic)
        monkeypatch.setattr("posthorse.maintenance.chores.rescue.orphans", self.look)

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def pass_time(self, seconds: float) -> None:
        self._ahead += seconds

    def look(self, limit: int) -> Operation[list[Held]]:
        self.count += 1
        return orphans(limit)

    async def runners_after(self, sweeps: int) -> list[str]:
        """Return the registered runners after this many more sweeps, one after the other."""
        for _ in range(sweeps):
            self.pass_time(HELD_UP / 6)
            before = self.count

            async def is_over(before: int = before) -> bool:
                return self.count > before

            await auntil(is_over)
        return [row.id for row in await self._store.aread(workers())]


@pytest.mark.tuning(max_sweep_pause=0.02)
def test_a_sweep_that_was_held_up_lets_others_beat_before_it_judges(
    app: ph.Posthorse, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the machine slept: runners that slept with it first renew their leases, and keep their jobs."""
    slow, silent = SlowSweep(app, monkeypatch), hire(app)

    async def sweep() -> None:
        async with sweeping(slow.sweeper):
            await slow.runners_after(1)
            slow.pass_time(HELD_UP)
            clock.advance(timedelta(seconds=LEASE + 1))
            assert await slow.runners_after(2) == [silent]
            assert await slow.runners_after(3) == []

    asyncio.run(sweep())


@pytest.mark.tuning(max_sweep_pause=0.02)
def test_a_sweep_whose_turn_at_the_store_came_late_counts_as_held_up(
    app: ph.Posthorse, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, silent = SlowSweep(app, monkeypatch), hire(app)
    turns: list[float] = []

    def late_once(*, grace: int, until: float) -> Operation[list[tuple[str, str]]]:
        turns.append(until)
        if len(turns) == 2:
            slow.pass_time(HELD_UP)
            return rescue_expired(grace=grace, until=0.0)
        return rescue_expired(grace=grace)

    monkeypatch.setattr("posthorse.maintenance.chores.rescue.rescue_expired", late_once)

    async def sweep() -> None:
        async with sweeping(slow.sweeper):
            await slow.runners_after(1)
            clock.advance(timedelta(seconds=LEASE + 1))
            assert await slow.runners_after(2) == [silent]
            assert len(turns) == 2
            assert await slow.runners_after(3) == []

    asyncio.run(sweep())


def test_whoever_ends_leaves_the_duty_to_the_next(app: ph.Posthorse) -> None:
    async def sweep() -> None:
        first = sweeper(app, lease=HELD_UP)

        async def has_duty() -> bool:
            return first.leads

        async with sweeping(first):
            await auntil(has_duty)
        assert await app.store.arun(take_leadership(LEADERSHIP, "two", span=round(HELD_UP / 3 * SECOND)))

    asyncio.run(sweep())


def test_a_job_that_somebody_is_changing_does_not_keep_the_sweep_from_others(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A due job that is locked becomes pending at a later look; until then there is other work."""
    app = ph.Posthorse(postgres_url)
    app.job(kind="work")(work)
    (held,) = enqueue(app)
    runner = hire(app)
    take(app, runner)
    (locked,) = enqueue(app, delay=0.001)
    app.store.run(retire(runner))

    async def sweep() -> None:
        with psycopg.connect(postgres_url) as other:
            other.execute("SELECT 1 FROM posthorse.jobs WHERE id = %s FOR UPDATE", (locked.id,))
            async with sweeping(sweeper(app)):
                await auntil(is_free)

    async def is_free() -> bool:
        found = await app.store.aread(events(held.id))
        return [event.name for event in found] == ["lost"]

    asyncio.run(sweep())
    app.close()


@pytest.mark.tuning(keys_at_once=3, keys_interval=3600.0)
def test_expired_keys_are_forgotten_batch_by_batch_until_none_is_left(app: ph.Posthorse, clock: Clock) -> None:
    kind: ph.Kind[[], object] = ph.Kind(app, app.registry["work"])
    for number in range(10):
        kind.using(key=ph.Key(f"key {number}", ttl="1m")).enqueue()
    clock.advance(timedelta(minutes=2))
    forgotten: list[int] = []
    made = sweeper(app)
    chore_of(made, ForgetExpiredKeys)._due_at = 0.0  # now, and then only for the next batch

    async def is_done() -> bool:
        table = app.store.backend.dialect.table("keys")
        with app.store.transaction() as connection:
            [[left]] = cast("Any", connection).execute(f"SELECT count(*) FROM {table}").fetchall()
        forgotten.append(10 - left)
        return bool(left == 0)

    async def sweep() -> None:
        async with sweeping(made):
            await auntil(is_done)

    asyncio.run(sweep())
    assert set(forgotten) <= {0, 3, 6, 9, 10}


@pytest.mark.tuning(free_gates_interval=0.0)
def test_gates_that_nobody_passes_are_tended_like_those_that_are_due(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    @operation
    def due(limit: int) -> QuerySteps[list[str]]:
        yield query("now")
        return ["due"]

    @operation
    def neglected(limit: int) -> QuerySteps[list[str]]:
        yield query("now")
        return ["neglected"]

    tended: list[tuple[Sequence[str], Sequence[str]]] = []

    def tend(gates: Sequence[str], others: Sequence[str]) -> Operation[None]:
        tended.append((gates, others))
        return tend_gates(gates, others)

    monkeypatch.setattr("posthorse.maintenance.chores.gates.gates_to_tend", due)
    monkeypatch.setattr("posthorse.maintenance.chores.gates.neglected_gates", neglected)
    monkeypatch.setattr("posthorse.maintenance.chores.gates.tend_gates", tend)

    async def is_tended() -> bool:
        return bool(tended)

    async def sweep() -> None:
        async with sweeping(sweeper(app)):
            await auntil(is_tended)

    asyncio.run(sweep())
    assert tended[0] == (["due"], ["neglected"])


# ── chores ───────────────────────────────────────────────────────────────────────────────────────────


class Fails(Chore):
    name = "do what always fails"

    def __init__(self) -> None:
        self.tried = 0

    def due_in(self, look: NextDue | None) -> float:
        return 0.0

    async def run(self, look: NextDue | None) -> NextDue | None:
        self.tried += 1
        raise RuntimeError("a fault of ours")


def test_a_chore_that_fails_rests_and_keeps_no_other_from_its_turn(
    app: ph.Posthorse, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (job,) = enqueue(app, delay=30)
    clock.advance(timedelta(seconds=31))
    fails = Fails()

    async def sweep() -> None:
        chores = [fails, *all_chores(app.store, lease=LEASE, policy=Policy())]
        async with sweeping(Sweeper(app.store, "one", chores, lease=LEASE)):
            await auntil(state_is(job, "pending"))

    asyncio.run(sweep())
    assert fails.tried == 1
    assert "cannot do what always fails" in caplog.text


class EveryProcess(Fails):
    name = "be everywhere"
    by_every_process = True

    async def run(self, look: NextDue | None) -> NextDue | None:
        self.tried += 1
        return look


def test_a_process_that_does_not_lead_runs_the_chores_of_every_process_alone(app: ph.Posthorse) -> None:
    everywhere, leaders = EveryProcess(), Fails()

    async def sweep() -> None:
        async with sweeping(first := sweeper(app)):
            await auntil(leading(first))
            async with sweeping(Sweeper(app.store, "two", [leaders, everywhere], lease=LEASE)):
                await auntil(has_run)

    async def has_run() -> bool:
        return everywhere.tried > 0

    asyncio.run(sweep())
    assert leaders.tried == 0


def leading(sweeper: Sweeper) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return sweeper.leads

    return check
