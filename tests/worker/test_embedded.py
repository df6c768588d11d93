"""The embedded worker: how it begins, ends, fails, and recovers when its lease is gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import cast

import pytest

import posthorse as ph
from posthorse.errors import OutcomeUnknown, StoreUnreachable
from posthorse.rules.outcomes import Crashed
from posthorse.store.base import Operation
from posthorse.store.operations.read import running_count, workers
from posthorse.store.operations.runners import Runner, register, retire
from posthorse.store.store import Store
from posthorse.worker import embedded
from posthorse.worker.claiming.claim_values import Claim
from posthorse.worker.running.job_loop import JobLoop
from tests.waiting import until, until_state
from tests.worker.attempts import end_attempt


def test_a_worker_works_once(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)
    worker = app.worker()
    with worker:
        pass
    with pytest.raises(RuntimeError, match="another"), worker:
        pass
    app.close()


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "4", True, 10**6])
def test_a_concurrency_that_is_none_is_refused(sqlite_url: str, concurrency: int) -> None:
    with pytest.raises(ph.InvalidOption, match="concurrency is"):
        ph.Posthorse(sqlite_url).worker(concurrency=concurrency)


@pytest.mark.parametrize("queues", ["mail", ["*"], [""], ["a" * 300]])
def test_queues_that_are_none_are_refused(sqlite_url: str, queues: list[str]) -> None:
    with pytest.raises(ph.InvalidOption, match="queue"):
        ph.Posthorse(sqlite_url).worker(queues=queues)


def test_a_worker_is_entered_with_await_too(app: ph.Posthorse) -> None:
    @app.job
    async def answer() -> int:
        return 42

    async def main() -> int:
        async with app.worker():
            job = await answer.aenqueue()
            return await job.aresult(timeout=30)

    assert asyncio.run(main()) == 42


def test_a_store_that_is_away_is_told_to_whoever_enters() -> None:
    app = ph.Posthorse("sqlite:////proc/nowhere/jobs.db")
    with pytest.raises((ph.StoreError, OSError)), app.worker():
        pass


def test_interrupt_on_the_way_into_the_block_leaves_no_worker(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = app.worker()

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker._started, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.__enter__()
    assert worker.has_ended(30)


def test_an_error_inside_the_block_is_passed_on_and_the_worker_ends(app: ph.Posthorse) -> None:
    with pytest.raises(ZeroDivisionError), app.worker():
        raise ZeroDivisionError
    assert app.store.read(workers()) == []
    assert not [thread for thread in threading.enumerate() if thread.name in ("posthorse-worker", "posthorse-heart")]


def test_a_worker_that_broke_tells_so_when_its_block_is_left(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()

    async def breaking(self: JobLoop, room: int) -> Claim:
        broken.set()
        raise AssertionError("a fault of ours")

    monkeypatch.setattr(JobLoop, "_claim", breaking)
    with pytest.raises(AssertionError, match="a fault of ours"), app.worker():
        assert broken.wait(30)


def test_a_worker_that_was_given_up_begins_anew(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    """As when its machine slept longer than its lease: running jobs are lost, waiting ones are done."""
    began, go = threading.Event(), threading.Event()
    attempts: list[int] = []

    @app.job
    def slow() -> str:
        attempts.append(1)
        began.set()
        assert len(attempts) > 1 or go.wait(30)
        return f"run {len(attempts)}"

    heartbeat = ph.Posthorse(app.settings.url, lease="3s", heartbeat="200ms", poll="200ms")
    heartbeat.registry.add(app.registry["slow"])
    with heartbeat.worker(concurrency=2):
        job = slow.enqueue()
        assert began.wait(30)
        (before,) = app.store.read(workers())
        app.store.run(retire(before.id))
        until(lambda: "the lease of this runner is lost" in caplog.text, what="the loss to be told")
        until(lambda: [row.id for row in app.store.read(workers())] not in ([], [before.id]), what="a new incarnation")
        assert job.result(timeout=30) == "run 2"
        go.set()
    assert job.status().interruptions <= 1
    heartbeat.close()


def test_a_stop_between_two_incarnations_is_heard(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop that it would stop is gone, and the next one does not exist yet."""
    brief = ph.Posthorse(app.settings.url, lease="3s", heartbeat="200ms", poll="200ms")
    registered: list[str] = []

    def entering(runner: Runner, *, lease: int) -> Operation[None]:
        registered.append(runner.id)
        if len(registered) == 2:
            worker.stop()
        return register(runner, lease=lease)

    monkeypatch.setattr(embedded, "register", entering)
    worker = brief.worker()
    with worker:
        app.store.run(retire(registered[0]))
        assert worker.has_ended(timeout=30)
    assert len(registered) == 2
    assert app.store.read(workers()) == []
    brief.close()


def test_a_worker_does_not_wait_for_a_schema_that_does_not_fit(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = ph.Posthorse(app.settings.url, lease="3s", heartbeat="200ms", poll="200ms")
    registered: list[str] = []

    def entering(runner: Runner, *, lease: int) -> Operation[None]:
        registered.append(runner.id)
        if len(registered) > 1:
            raise ph.SchemaMismatch("made by a newer Posthorse")
        return register(runner, lease=lease)

    monkeypatch.setattr(embedded, "register", entering)
    worker = brief.worker().__enter__()
    app.store.run(retire(registered[0]))
    assert worker.has_ended(timeout=30)
    with pytest.raises(ph.SchemaMismatch):
        worker.__exit__(None, None, None)
    assert len(registered) == 2
    brief.close()


def test_a_lost_reply_to_a_claim_strands_no_job(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim happened and the runner does not know: it finds out what it holds, and gives that back."""

    @app.job
    async def answer() -> int:
        return 42

    lost = threading.Event()
    arun = Store.arun

    async def shaky(self: Store, operation: object) -> object:
        got: object = await arun(self, cast("Operation[object]", operation))
        if not lost.is_set() and isinstance(got, list) and got and type(got[0]).__name__ == "Claimed":
            lost.set()
            raise OutcomeUnknown("the reply was lost")
        return got

    monkeypatch.setattr(Store, "arun", shaky)
    jobs = app.enqueue_many([answer.bind() for _ in range(3)])
    with app.worker():
        assert [job.result(timeout=30) for job in jobs] == [42, 42, 42]
    assert lost.is_set()
    assert [job.status().interruptions for job in jobs] == [0, 0, 0]


def test_a_store_that_is_away_for_a_moment_loses_nothing(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    @app.job
    async def note(number: int) -> int:
        runs.append(number)
        return number

    away = threading.Event()
    failures: list[int] = []
    arun = Store.arun

    async def shaky(self: Store, operation: object) -> object:
        if away.is_set():
            failures.append(1)
            if len(failures) >= 4:
                away.clear()
            raise StoreUnreachable("away")
        return await arun(self, cast("Operation[object]", operation))

    monkeypatch.setattr(Store, "arun", shaky)
    with app.worker():
        note.enqueue(0).result(timeout=30)
        away.set()
        jobs = app.enqueue_many([note.bind(number) for number in range(1, 6)])
        assert [job.result(timeout=30) for job in jobs] == [1, 2, 3, 4, 5]
    assert sorted(runs) == list(range(6))


@pytest.mark.parametrize("is_async", [True, False])
def test_a_slot_is_free_again_after_a_job_was_cancelled(app: ph.Posthorse, is_async: bool) -> None:
    began = threading.Event()

    @app.job
    async def aendless() -> None:
        began.set()
        await asyncio.sleep(3600)

    @app.job
    def endless(ctx: ph.Context) -> None:
        while True:
            began.set()
            ctx.checkpoint()

    @app.job
    def after() -> str:
        return "after"

    with app.worker(concurrency=1):
        for _ in range(2):
            began.clear()
            job = aendless.enqueue() if is_async else endless.enqueue()
            assert began.wait(30)
            job.cancel()
            until_state(job, "cancelled")
        assert after.enqueue().result(timeout=30) == "after"
    assert app.store.read(running_count()) == 0


def test_a_job_that_starts_tasks_of_its_own_ends_without_them(app: ph.Posthorse) -> None:
    @app.job
    async def parent() -> str:
        task = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        return repr(task.done())

    with app.worker():
        assert parent.enqueue().result(timeout=30) == "False"


def test_a_pending_suspect_runs_alone(app: ph.Posthorse) -> None:
    """A job that may have killed its runner runs with nothing beside it."""
    from posthorse.rules.job import Lane
    from posthorse.rules.lifecycle import Policy, decide
    from posthorse.store.operations.claim import Probe, claim
    from posthorse.store.operations.fence import Fence
    from posthorse.store.operations.finish import Settlement, settle
    from posthorse.store.operations.runners import Runner, register

    guard, running = threading.Lock(), [0]
    most: dict[str, int] = {}

    @app.job
    def work(name: str) -> None:
        with guard:
            running[0] += 1
            most[name] = running[0]
        threading.Event().wait(0.02)
        with guard:
            running[0] -= 1
            most[name] = max(most[name], running[0] + 1)

    suspect = work.enqueue("suspect")
    store, lane = app.store, Lane("default", "work")
    runner = Runner("0b0f0000-0000-4000-8000-000000000001", "w", "h", 1, "0", 1, (), ())
    store.run(register(runner, lease=60_000_000))
    (claimed,) = store.run(claim(runner.id, [Probe(store.lanes({lane})[lane], 0, 0)], 1))
    from posthorse.rules.lifecycle import Spent

    transition = decide(Spent(), Crashed("segfault", alone=False), Policy())
    attempt = Fence(suspect.id, claimed.epoch, runner.id)
    assert store.run(settle(Settlement(attempt, transition, lane)))
    store.run(retire(runner.id))
    others = app.enqueue_many([work.bind(f"other {number}") for number in range(8)])
    with app.worker(concurrency=4):
        for job in [*others, suspect]:
            job.result(timeout=30)
    assert most["suspect"] == 1
    assert suspect.status().interruptions == 1


def test_a_suspect_does_not_join_those_that_run(app: ph.Posthorse) -> None:
    """It may kill its process, and no other job should be in there then: it waits until all have ended."""
    began, go = threading.Event(), threading.Event()

    @app.job
    def work(name: str) -> None:
        if name == "long":
            began.set()
            assert go.wait(30)

    with app.worker(concurrency=4):
        long, suspect = work.enqueue("long"), work.using(delay="1h").enqueue("suspect")
        assert began.wait(30)
        end_attempt(app, suspect, Crashed("segfault", alone=True))
        until_state(suspect, "pending")
        threading.Event().wait(0.3)  # for a claim, which should not come
        assert suspect.status().state == "pending"
        go.set()
        for job in (long, suspect):
            job.result(timeout=30)


def run_in_thread(function: Callable[[], None]) -> threading.Thread:
    """Start it at once."""
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_stop_may_be_called_from_anywhere_and_any_number_of_times(app: ph.Posthorse) -> None:
    worker = app.worker()
    worker.stop()
    with worker:
        threads = [run_in_thread(worker.stop) for _ in range(3)]
    for thread in threads:
        thread.join()
    worker.stop()
