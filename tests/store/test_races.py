"""Races of many claims, enqueues, cancels and rescues, in threads and in processes: each job is run exactly once."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from multiprocessing.queues import Queue

import msgspec
import psycopg

from posthorse.errors import InvalidTransition
from posthorse.rules.job import Lane, State
from posthorse.rules.outcomes import Lost
from posthorse.store.operations import read, runners
from posthorse.store.operations.fence import Fence
from tests.children import children
from tests.store.yard import HOME, Yard

Seen = list[Fence]


def work_until_empty(yard: Yard, seed: int, enqueued: threading.Event | None = None) -> Seen:
    """Claim batches of any size and complete them, until the lane stays empty."""
    chance = random.Random(seed)
    runner = yard.runner()
    seen: Seen = []
    while True:
        is_last_look = enqueued is None or enqueued.is_set()
        batch = [Fence(job.job, job.epoch, runner) for job in yard.claim(runner, chance.choice((1, 3, 20)))]
        if not batch and is_last_look:
            return seen
        late = set(yard.complete(*batch)) if batch else set()
        seen += [attempt for attempt in batch if attempt.job not in late]


def work_in_a_process(url: str, seed: int, seen: Queue[Seen]) -> None:
    yard = Yard(url)
    yard.enqueue(50)
    seen.put(work_until_empty(yard, seed))
    yard.store.close()


def test_threads_run_every_job_once_while_others_enqueue_cancel_and_rescue(yard: Yard) -> None:
    other = Yard(yard.store.url)
    yards = (yard, other)
    yard.store.lanes({HOME}), other.store.lanes({HOME})
    enqueued = threading.Event()
    jobs: list[str] = []
    cancelled: Counter[str] = Counter()

    def enqueue(n: int) -> None:
        for _ in range(15):
            ids = yards[n % 2].enqueue(4)
            jobs.extend(ids)
            with suppress(InvalidTransition):  # completed meanwhile
                if yards[n % 2].ask(ids[2], "cancel") is State.CANCELLED:
                    cancelled[ids[2]] += 1

    def rescue() -> None:
        while not enqueued.is_set():
            runner = other.runner()
            other.claim(runner, 2)
            other.store.run(runners.retire(runner))
            _rescue_orphans(other)

    with ThreadPoolExecutor(12) as pool:
        workers = [pool.submit(work_until_empty, yards[n % 2], n, enqueued) for n in range(4)]
        rescuer = pool.submit(rescue)
        writers = [pool.submit(enqueue, n) for n in range(4)]
        wait(writers)
        enqueued.set()
        for writer in writers:
            writer.result()
        rescuer.result()
        seen = Counter(attempt.job for worker in workers for attempt in worker.result())
    _rescue_orphans(other)
    seen.update(attempt.job for attempt in work_until_empty(yard, 99))
    other.store.close()
    yard.audit()
    assert set(seen.values()) == {1}
    states = {job: yard.state(job) for job in jobs}
    assert set(states.values()) <= {State.COMPLETED, State.CANCELLED}
    assert {job for job, state in states.items() if state is State.COMPLETED} == set(seen)
    assert set(cancelled).isdisjoint(seen)


def test_processes_run_every_job_once(yard: Yard) -> None:
    yard.enqueue(200)
    seen: Queue[Seen] = children.Queue()
    workers = [children.Process(target=work_in_a_process, args=(yard.store.url, n, seen)) for n in range(3)]
    for worker in workers:
        worker.start()
    counted = Counter(attempt.job for _ in workers for attempt in seen.get(timeout=60))
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    counted.update(attempt.job for attempt in work_until_empty(yard, 99))
    assert len(counted) == 350
    assert set(counted.values()) == {1}
    assert yard.store.read(read.running_count()) == 0
    yard.audit()


def _rescue_orphans(yard: Yard) -> None:
    for orphan in yard.store.read(runners.orphans(100)):
        first_loss = msgspec.structs.replace(
            orphan.spent, interruptions=0
        )  # after other jobs, one would wait instead of racing
        yard.settle(Fence(orphan.job, orphan.epoch, orphan.runner), Lost("gone"), spent=first_loss)


def test_what_others_hold_of_the_higher_lanes_is_no_reason_to_go_down(postgres_yard: Yard) -> None:
    yard = postgres_yard
    first, second, lower = Lane("first", "work", 5), Lane("second", "work", 5), HOME
    yard.enqueue(5, first)
    wanted = yard.enqueue(20, second)[:10]
    yard.enqueue(5, lower)
    runner = yard.runner()
    number = yard.store.lanes({first})[first]
    with psycopg.connect(yard.store.url) as other:
        other.execute("SELECT FROM posthorse.ready WHERE lane = %s FOR UPDATE", [number])
        claimed = yard.claim(runner, 10, [first, second, lower])
    assert [job.job for job in claimed] == wanted
