"""A part that lags gives half of what it has left away: every item comes once and in order, from any source."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

import posthorse as ph
from posthorse.errors import JobFailed
from posthorse.rules.cursor import Cursor
from posthorse.rules.job import Options
from posthorse.rules.tuning import Tuning
from posthorse.store.operations import part_checkpoints
from posthorse.store.operations.part_checkpoints import parts_left
from posthorse.store.operations.parts import results_of_parts
from posthorse.store.operations.read import arguments
from posthorse.worker.checkpoints.sources.base import Chunk
from tests.waiting import auntil, until
from tests.worker import shared_jobs

pytestmark = pytest.mark.tuning(share_interval=0.0, shared_seconds=0.0, shared_slices=0.0)

Make: TypeAlias = Callable[[], Any]


def has_room(app: ph.Posthorse, job: str) -> bool:
    """Return whether a part of two would see a free place."""
    return app.store.read(parts_left(job, 2)) is not None


def shared(app: ph.Posthorse, make: Make, *, is_async: bool) -> list[list[Any]]:
    """Run a job of two parts, of which the second waits until the first is over; return what each part met."""

    @app.job(shards=2)
    def plain(ctx: ph.Context) -> list[Any]:
        met = ctx.keep("met", list[Any]())
        for batch in ctx.slices(make(), size=2):
            if ctx.shard == 1 and not met:
                until(lambda: has_room(app, ctx.job_id))
            met.extend(map(str, batch))
        return met

    @app.job(shards=2)
    async def awaited(ctx: ph.Context) -> list[Any]:
        async def room() -> bool:
            return await app.store.aread(parts_left(ctx.job_id, 2)) is not None

        met = ctx.keep("met", list[Any]())
        async for batch in ctx.slices(make(), size=2):
            if ctx.shard == 1 and not met:
                await auntil(room)
            met.extend(map(str, batch))
        return met

    with app.worker(concurrency=4):
        job: ph.Job[Any] = (awaited if is_async else plain).enqueue()
        result = job.result(timeout=30)
    assert isinstance(result, list)
    progress = job.status().progress
    assert progress.done == sum(map(len, result))
    assert progress.total in (None, progress.done)
    return result


def assert_given(met: list[list[Any]], expected: Sequence[object]) -> None:
    assert [str(item) for part in met for item in part] == list(map(str, expected))
    assert len(met) > 2, "nothing was given away"


class Numbers:
    """A source of one's own, whose positions are words."""

    def __init__(self, upto: int, range: ph.Range | None = None) -> None:
        self.upto, self.range = upto, range

    def _at(self, cursor: Cursor) -> int:
        return 0 if cursor is None else int(str(cursor).removeprefix("at "))

    def count(self) -> int | None:
        return None if self.range is None else self.range.total

    def read(self, cursor: Cursor, limit: int, /) -> Chunk[int]:
        start = self._at(cursor if cursor is not None or self.range is None else self.range.after)
        whole = self.upto if self.range is None or self.range.upto is None else self._at(self.range.upto)
        end = min(start + limit, whole)
        return Chunk(list(range(start, end)), f"at {end}", is_last=end == whole)

    def split(self, parts: int, after: Cursor, upto: Cursor, /) -> Sequence[ph.Range]:
        start, end = self._at(after), self.upto if upto is None else self._at(upto)
        middle = (start + end) // 2
        if middle == start:
            return [ph.Range(after, upto)]
        return [ph.Range(after, f"at {middle}"), ph.Range(f"at {middle}", upto)]

    def within(self, range: ph.Range, /) -> Numbers:
        return Numbers(self.upto, range)

    def close(self) -> None: ...


class AwaitedNumbers:
    """The same, to be awaited."""

    def __init__(self, upto: int, range: ph.Range | None = None) -> None:
        self.numbers = Numbers(upto, range)

    async def acount(self) -> int | None:
        return self.numbers.count()

    async def aread(self, cursor: Cursor, limit: int, /) -> Chunk[int]:
        await asyncio.sleep(0)
        return self.numbers.read(cursor, limit)

    async def asplit(self, parts: int, after: Cursor, upto: Cursor, /) -> Sequence[ph.Range]:
        return self.numbers.split(parts, after, upto)

    def within(self, range: ph.Range, /) -> AwaitedNumbers:
        return AwaitedNumbers(self.numbers.upto, range)

    def close(self) -> None: ...


def after(key: int, limit: int) -> list[int]:
    return list(range(key + 1, min(key + limit, 40) + 1))


async def awaited_after(key: int, limit: int) -> list[int]:
    return after(key, limit)


def halves(first: int, last: int | None, parts: int) -> list[int]:
    middle = (first + (last or 40)) // 2
    return [middle] if first < middle else []


def sources(folder: Path) -> dict[str, tuple[Make, Sequence[object]]]:
    """Return a source of each sort, with its items."""
    names = [f"{number:03}" for number in range(40)]
    (folder / "inbox").mkdir()
    for name in names:
        (folder / "inbox" / name).touch()
    (folder / "lines").write_text("\n".join(names))
    (folder / "rows.csv").write_text("name\n" + "\n".join(f'"{name}\n"' for name in names))
    (folder / "plain.csv").write_text("name\n" + "\n".join(names))
    numbers = range(1, 41)
    rows = [{"name": name} for name in names]
    return {
        "sequence": (lambda: range(40), range(40)),
        "keyset": (lambda: ph.keyset(after, key=int, start=0, stop=40), numbers),
        "keyset with split": (lambda: ph.keyset(after, key=int, start=0, split=halves), numbers),
        "files": (lambda: ph.files(folder / "inbox"), [folder / "inbox" / name for name in names]),
        "lines": (lambda: ph.lines(folder / "lines"), names),
        "lines without a total": (lambda: ph.lines(folder / "lines", total=False), names),
        "csv": (lambda: ph.csv(folder / "rows.csv"), [{"name": f"{name}\n"} for name in names]),
        "csv without quotes": (lambda: ph.csv(folder / "plain.csv", quotechar=None, total=False), rows),
        "one's own": (lambda: Numbers(40), range(40)),
        "awaited keyset": (lambda: ph.keyset(awaited_after, key=int, start=0, stop=40), numbers),
        "awaited of one's own": (lambda: AwaitedNumbers(40), range(40)),
    }


SORTS = (
    "sequence",
    "keyset",
    "keyset with split",
    "files",
    "lines",
    "lines without a total",
    "csv",
    "csv without quotes",
    "one's own",
)


@pytest.mark.parametrize("sort", SORTS)
def test_each_source_gives_half_of_its_rest_away(app: ph.Posthorse, tmp_path: Path, sort: str) -> None:
    make, expected = sources(tmp_path)[sort]
    assert_given(shared(app, make, is_async=False), expected)


@pytest.mark.parametrize("sort", ["sequence", "lines", "awaited keyset", "awaited of one's own"])
def test_async_jobs_give_away_too(app: ph.Posthorse, tmp_path: Path, sort: str) -> None:
    make, expected = sources(tmp_path)[sort]
    assert_given(shared(app, make, is_async=True), expected)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE visits (id integer PRIMARY KEY)"))
        connection.execute(sa.text("INSERT INTO visits VALUES " + ",".join(f"({number})" for number in range(40))))
    yield engine
    engine.dispose()


def test_rows_of_a_select_give_half_of_their_rest_away(app: ph.Posthorse, engine: sa.Engine) -> None:
    visits = sa.table("visits", sa.column("id", sa.Integer))

    def make() -> object:
        return ph.rows(engine, sa.select(visits.c.id), key=visits.c.id)

    assert_given(shared(app, make, is_async=False), [(number,) for number in range(40)])


def test_a_rest_too_small_to_cut_stays(app: ph.Posthorse) -> None:
    assert shared(app, lambda: range(4), is_async=False) == [["0", "1"], ["2", "3"]]


def test_a_job_has_no_more_parts_than_are_read_of_it(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_checkpoints, "MOST_PARTS", 2)
    assert len(shared(app, lambda: range(40), is_async=False)) == 2


def test_a_rest_that_is_soon_done_stays(sqlite_url: str, tuning: Tuning) -> None:
    app = ph.Posthorse(sqlite_url, tuning=replace(tuning, shared_seconds=600.0))
    assert len(shared(app, lambda: range(40), is_async=False)) == 2
    app.close()


class OnceUncut(Numbers):
    """A source that can be cut at its beginning only."""

    def split(self, parts: int, after: Cursor, upto: Cursor, /) -> Sequence[ph.Range]:
        if after is not None:
            raise RuntimeError("not here")
        return super().split(parts, after, upto)


def test_a_source_that_fails_to_cut_its_rest_keeps_it(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    met = shared(app, lambda: OnceUncut(40), is_async=False)
    assert [len(part) for part in met] == [20, 20]
    assert "cannot be cut in two, so it keeps all: not here" in caplog.text


class Backwards:
    mark = "b"

    def pack(self, text: str, about: ph.About) -> str:
        return text[::-1]

    def unpack(self, packed: str, about: ph.About) -> str:
        return packed[::-1]


def test_a_part_that_runs_again_keeps_to_the_range_that_it_kept(sqlite_url: str, tuning: Tuning) -> None:
    """Its error comes after it gave half of its rest away. What is stored of it is packed by a codec."""
    app = ph.Posthorse(sqlite_url, codecs=[Backwards()], tuning=tuning)
    jobs: list[ph.Job[Any]] = []

    @app.job(shards=2, backoff=0)
    def work(ctx: ph.Context, secret: str) -> list[Any]:
        met = ctx.keep("met", list[int]())
        for batch in ctx.slices(Numbers(40), size=2):
            if ctx.shard == 1 and not met:
                until(lambda: has_room(app, ctx.job_id))
            if ctx.shard == 1 and ctx.attempt == 1 and len(app.store.read(results_of_parts(jobs[0].id))) > 2:
                raise ValueError("after it gave half away")
            met.extend(batch)
        assert secret == "a secret"
        return met

    jobs.append(work.enqueue("a secret"))
    with app.worker(concurrency=4):
        result = jobs[0].result(timeout=30)
    assert_given(result, range(40))
    rows = app.store.read(results_of_parts(jobs[0].id))
    attempts = [app.get_job(row.job).status().attempt for row in rows]
    assert attempts == [1, 2, *[1] * (len(rows) - 2)]
    stored = [(row.options or "", app.store.read(arguments(row.job)) or "") for row in rows]
    assert not [text for texts in stored for text in texts if "at " in text or "a secret" in text]
    given = [part for row in rows if (part := Options.decode(row.options).part) and part.given_by is not None]
    assert [part.number for part in given] == list(range(2, len(rows)))
    app.close()


def test_a_part_that_was_given_away_is_retried_alone(app: ph.Posthorse) -> None:
    broken = [True]

    @app.job(shards=2, max_attempts=1)
    def work(ctx: ph.Context) -> list[int]:
        met = ctx.keep("met", list[int]())
        for batch in ctx.slices(range(40), size=2):
            if ctx.shard == 1 and not met:
                until(lambda: has_room(app, ctx.job_id))
            if ctx.shard == 2 and broken and met:
                raise ValueError("broken")
            met.extend(batch)
        return met

    job: ph.Job[Any] = work.enqueue()
    with app.worker(concurrency=4):
        with pytest.raises(JobFailed, match=r"1 of \d+ parts failed"):
            job.result(timeout=30)
        broken.clear()
        job.retry()
        assert_given(job.result(timeout=30), range(40))
    attempts = sorted(len(app.get_job(row.job).attempts()) for row in app.store.read(results_of_parts(job.id)))
    assert attempts == [*[1] * (len(attempts) - 1), 2]


def test_parts_in_processes_of_their_own_give_away_too(store_url: str, tuning: Tuning) -> None:
    shared_jobs.app.use_url(store_url)
    assert shared_jobs.app.store.tuning == tuning
    with shared_jobs.app.worker(concurrency=2):
        job: ph.Job[Any] = shared_jobs.isolated.enqueue(60)
        numbers, pids, [joined_in] = job.result(timeout=30)
    assert numbers == list(range(60))
    assert len(pids) > 2
    assert os.getpid() not in {*pids, joined_in}
    shared_jobs.app.close()


def test_a_step_of_a_flow_is_cut_and_gives_away(app: ph.Posthorse) -> None:
    @app.job
    def count() -> int:
        return 40

    @app.job(shards=2)
    def work(ctx: ph.Context, items: int) -> int:
        assert ctx.flow is not None
        for _ in ctx.slices(range(items), size=2):
            if ctx.shard == 1 and not ctx.progress.done:
                until(lambda: has_room(app, ctx.job_id))
        return ctx.progress.done

    work.combine(sum)

    @app.job
    def told(total: int) -> str:
        return f"{total} items"

    flow = app.workflow("cut")
    step = flow.add(work, flow.add(count).output)
    flow.result = flow.add(told, step.output).output
    job: ph.Job[Any] = flow.enqueue()
    with app.worker(concurrency=4):
        assert job.result(timeout=30) == "40 items"
    progress = job.status().progress
    assert (progress.done, progress.total) == (3, 3)
    [cut] = app.jobs(f"parent:{job.id} kind:work")
    assert len(app.store.read(results_of_parts(cut.id))) > 2
