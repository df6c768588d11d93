"""Blocking calls in async jobs work, and warn at the line of the job."""

from __future__ import annotations

import warnings

import pytest

import posthorse as ph


@pytest.mark.parametrize("way", ["checkpoint", "slices", "transaction"])
def test_a_blocking_call_in_an_async_job_works_and_warns(app: ph.Posthorse, way: str) -> None:
    @app.job(max_attempts=1)
    async def walk(ctx: ph.Context) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if way == "checkpoint":
                ctx.checkpoint()
            elif way == "slices":
                for batch in ctx.slices(range(2), size=1):
                    assert len(batch) == 1
            else:
                async for batch in ctx.slices(range(1)):
                    with batch.transaction():
                        ctx.checkpoint()
        assert {(one.category, one.filename) for one in caught} <= {(RuntimeWarning, __file__)}
        return [str(one.message) for one in caught]

    said = {
        "checkpoint": ["ctx.checkpoint() inside a running event loop", "use `await ctx.acheckpoint()`"],
        "slices": ["the commit of a slice inside a running event loop", "write `async for`"],
        "transaction": ["`with batch.transaction():` inside a running event loop", "write `async with`"],
    }[way]
    with app.worker():
        told = walk.enqueue().result(timeout=30)
    assert len(told) == (2 if way == "slices" else 1)
    assert all(part in text for part in said for text in told)
