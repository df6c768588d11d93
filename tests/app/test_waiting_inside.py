"""Waiting for a result inside a transaction: what is over can be read there, and what cannot end there says so."""

from __future__ import annotations

import asyncio

import pytest

import posthorse as ph
from tests.waiting import until_state


@pytest.fixture
def double(app: ph.Posthorse) -> ph.Kind[[int], int]:
    @app.job
    def double(number: int) -> int:
        return 2 * number

    return double


def test_the_result_of_a_job_that_is_over_is_read_inside(app: ph.Posthorse, double: ph.Kind[[int], int]) -> None:
    job = double.enqueue(4)
    with app.worker():
        assert job.result(timeout=30) == 8

    async def inside() -> int:
        async with app.store.atransaction():
            return await job.aresult(timeout=30)

    assert asyncio.run(inside()) == 8
    with app.store.transaction():
        assert job.result(timeout=30) == 8


def test_waiting_for_a_job_of_the_same_transaction_is_refused(app: ph.Posthorse, double: ph.Kind[[int], int]) -> None:
    async def inside() -> None:
        async with app.store.atransaction():
            job = await double.aenqueue(4)
            with pytest.raises(ph.InvalidCall, match=r"inside this transaction.*after the block"):
                await job.aresult()
            await job.acancel()

    asyncio.run(inside())
    with app.store.transaction():
        job = double.enqueue(5)
        with pytest.raises(ph.InvalidCall, match=r"inside this transaction.*after the block"):
            job.result()


def test_a_job_that_was_there_before_can_end_only_where_others_may_write(
    app: ph.Posthorse, double: ph.Kind[[int], int]
) -> None:
    job = double.enqueue(4)
    is_file = app.store.backend.capabilities.is_file

    async def inside() -> None:
        async with app.store.atransaction():
            if is_file:
                with pytest.raises(ph.InvalidCall, match="no other process can write"):
                    await job.aresult(timeout=30)
                return
            with pytest.raises(TimeoutError):
                await job.aresult(timeout=0.05)
            worker = app.worker()
            await asyncio.to_thread(worker.__enter__)
            try:
                assert await job.aresult(timeout=30) == 8
            finally:
                await asyncio.to_thread(worker.__exit__, None, None, None)

    asyncio.run(inside())
    if is_file:
        assert job.status().state == "pending"
    else:
        until_state(job, "completed")
