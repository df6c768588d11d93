"""Slice transactions: effect and cursor in one commit, on both stores and in both colours, or neither."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

import posthorse as ph
from posthorse.worker.checkpoints.journal import Journal
from tests.effects import effects_of, insert, make_effects
from tests.waiting import until, until_state

Enqueue = Callable[[], ph.Job[object]]


@pytest.fixture
def effects(app: ph.Posthorse) -> Callable[[], list[int]]:
    """Create a table of the user's own beside the tables of Posthorse; return a function that reads it."""
    make_effects(app)
    return lambda: effects_of(app)


def declare(app: ph.Posthorse, is_async: bool, hurt: Callable[[ph.Context, int], None], count: int = 6) -> Enqueue:
    """Declare a job that writes each item once, two per slice, and calls `hurt` after each write."""

    @app.job(max_attempts=3, backoff=0)
    def write(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(count), size=2):
            with batch.transaction() as connection:
                for item in batch:
                    connection.execute(insert(item))
                    hurt(ctx, item)

    @app.job(max_attempts=3, backoff=0)
    async def awrite(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(count), size=2):
            async with batch.transaction() as connection:
                for item in batch:
                    await connection.execute(insert(item))
                    hurt(ctx, item)

    return awrite.enqueue if is_async else write.enqueue


@pytest.mark.parametrize("is_async", [True, False])
def test_effects_happen_once_although_attempts_fail_in_the_midst(
    app: ph.Posthorse, effects: Callable[[], list[int]], is_async: bool
) -> None:
    def hurt(ctx: ph.Context, item: int) -> None:
        if item == 3 and ctx.attempt < 3:
            raise ValueError("twice bad")

    enqueue = declare(app, is_async, hurt)
    with app.worker():
        job = enqueue()
        job.result(timeout=30)
    assert effects() == list(range(6))
    assert job.status().attempt == 3
    assert job.status().progress.done == 6


@pytest.mark.parametrize("is_async", [True, False])
def test_a_body_that_raises_leaves_neither_effect_nor_cursor(
    app: ph.Posthorse, effects: Callable[[], list[int]], is_async: bool
) -> None:
    def hurt(ctx: ph.Context, item: int) -> None:
        if item == 3:
            raise ValueError("always bad")

    enqueue = declare(app, is_async, hurt)
    with app.worker():
        job = enqueue()
        status = until_state(job, "failed")
    assert effects() == [0, 1]
    assert status.progress.done == 2


@pytest.mark.parametrize("is_async", [True, False])
def test_what_is_enqueued_inside_exists_only_if_the_slice_does(
    app: ph.Posthorse, effects: Callable[[], list[int]], is_async: bool
) -> None:
    made: list[str] = []

    @app.job(queue="unserved")
    def child(item: int) -> None: ...

    @app.job(max_attempts=1)
    def parent(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(4), size=2):
            with batch.transaction():
                made.append(child.enqueue(batch[0]).id)
                if batch[0] == 2:
                    raise ValueError

    @app.job(max_attempts=1)
    async def aparent(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(4), size=2):
            async with batch.transaction():
                made.append((await child.aenqueue(batch[0])).id)
                if batch[0] == 2:
                    raise ValueError

    with app.worker(queues=["default"]):
        until_state(aparent.enqueue() if is_async else parent.enqueue(), "failed")
    first, second = made
    assert app.get_job(first).status().state == "pending"
    with pytest.raises(ph.JobNotFound):
        app.get_job(second).status()
    # The lane that the child needed was not remembered from the transaction that was rolled back.
    assert app.get_job(child.enqueue(1).id).status().queue == "unserved"


@pytest.mark.parametrize("is_async", [True, False])
def test_a_job_that_was_taken_away_meanwhile_leaves_nothing(postgres_url: str, is_async: bool) -> None:
    """On PostgreSQL, where other sessions can write while the block is open."""
    app = ph.Posthorse(postgres_url, lease="6s")
    with app.store.transaction() as connection:
        connection.execute("CREATE TABLE effects (item integer NOT NULL)")  # type: ignore[attr-defined]  # a psycopg connection
    inside, go = threading.Event(), threading.Event()

    @app.job
    def write(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(2), size=1):
            with batch.transaction() as connection:
                connection.execute(insert(batch[0]))
                if not go.is_set():
                    inside.set()
                    assert go.wait(30)

    @app.job
    async def awrite(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(2), size=1):
            async with batch.transaction() as connection:
                await connection.execute(insert(batch[0]))
                if not go.is_set():
                    inside.set()
                    await asyncio.to_thread(go.wait, 10)

    def count() -> int:
        with app.store.transaction() as connection:
            row = connection.execute("SELECT count(*) FROM effects").fetchone()  # type: ignore[attr-defined]  # a psycopg connection
        return int(row[0])

    with app.worker():
        job = awrite.enqueue() if is_async else write.enqueue()
        assert inside.wait(30)
        assert job.pause(force=True) == "paused"
        go.set()
    assert count() == 0
    assert job.status().state == "paused"
    with app.worker():
        job.resume()
        job.result(timeout=30)
    assert count() == 2
    app.close()


def test_a_forced_pause_from_inside_its_own_transaction_undoes_everything_with_it(
    app: ph.Posthorse, effects: Callable[[], list[int]]
) -> None:
    """The fence is lost inside the transaction on either store; the lease is back once it is rolled back."""
    lost: list[int] = []

    @app.job
    def write(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(2), size=1):
            with batch.transaction() as connection:
                connection.execute(insert(batch[0]))
                if not lost:
                    lost.append(batch[0])
                    app.get_job(ctx.job_id).pause(force=True)

    with app.worker():
        job = write.enqueue()
        # A lost attempt is not settled; the runner signs off, and the sweep of the next one finds the job.
        until(lambda: bool(lost), what="the pause")
    with app.worker():
        job.result(timeout=40)
    assert effects() == [0, 1]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_commit_that_failed_cannot_be_swallowed(
    app: ph.Posthorse, effects: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """Not even in the last slice, after which nothing is saved any more."""
    failures: list[str] = []
    take = Journal.take_reply

    def failing(self: Journal, saved: object, done: object) -> None:
        take(self, saved, done)  # type: ignore[arg-type]  # passed on
        if len(failures) < 2 and self.state.done == 4:
            failures.append("disk full")
            raise OSError("disk full")

    monkeypatch.setattr(Journal, "take_reply", failing)

    @app.job(max_attempts=3, backoff=0)
    def write(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(4), size=2):
            try:
                with batch.transaction() as connection:
                    connection.execute(insert(batch[0]))
            except Exception:
                pass

    @app.job(max_attempts=3, backoff=0)
    async def awrite(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(4), size=2):
            try:
                async with batch.transaction() as connection:
                    await connection.execute(insert(batch[0]))
            except Exception:
                pass

    with app.worker():
        job = awrite.enqueue() if is_async else write.enqueue()
        job.result(timeout=30)
    assert effects() == [0, 2]
    assert job.status().attempt == 3
    error = job.status().error
    assert error is not None
    assert "the last commit of this job failed" in error.message


@pytest.mark.parametrize("is_async", [True, False])
def test_a_block_longer_than_a_third_of_the_lease_is_cut_off(store_url: str, is_async: bool) -> None:
    app = ph.Posthorse(store_url, lease="3s")
    make_effects(app)
    never = threading.Event()

    @app.job(max_attempts=1)
    def write(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(2), size=2):
            with batch.transaction() as connection:
                connection.execute(insert(0))
                never.wait(1.3)

    @app.job(max_attempts=1)
    async def awrite(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(2), size=2):
            async with batch.transaction() as connection:
                await connection.execute(insert(0))
                await asyncio.sleep(1.3)

    with app.worker():
        job = awrite.enqueue() if is_async else write.enqueue()
        with pytest.raises(ph.JobFailed, match="a third of the lease"):
            job.result(timeout=30)
    with app.store.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM effects").fetchone()[0] == 0  # type: ignore[attr-defined]  # either store's
    app.close()


def test_one_slice_has_one_transaction(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def nested(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(2)):
            with batch.transaction(), batch.transaction():
                pass

    @app.job(max_attempts=1)
    def again(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(2)):
            with batch.transaction():
                pass
            with batch.transaction():
                pass

    with app.worker():
        with pytest.raises(ph.JobFailed, match="in a transaction already"):
            nested.enqueue().result(timeout=30)
        with pytest.raises(ph.JobFailed, match="committed already"):
            again.enqueue().result(timeout=30)


@pytest.mark.tuning(progress_interval=0.0)
@pytest.mark.parametrize("is_async", [True, False])
def test_progress_and_checkpoints_inside_a_transaction_are_part_of_it(
    app: ph.Posthorse, effects: Callable[[], list[int]], is_async: bool
) -> None:
    @app.job(max_attempts=1)
    def write(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(6), size=2):
            ctx.set_progress(batch[0], 6)
            with batch.transaction() as connection:
                connection.execute(insert(batch[0]))
                ctx.set_progress(batch[1], 6)
                ctx.checkpoint()

    @app.job(max_attempts=1)
    async def awrite(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(6), size=2):
            ctx.set_progress(batch[0], 6)
            async with batch.transaction() as connection:
                await connection.execute(insert(batch[0]))
                ctx.set_progress(batch[1], 6)
                await ctx.acheckpoint()

    with app.worker():
        (awrite.enqueue() if is_async else write.enqueue()).result(timeout=30)
    assert effects() == [0, 2, 4]


def test_a_paused_job_with_transactions_does_each_effect_once(
    app: ph.Posthorse, effects: Callable[[], list[int]]
) -> None:
    seen = threading.Semaphore(0)

    @app.job
    def write(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(60), size=1):
            with batch.transaction() as connection:
                connection.execute(insert(batch[0]))
            seen.release()

    with app.worker():
        job = write.enqueue()
        for _ in range(3):
            assert seen.acquire(timeout=30)
            try:
                job.pause()
            except ph.InvalidTransition:
                break
            if until_state(job, "paused", "completed").state == "completed":
                break
            assert len(effects()) == job.status().progress.done
            job.resume()
        job.result(timeout=30)
    assert effects() == list(range(60))


def test_a_body_that_commits_by_itself_is_told_so(app: ph.Posthorse, effects: Callable[[], list[int]]) -> None:
    @app.job(max_attempts=1)
    def write(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(2), size=2):
            with batch.transaction() as connection:
                connection.execute(insert(1))
                connection.commit()  # type: ignore[attr-defined]  # either store's

    with app.worker(), pytest.raises(ph.JobFailed, match=r"leave COMMIT and ROLLBACK|commit\(\) forbidden"):
        write.enqueue().result(timeout=30)
