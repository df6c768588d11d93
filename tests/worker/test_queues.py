"""Queues: workers do what their settings say: which lanes are open, in which order, for how long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

import posthorse as ph
from posthorse.worker.claiming.lane_sampling import FEW
from tests.waiting import until, until_state


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, lease="6s", poll="0.2s")
    yield app
    app.close()


def test_a_paused_queue_waits_and_goes_on_on_every_worker(app: ph.Posthorse) -> None:
    @app.job(queue="mail")
    async def letter() -> None: ...

    @app.job
    async def other() -> None: ...

    elsewhere = ph.Posthorse(app.settings.url)
    elsewhere.queue("mail").pause()
    with app.worker():
        paused = letter.enqueue()
        other.enqueue().result(timeout=30)
        assert paused.status().state == "pending"
        elsewhere.queue("mail").resume()
        paused.result(timeout=30)
        elsewhere.queue("mail").pause()
        late: list[ph.Job[None]] = []

        def is_left_alone() -> bool:
            late.append(letter.enqueue())
            other.enqueue().result(timeout=30)
            return late[-1].status().state == "pending"

        until(is_left_alone, what="the worker hears of the pause")
        elsewhere.queue("mail").reset()
        late[-1].result(timeout=30)
    elsewhere.close()


def test_shares_of_real_work_are_those_of_the_weights(app: ph.Posthorse) -> None:
    began: list[str] = []

    @app.job
    async def work(queue: str) -> None:
        began.append(queue)

    app.queue("gold", weight=4)
    calls = [work.using(queue=queue).bind(queue) for queue in ("lead", "gold") for _ in range(200)]
    app.enqueue_many(calls)
    with app.worker(concurrency=5):
        until(lambda: len(began) == 400)
    shares = Counter(began[:200])
    assert abs(shares["gold"] - 160) <= 10, shares


def test_jobs_in_hundreds_of_queues_are_all_done_and_so_is_what_comes_to_one_of_them(app: ph.Posthorse) -> None:
    done: list[str] = []

    @app.job
    async def work(queue: str) -> None:
        done.append(queue)

    queues = [f"queue {number}" for number in range(FEW + 50)]
    app.enqueue_many([work.using(queue=queue).bind(queue) for queue in queues * 2])
    with app.worker(concurrency=5):
        until(lambda: len(done) == 2 * len(queues))
        work.using(queue=queues[7]).enqueue("late").result(timeout=30)
        work.using(queue="new").enqueue("new").result(timeout=30)
    assert Counter(done) == dict.fromkeys(queues, 2) | {"late": 1, "new": 1}


def test_a_limit_of_a_queue_holds_among_hundreds(app: ph.Posthorse) -> None:
    inside, most, done = 0, 0, 0

    @app.job
    async def work() -> None:
        nonlocal inside, most, done
        inside, most = inside + 1, max(most, inside + 1)
        await asyncio.sleep(0)
        inside, done = inside - 1, done + 1

    @app.job
    async def free() -> None: ...

    app.queue("queue 3", concurrency=1)
    app.enqueue_many([free.using(queue=f"queue {number}").bind() for number in range(FEW + 50)])
    app.enqueue_many([work.using(queue="queue 3").bind()] * 5)
    with app.worker(concurrency=5):
        until(lambda: done == 5)
    assert most == 1


def test_the_newest_comes_first_in_a_stack(app: ph.Posthorse) -> None:
    order: list[int] = []

    @app.job(queue="stack")
    async def push(number: int) -> None:
        order.append(number)

    app.queue("stack", order="lifo")
    for number in range(5):
        push.enqueue(number)
    with app.worker(concurrency=1):
        until(lambda: len(order) == 5)
    assert order == [4, 3, 2, 1, 0]


def test_an_old_job_of_low_priority_is_not_starved(app: ph.Posthorse) -> None:
    stop = threading.Event()

    @app.job
    async def flood() -> None:
        if not stop.is_set():
            await flood.using(priority=10).aenqueue()
        await asyncio.sleep(0.03)  # slow enough that nothing is claimed ahead
        order.append("flood")

    @app.job
    async def humble() -> None:
        order.append("humble")

    order: list[str] = []
    app.queue("default", ageing="0.02s")
    app.enqueue_many([flood.using(priority=10).bind() for _ in range(5)])
    with app.worker(concurrency=1):
        until(lambda: len(order) > 5)
        job = humble.enqueue()
        until_state(job, "completed")
        stop.set()


def test_labels_of_a_worker_decide_what_it_takes(app: ph.Posthorse) -> None:
    @app.job(queue="gpu")
    async def render() -> None: ...

    @app.job
    async def plain() -> None: ...

    app.queue("gpu", labels={"instance_type": "g5"})
    job = render.enqueue()
    with app.worker():
        plain.enqueue().result(timeout=30)
        assert job.status().state == "pending"
        with app.worker(labels={"instance_type": "g5", "zone": "a"}):
            job.result(timeout=30)


def test_nothing_takes_longer_than_its_queue_allows(app: ph.Posthorse) -> None:
    @app.job(queue="fast", max_attempts=1)
    async def endless() -> None:
        await asyncio.sleep(60)

    @app.job(queue="fast", max_attempts=1, timeout="1h")
    def looping(ctx: ph.Context) -> None:
        while True:
            time.sleep(0.01)
            ctx.checkpoint()

    @app.job(queue="fast")
    def unstoppable() -> str:
        time.sleep(0.4)
        return "done"

    app.queue("fast", max_duration="0.2s")
    jobs = [endless.enqueue(), looping.enqueue()]
    with app.worker():
        for job in jobs:
            with pytest.raises(ph.JobFailed, match=r"timeout of 0.2 s"):
                job.result(timeout=30)
        assert unstoppable.enqueue().result(timeout=30) == "done"


def test_a_kind_that_is_registered_later_is_served_without_a_restart(app: ph.Posthorse) -> None:
    @app.job
    async def early() -> None: ...

    package = ph.Posthorse(app.settings.url)

    @package.job(kind="late")
    async def elsewhere() -> None: ...

    with app.worker():
        job = elsewhere.enqueue()
        early.enqueue().result(timeout=30)

        @app.job
        async def late() -> None: ...

        job.result(timeout=30)
    package.close()
