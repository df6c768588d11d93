"""Doubles stand in for what fails: functions, workers, leases."""

from __future__ import annotations

import asyncio

import pytest

import posthorse as ph
from posthorse import testing as pt
from tests.testing import shop
from tests.testing.shop import calls, total


def test_a_flaky_function_fails_at_first() -> None:
    function = pt.flaky(abs, fails=2, error=TimeoutError("slow"))
    for _ in range(2):
        with pytest.raises(TimeoutError, match="slow"):
            function(-3)
    assert function(-3) == 3

    async def coroutine(number: int) -> int:
        return number

    async_function = pt.flaky(coroutine)
    with pytest.raises(ConnectionError):
        asyncio.run(async_function(1))
    assert asyncio.run(async_function(1)) == 1
    with pytest.raises(ph.InvalidOption, match="fails is 0"):
        pt.flaky(abs, fails=0)


def test_a_job_goes_on_after_the_crash_of_its_worker(kit: pt.Kit) -> None:
    job = total.enqueue(100)
    with pt.crash_in_slice(4):
        drained = kit.drain()
    assert [attempt.outcome for attempt in drained.ran] == ["lost", "returned"]
    assert job.result() == sum(range(100))
    assert len(calls) == 11  # the fourth slice ran twice
    assert job.status().interruptions == 1


def test_a_crash_happens_once_and_only_inside_the_block(kit: pt.Kit) -> None:
    with pt.crash_in_slice(1):
        pass
    total.enqueue(10)
    assert len(kit.drain().ran) == 1


def test_a_job_that_lost_its_lease_has_no_effect_and_runs_again(kit: pt.Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    job = total.enqueue(100)

    class Losing(list[object]):
        def append(self, item: object) -> None:
            super().append(item)
            if len(self) == 4:
                pt.lose_lease(job)

    monkeypatch.setattr(shop, "calls", seen := Losing())
    kit.drain()
    assert job.result() == sum(range(100))
    assert len(seen) == 11
