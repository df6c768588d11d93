"""Any source, cut into any parts, halved and struck at any point: every item comes once, in the order of the source."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import posthorse as ph
from posthorse.failpoints import passing
from posthorse.rules.tuning import Tuning
from posthorse.store.operations.parts import results_of_parts

POINTS = ("in_slice", "before_slice_commit", "after_slice_commit", "before_share_commit", "after_share_commit")


class Struck(Exception):
    """Ends an attempt at a point as a kill would: what was not committed is gone."""


def source_of(sort: str, items: int) -> Any:  # noqa: ANN401 - any source
    if sort == "sequence":
        return range(items)

    def fetch(after: int, limit: int) -> list[int]:
        return list(range(after + 1, min(after + limit, items - 1) + 1))

    return ph.keyset(fetch, key=int, start=-1, stop=items)


def test_every_item_comes_once_and_in_order(sqlite_url: str, tuning: Tuning) -> None:
    eager = replace(tuning, share_interval=0.0, shared_seconds=0.0, shared_slices=0.0, sqlite_synchronous="OFF")
    app = ph.Posthorse(sqlite_url, tuning=eager)

    @app.job(max_attempts=100, backoff=0)
    def work(ctx: ph.Context, sort: str, items: int, size: int) -> list[int]:
        met = ctx.keep("met", list[int]())
        for batch in ctx.slices(source_of(sort, items), size=size):
            met.extend(batch)
        return met

    given_away = []

    @settings(max_examples=40)
    @given(
        sort=st.sampled_from(["sequence", "keyset"]),
        items=st.integers(0, 60),
        shards=st.integers(2, 5),
        size=st.integers(1, 4),
        point=st.sampled_from(POINTS),
        strikes=st.sets(st.integers(0, 12), max_size=4),
    )
    def holds(sort: str, items: int, shards: int, size: int, point: str, strikes: set[int]) -> None:
        passes = itertools.count()

        def strike() -> None:
            if next(passes) in strikes:
                raise Struck

        with passing(point, strike):
            job: ph.Job[Any] = work.using(shards=shards).enqueue(sort, items, size)
            result = job.result(timeout=30)
        assert [item for part in result for item in part] == list(range(items))
        progress = job.status().progress
        assert progress.done == items
        parts = app.store.read(results_of_parts(job.id))
        given_away.append(len(parts) > shards)

    with app.worker(concurrency=3):
        holds()
    assert any(given_away)
    app.close()
