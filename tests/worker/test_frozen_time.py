"""A worker inside a test that freezes time: its timers, waits and leases go on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from freezegun import freeze_time

import posthorse as ph

NOW = datetime.now(UTC)
"""PostgreSQL uses a clock of its own, and refuses ids that are days away from it."""


def test_jobs_run_while_time_is_frozen(app: ph.Posthorse) -> None:
    @app.job
    async def sleepy(n: int) -> int:
        await asyncio.sleep(0.01)
        return 2 * n

    @app.job
    def sliced(ctx: ph.Context) -> int:
        return sum(len(batch) for batch in ctx.slices(range(30), size=10))

    with app.worker(), freeze_time(NOW):
        assert sleepy.enqueue(21).result(timeout=30) == 42
        assert sliced.enqueue().result(timeout=30) == 30


def test_a_result_that_does_not_come_is_not_waited_for_longer_because_time_is_frozen(app: ph.Posthorse) -> None:
    @app.job
    def never() -> None: ...

    with freeze_time(NOW), pytest.raises(TimeoutError):
        never.enqueue().result(timeout=0.2)
