"""Reads of coroutines run together: one thread for all that wait, and each caller has its own result or error."""

from __future__ import annotations

import asyncio
import os
import threading
from contextvars import Context

import pytest

from posthorse.errors import StoreError, StoreUnreachable
from posthorse.store.base import Operation, QuerySteps, operation
from posthorse.store.operations import read
from posthorse.store.operations.submit import enqueue
from posthorse.store.patience import waiting_at_most
from posthorse.store.store import Store
from tests.servers.process import free_port
from tests.store.yard import Yard


@pytest.fixture
def threads() -> set[str]:
    """Names of the threads in which operations of these tests read."""
    return set()


def noting(seen: set[str], job: str) -> Operation[str]:
    """Read the state of a job, and note in which thread."""

    @operation
    def steps() -> QuerySteps[str]:
        seen.add(threading.current_thread().name)
        row = yield from read.job(job).start()
        return "none" if row is None else row.state

    return steps()


@operation
def broken() -> QuerySteps[str]:
    yield from read.job("not an id").start()
    raise LookupError("broken")


def test_a_hundred_at_once_are_read_by_one_thread_and_each_gets_its_own(yard: Yard, threads: set[str]) -> None:
    jobs = yard.enqueue(99)
    jobs.append("01936f5e-7c1a-7d2b-8e3f-0123456789ab")

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(yard.store.aread(noting(threads, job)) for job in jobs))

    assert asyncio.run(all_at_once()) == ["pending"] * 99 + ["none"]
    assert threads == {"posthorse-reads"}


def test_an_error_stays_with_its_caller(yard: Yard, threads: set[str]) -> None:
    [job] = yard.enqueue()

    async def all_at_once() -> list[str | BaseException]:
        reads = (noting(threads, job), broken(), noting(threads, job))
        return await asyncio.gather(*map(yard.store.aread, reads), return_exceptions=True)

    first, second, third = asyncio.run(all_at_once())
    assert (first, third) == ("pending", "pending")
    assert isinstance(second, LookupError | StoreError)  # PostgreSQL refuses the id, SQLite looks for it


def test_a_cancelled_reader_disturbs_no_other(yard: Yard, threads: set[str]) -> None:
    [job] = yard.enqueue()

    async def cancelling() -> list[str | BaseException]:
        tasks = [asyncio.create_task(yard.store.aread(noting(threads, job))) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(cancelling())
    assert results[1::2] == ["pending"] * 10
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])


def test_event_loops_come_and_go(yard: Yard, threads: set[str]) -> None:
    [job] = yard.enqueue()

    def in_a_loop() -> None:
        async def reading() -> None:
            results.extend([await yard.store.aread(noting(threads, job)) for _ in range(20)])

        asyncio.run(reading())

    results: list[str] = []
    loops = [threading.Thread(target=in_a_loop) for _ in range(4)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    assert results == ["pending"] * 80


def test_a_closed_store_reads_again(yard: Yard, threads: set[str]) -> None:
    [job] = yard.enqueue()
    for _ in range(2):
        assert asyncio.run(yard.store.aread(noting(threads, job))) == "pending"
        yard.store.close()
        assert not any(thread.name == "posthorse-reads" for thread in threading.enumerate())


def test_a_read_inside_a_transaction_is_a_part_of_it(yard: Yard) -> None:
    [new] = yard.new()
    lanes = yard.store.lanes({new.lane})

    async def reading() -> tuple[bool, bool]:
        async with yard.store.atransaction():
            await yard.store.arun(enqueue([new], lanes))
            inside = await yard.store.aread(read.job(new.id)) is not None
            beside = await asyncio.create_task(yard.store.aread(read.job(new.id)), context=Context())
            return inside, beside is not None

    assert asyncio.run(reading()) == (True, False)


def test_a_forked_child_reads_with_a_thread_of_its_own(yard: Yard, threads: set[str]) -> None:
    [job] = yard.enqueue()
    asyncio.run(yard.store.aread(noting(threads, job)))
    child = os.fork()
    if child == 0:
        state = asyncio.run(yard.store.aread(noting(threads, job)))
        os._exit(0 if state == "pending" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert asyncio.run(yard.store.aread(noting(threads, job))) == "pending"


def test_while_the_store_is_away_each_waits_as_long_as_its_own_caller() -> None:
    store = Store(f"postgresql://posthorse@127.0.0.1:{free_port()}/none")
    store._schema.is_checked = True  # else each would wait for the schema
    order: list[float] = []

    async def patiently(seconds: float) -> None:
        with waiting_at_most(seconds), pytest.raises(StoreUnreachable) as error:
            await store.aread(read.running_count())
        assert error.value.where == store.where
        order.append(seconds)

    async def together() -> None:
        await asyncio.gather(*map(patiently, (1.0, 0.3, 0.0, 0.6)))

    asyncio.run(together())
    assert order == [0.0, 0.3, 0.6, 1.0]
    store.close()
