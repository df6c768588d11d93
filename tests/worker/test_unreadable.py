"""Unreadable rows and lines are bad items like any other: within the budget of the loop, counted and stored."""

from __future__ import annotations

from pathlib import Path

import pytest

import posthorse as ph
from tests.waiting import until_state

ROWS = b"id,name\n1,Ann\n2,B\xf6b\n3,Cid\n4,D\xe9d\n5,E\xe9\n6,Fay\n7,Gus\n"


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "people.csv").write_bytes(ROWS)
    return str(tmp_path / "people.csv")


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_an_import_goes_on_behind_what_cannot_be_read(app: ph.Posthorse, path: str, size: int, is_async: bool) -> None:
    @app.job(max_attempts=2, backoff=0)
    def load(ctx: ph.Context, path: str, size: int) -> list[str]:
        names = ctx.keep("names", list[str]())
        for batch in ctx.slices(ph.csv(path), size=size, tolerate=4):
            for row in batch:
                with batch.tolerate(row, LookupError):
                    if row["name"] == "Gus":
                        raise LookupError
                    names.append(row["name"])
            if ctx.attempt == 1 and "Fay" in names:
                raise ValueError("once more from the last slice")
        return names

    @app.job(max_attempts=2, backoff=0)
    async def aload(ctx: ph.Context, path: str, size: int) -> list[str]:
        names = ctx.keep("names", list[str]())
        async for batch in ctx.slices(ph.csv(path), size=size, tolerate=4):
            for row in batch:
                async with batch.tolerate(row, LookupError):
                    if row["name"] == "Gus":
                        raise LookupError
                    names.append(row["name"])
            if ctx.attempt == 1 and "Fay" in names:
                raise ValueError("once more from the last slice")
        return names

    with app.worker():
        job = aload.enqueue(path, size) if is_async else load.enqueue(path, size)
        assert job.result(timeout=30) == ["Ann", "Cid", "Fay"]
    assert (job.status().progress.done, job.status().progress.total) == (7, 7)
    bad = job.bad_items()
    assert [each.number for each in bad] == [1, 2, 3, 4]
    assert [each.item for each in bad[:3]] == ["2,B\ufffdb\n", "4,D\ufffdd\n", "5,E\ufffd\n"]
    assert [each.is_retryable for each in bad] == [False, False, False, True]
    assert "people.csv, line 3: not utf-8" in bad[0].error.message
    assert bad[3].item == {"id": "7", "name": "Gus"}


@pytest.mark.parametrize("is_async", [True, False])
def test_beyond_the_budget_the_import_stops_and_tells_which(app: ph.Posthorse, path: str, is_async: bool) -> None:
    @app.job(max_attempts=1)
    def load(ctx: ph.Context, path: str, size: int) -> None:
        for _ in ctx.slices(ph.lines(path), size=size, tolerate=2):
            pass

    @app.job(max_attempts=1)
    async def aload(ctx: ph.Context, path: str, size: int) -> None:
        async for _ in ctx.slices(ph.lines(path), size=size, tolerate=2):
            pass

    with app.worker():
        for size, done in ((1, 5), (100, 0)):
            job = aload.enqueue(path, size) if is_async else load.enqueue(path, size)
            status = until_state(job, "failed")
            assert status.error is not None
            assert status.error.type == "posthorse.errors.ToleranceExceeded"
            assert status.progress.done == done
            assert [each.item for each in job.bad_items()] == ["2,B\ufffdb\n", "4,D\ufffdd\n", "5,E\ufffd\n"]


def test_without_a_budget_the_rows_before_it_are_committed_and_the_line_is_named(app: ph.Posthorse, path: str) -> None:
    @app.job(max_attempts=1)
    def load(ctx: ph.Context, path: str) -> None:
        for _ in ctx.slices(ph.csv(path), size=100):
            pass

    with app.worker():
        job = load.enqueue(path)
        with pytest.raises(ph.JobFailed, match=r"people\.csv, line 3: not utf-8"):
            job.result(timeout=30)
    assert job.status().progress.done == 1
    assert job.bad_items() == []
