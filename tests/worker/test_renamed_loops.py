"""Renamed loops, which the code no longer has: their progress no longer counts, and the log reports them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

import posthorse as ph


def told(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [
        record.getMessage().partition(": ")[2] for record in caplog.records if "went past it" in record.getMessage()
    ]


def test_a_loop_that_was_renamed_is_told_and_does_not_count_twice(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    progress: list[tuple[int, int | None]] = []

    @app.job(max_attempts=3, backoff=0)
    def report(ctx: ph.Context) -> int:
        """Run the code from before and after a deploy: the second and third attempts run the newer one."""
        for batch in ctx.slices(range(150), size=30, name="old" if ctx.attempt == 1 else "new"):
            if (ctx.attempt, batch.number) in ((1, 2), (2, 1)):
                raise ValueError
            progress.append((ctx.progress.done, ctx.progress.total))
        return ctx.progress.done

    with caplog.at_level(logging.WARNING, "posthorse.job"), app.worker():
        job = report.enqueue()
        assert job.result(timeout=30) == 150
    assert progress == [(0, 150), (30, 150), (0, 150), (30, 150), (60, 150), (90, 150), (120, 150)]
    final = job.status().progress
    assert (final.done, final.total) == (150, 150)
    [words] = told(caplog)
    assert words.startswith("loop 'old' is unfinished (60 of 150 done) and the code went past it: loop 'new' begins")


def test_a_loop_that_comes_back_goes_on_where_it_stopped(app: ph.Posthorse) -> None:
    names = {1: "users", 2: "people", 3: "users"}
    met: list[int] = []

    @app.job(max_attempts=3, backoff=0)
    def report(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(6), size=2, name=names[ctx.attempt]):
            if ctx.attempt < 3 and batch.number == 1:
                raise ValueError
            met.extend(batch)
        return ctx.progress.done

    with app.worker():
        report.enqueue().result(timeout=30)
    assert met == [0, 1, 0, 1, 2, 3, 4, 5]


def test_a_job_that_ends_without_a_loop_that_it_began_says_so(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    @app.job(max_attempts=2, backoff=0)
    def report(ctx: ph.Context) -> None:
        if ctx.attempt == 1:
            for batch in ctx.slices(range(9), size=3, name="removed"):
                if batch.number == 1:
                    raise ValueError

    with caplog.at_level(logging.WARNING, "posthorse.job"), app.worker():
        report.enqueue().result(timeout=30)
    [words] = told(caplog)
    assert words.startswith(
        "loop 'removed' is unfinished (3 of 9 done) and the code went past it: the job ends without"
    )


def test_nothing_is_told_of_loops_that_are_over_were_left_or_are_nested(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    @app.job(max_attempts=9, backoff=0)
    def report(ctx: ph.Context) -> int:
        for _ in ctx.slices(range(3), size=1, name="first"):
            pass
        for batch in ctx.slices(range(9), size=1, name="left"):
            if batch.number == 1:
                break
        for outer in ctx.slices(range(3), size=1, name="outer"):
            for inner in ctx.slices(range(9), size=1, name=f"inner-{outer[0]}"):
                if inner[0] == 2:
                    break
            if ctx.attempt == outer[0] + 1:
                raise ValueError
        for _ in ctx.slices(range(3), size=1, name="last"):
            pass
        return ctx.progress.done

    with caplog.at_level(logging.WARNING, "posthorse.job"), app.worker():
        job = report.enqueue()
        job.result(timeout=30)
    assert job.status().attempt == 4
    assert told(caplog) == []
