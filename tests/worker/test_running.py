"""Running: an embedded worker runs what was enqueued, sync and async, in order, within its limits, on time."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

import posthorse as ph
from posthorse.clock import Clock
from posthorse.store.operations.finish import Completion, complete
from posthorse.store.operations.telling import Told
from posthorse.worker.running import completer
from tests.waiting import until, until_state


def test_async_and_sync_jobs_give_their_results(app: ph.Posthorse) -> None:
    @app.job
    async def add(a: int, b: int) -> int:
        return a + b

    @app.job
    def multiply(a: int, b: int) -> int:
        return a * b

    with app.worker(concurrency=2):
        sum_, product = add.enqueue(2, 3), multiply.enqueue(2, b=4)
        assert (sum_.result(timeout=30), product.result(timeout=30)) == (5, 8)

    status = product.status()
    assert status.state == "completed"
    assert status.attempt == 1
    assert status.started_at is not None
    assert status.finished_at is not None
    assert status.created_at <= status.started_at <= status.finished_at


def test_async_jobs_run_on_the_loop_and_sync_jobs_in_threads(app: ph.Posthorse) -> None:
    @app.job
    async def on_loop() -> str:
        asyncio.get_running_loop()
        return threading.current_thread().name

    @app.job
    def in_thread() -> str:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return threading.current_thread().name

    with app.worker(concurrency=2):
        names = on_loop.enqueue().result(timeout=30), in_thread.enqueue().result(timeout=30)

    assert names[0] == "posthorse-worker"
    assert names[1].startswith("posthorse-job")


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_as_many_jobs_run_at_once_as_allowed_and_no_more(app: ph.Posthorse, colour: str) -> None:
    running, most = 0, 0
    guard = threading.Lock()
    crowd = threading.Event()

    def enter() -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
            if running == 3:
                crowd.set()

    def leave() -> None:
        nonlocal running
        with guard:
            running -= 1

    if colour == "sync":

        @app.job(kind="work")
        def work(number: int) -> None:
            enter()
            assert crowd.wait(30)
            leave()

        calls = [work.bind(number) for number in range(20)]
    else:

        @app.job(kind="work")
        async def awork(number: int) -> None:
            enter()
            await asyncio.to_thread(crowd.wait, 10)
            leave()

        calls = [awork.bind(number) for number in range(20)]

    with app.worker(concurrency=3):
        for job in app.enqueue_many(calls):
            job.result(timeout=30)
    assert most == 3


def test_with_one_slot_jobs_run_first_come_first_served(app: ph.Posthorse) -> None:
    seen: list[int] = []

    @app.job
    async def note(number: int) -> None:
        seen.append(number)

    jobs = [note.enqueue(number) for number in range(20)]
    jobs += app.enqueue_many([note.bind(number) for number in range(20, 100)])
    with app.worker(concurrency=1):
        jobs[-1].result(timeout=30)
    assert seen == list(range(100))


def test_higher_priority_runs_first(app: ph.Posthorse) -> None:
    seen: list[int] = []

    @app.job
    def note(priority: int) -> None:
        seen.append(priority)

    priorities = [0, -100, 7, 100, 7, -1]
    jobs = [note.using(priority=priority).enqueue(priority) for priority in priorities]
    with app.worker(concurrency=1):
        for job in jobs:
            job.result(timeout=30)
    assert seen == sorted(priorities, reverse=True)


def test_a_delayed_job_starts_by_itself_and_not_before_its_time(app: ph.Posthorse) -> None:
    @app.job
    async def now() -> None: ...

    with app.worker():
        job = now.using(delay="700ms").enqueue()
        assert job.status().state == "scheduled"
        job.result(timeout=30)
    status = job.status()
    assert status.started_at is not None
    assert status.started_at - status.created_at >= timedelta(milliseconds=700)


def test_jobs_whose_time_comes_together_start_in_the_order_of_their_times(store_url: str) -> None:
    clock = Clock()
    app = ph.Posthorse(store_url, clock=clock, lease="6s")
    seen: list[int] = []

    @app.job
    async def note(number: int) -> None:
        seen.append(number)

    jobs = app.enqueue_many([note.using(delay=60 - number).bind(number) for number in range(10)])
    clock.advance(timedelta(seconds=70))
    with app.worker(concurrency=1):
        for job in jobs:
            job.result(timeout=30)
    assert seen == list(reversed(range(10)))
    app.close()


def test_a_fast_stream_of_thousands_runs_once_each(app: ph.Posthorse) -> None:
    seen: list[int] = []

    @app.job
    async def note(number: int) -> int:
        seen.append(number)
        return number

    with app.worker(concurrency=20):
        jobs: list[ph.Job[int]] = []
        for start in range(0, 3000, 250):
            jobs += app.enqueue_many([note.bind(number) for number in range(start, start + 250)])
        assert [job.result(timeout=60) for job in jobs[::97]] == list(range(3000))[::97]
        until(lambda: len(seen) >= 3000, what="all have run")
        jobs[-1].result(timeout=30)
    assert sorted(seen) == list(range(3000))
    assert {job.status().state for job in jobs[::61]} == {"completed"}


@pytest.mark.tuning(max_result_characters=1_000)
def test_heavy_results_are_written_a_few_at_a_time(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[int] = []

    def noting(runner: str, completions: Sequence[Completion], told: Told) -> object:
        weights.append(sum(len(completion.result) for completion in completions[:-1]))
        return complete(runner, completions, told)

    monkeypatch.setattr(completer, "complete", noting)

    @app.job
    async def long() -> str:
        return "r" * 398  # and two quotes

    jobs = app.enqueue_many([long.bind() for _ in range(300)])
    with app.worker():
        for job in jobs:
            assert job.result(timeout=30) == "r" * 398
    assert max(weights) == 800  # and one more


def test_only_the_queues_that_were_named_are_served(app: ph.Posthorse) -> None:
    @app.job(queue="mail")
    def letter() -> None: ...

    @app.job(queue="video")
    def film() -> None: ...

    other = film.enqueue()
    with app.worker(queues=["mail"]):
        letter.enqueue().result(timeout=30)
        assert other.status().state == "pending"
    with app.worker():
        other.result(timeout=30)


def test_unknown_kinds_wait_untouched(store_url: str, app: ph.Posthorse) -> None:
    newer = ph.Posthorse(store_url)

    @newer.job
    def news() -> str:
        return "newer"

    @app.job
    def known() -> None: ...

    unknown = news.enqueue()
    with app.worker():
        known.enqueue().result(timeout=30)
    status = unknown.status()
    assert (status.state, status.attempt, status.interruptions) == ("pending", 1, 0)
    with newer.worker():
        assert unknown.result(timeout=30) == "newer"
    newer.close()


_colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@pytest.mark.parametrize("is_async", [True, False])
def test_what_a_job_leaves_in_its_context_the_next_does_not_see(app: ph.Posthorse, is_async: bool) -> None:
    def paint(number: int) -> str:
        before = _colour.get()
        _colour.set(f"colour {number}")
        return before

    async def apaint(number: int) -> str:
        return paint(number)

    kind = app.job(kind="paint")(apaint) if is_async else app.job(kind="paint")(paint)
    with app.worker(concurrency=1):
        jobs = app.enqueue_many([kind.bind(number) for number in range(5)])
        jobs += [kind.enqueue(number) for number in range(5)]
        assert {job.result(timeout=30) for job in jobs} == {"none"}


def test_several_workers_in_one_process_share_the_jobs(app: ph.Posthorse) -> None:
    both = threading.Barrier(2)

    @app.job
    def meet() -> None:
        both.wait(30)

    with app.worker(concurrency=1), app.worker(concurrency=1):
        for job in app.enqueue_many([meet.bind() for _ in range(6)]):
            job.result(timeout=30)


def test_a_job_may_enqueue_and_ask_about_jobs(app: ph.Posthorse) -> None:
    @app.job
    async def child(number: int) -> int:
        return number * 2

    @app.job
    async def parent() -> int:
        job = await child.aenqueue(21)
        return await job.aresult(timeout=30)

    @app.job
    def sync_parent() -> int:
        return child.enqueue(4).result(timeout=30)

    with app.worker(concurrency=3):
        assert parent.enqueue().result(timeout=30) == 42
        assert sync_parent.enqueue().result(timeout=30) == 8


def test_a_worker_picks_up_work_at_once_after_idling(app: ph.Posthorse) -> None:
    """It is woken, and does not poll: the poll of this worker comes far too late."""

    @app.job
    async def now() -> None: ...

    patient = ph.Posthorse(app.settings.url, lease="6s", poll="10m")
    patient.registry.add(app.registry["now"])
    with patient.worker():
        for _ in range(2):
            now.enqueue().result(timeout=30)
    patient.close()


def test_enqueued_while_nobody_works_it_runs_later(app: ph.Posthorse) -> None:
    @app.job
    def late() -> str:
        return "ran"

    job = late.enqueue()
    assert job.status().state == "pending"
    with app.worker():
        assert until_state(job, "completed").state == "completed"
