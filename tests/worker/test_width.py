"""How many parts of a job run at once, changed while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

import posthorse as ph
from posthorse.errors import InvalidOption, InvalidTransition, JobNotFound
from posthorse.maintenance.chores.joins import MakeRooms
from posthorse.rules.tuning import DEFAULTS
from posthorse.store.operations.runners import next_due
from posthorse.store.operations.width import make_rooms
from tests.waiting import until

UNKNOWN = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


class Shop:
    """A job of six parts, which go on slice by slice until they may end, and how many of them are in a slice."""

    def __init__(self, app: ph.Posthorse) -> None:
        self.app = app
        self.may_end = threading.Event()
        self.inside = self.most = 0
        self.lock = threading.Lock()

        @app.job(shards=6)
        def work(ctx: ph.Context) -> int:
            with self.counted():
                for _ in ctx.slices(range(6_000), size=1):
                    if not self.may_end.is_set():
                        time.sleep(0.002)
            return ctx.progress.done

        work.combine(sum)
        self.work = work

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1

    def begin(self) -> ph.Job[int]:
        job = self.work.enqueue()
        until(lambda: self.inside == 6)
        return job

    def narrow(self, job: ph.Job[int], width: int) -> None:
        """Let fewer parts run, and forget how many ran before."""
        job.parts(width)
        until(lambda: self.inside == width)
        with self.lock:
            self.most = self.inside


@pytest.fixture
def shop(app: ph.Posthorse) -> Iterator[Shop]:
    shop = Shop(app)
    with app.worker(concurrency=8):
        yield shop
        shop.may_end.set()


def states(app: ph.Posthorse, job: ph.Job[Any]) -> list[str]:
    return sorted(part.status().state for part in app.jobs(f"parent:{job.id}"))


def test_fewer_parts_run_and_all_items_are_done(app: ph.Posthorse, shop: Shop) -> None:
    job = shop.begin()
    shop.narrow(job, 2)
    until(lambda: states(app, job) == ["blocked"] * 4 + ["processing"] * 2)
    [*held] = [part for part in app.jobs(f"parent:{job.id}") if part.status().state == "blocked"]
    assert held[0].status().reason == "waits until fewer parts of its job run"
    assert "waits until fewer parts of its job run" in held[0].why().leading.sentence
    shop.may_end.set()
    assert job.result(timeout=30) == 6_000
    assert shop.most == 2


def test_more_parts_go_on_at_once(app: ph.Posthorse, shop: Shop) -> None:
    job = shop.begin()
    shop.narrow(job, 1)
    until(lambda: states(app, job).count("blocked") == 5)
    job.parts(4)
    until(lambda: shop.inside == 4)
    job.parts(None)
    until(lambda: shop.inside == 6)
    shop.may_end.set()
    assert job.result(timeout=30) == 6_000
    attempts = [part.status() for part in app.jobs(f"parent:{job.id}")]
    assert all((part.attempt, part.interruptions) == (1, 0) for part in attempts)


def test_a_width_that_is_set_before_the_job_is_cut_holds_from_the_first_part_on(app: ph.Posthorse) -> None:
    shop = Shop(app)
    shop.may_end.set()
    job = shop.work.enqueue()
    job.parts(2)
    with app.worker(concurrency=8):
        assert job.result(timeout=30) == 6_000
    assert 1 <= shop.most <= 2


def test_an_end_lets_the_next_part_go_on(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, tuning=replace(DEFAULTS, gates_interval=600.0))  # the sweep does not look
    shop = Shop(app)
    shop.may_end.set()
    with app.worker(concurrency=8):
        job = shop.work.enqueue()
        job.parts(1)
        assert job.result(timeout=30) == 6_000
    assert shop.most == 1
    app.close()


def test_parts_that_are_paused_and_resumed_keep_to_it(app: ph.Posthorse, shop: Shop) -> None:
    job = shop.begin()
    shop.narrow(job, 2)
    until(lambda: states(app, job).count("blocked") == 4)
    job.pause()
    until(lambda: states(app, job) == ["paused"] * 6)
    job.parts(3)
    job.resume()
    until(lambda: shop.inside == 3)
    until(lambda: states(app, job) == ["blocked"] * 3 + ["processing"] * 3)
    job.cancel()
    until(lambda: states(app, job) == ["cancelled"] * 6)
    until(lambda: job.status().state == "cancelled")
    job.retry()
    until(lambda: shop.inside == 3)
    shop.may_end.set()
    assert job.result(timeout=30) == 6_000
    assert shop.most == 3


def test_a_part_that_was_held_while_its_job_was_paused_goes_on_with_it(app: ph.Posthorse, shop: Shop) -> None:
    job = shop.begin()
    shop.narrow(job, 1)
    until(lambda: states(app, job).count("blocked") == 5)
    job.pause()
    until(lambda: states(app, job) == ["paused"] * 6)
    first, second, *_ = app.jobs(f"parent:{job.id}")
    first.resume()
    until(lambda: shop.inside == 1)
    second.resume()  # alone, and there is no room for it
    until(lambda: states(app, job) == ["blocked", *["paused"] * 4, "processing"])
    job.parts(None)
    job.resume()
    until(lambda: shop.inside == 6)
    shop.may_end.set()
    assert job.result(timeout=30) == 6_000


def test_a_part_takes_the_place_of_one_that_was_paused(app: ph.Posthorse, shop: Shop) -> None:
    job = shop.begin()
    shop.narrow(job, 1)
    until(lambda: states(app, job) == ["blocked"] * 5 + ["processing"])
    [running] = [part for part in app.jobs(f"parent:{job.id}") if part.status().state == "processing"]
    running.pause()
    until(lambda: running.status().state == "paused")
    app.store.run(make_rooms())  # as the sweep does within a second
    until(lambda: shop.inside == 1)
    running.resume()
    shop.may_end.set()
    assert job.result(timeout=30) == 6_000
    assert shop.most == 1


def test_the_sweep_looks_only_while_some_job_is_narrow(app: ph.Posthorse, shop: Shop) -> None:
    chore = MakeRooms(app.store)
    job = shop.begin()
    assert not app.store.read(next_due()).has_narrow
    assert chore.due_in(app.store.read(next_due())) == float("inf")
    job.parts(5)
    assert app.store.read(next_due()).has_narrow
    assert chore.due_in(app.store.read(next_due())) <= app.store.tuning.gates_interval
    shop.may_end.set()
    job.result(timeout=30)
    assert not app.store.read(next_due()).has_narrow


def test_only_jobs_that_are_cut_have_a_width(app: ph.Posthorse) -> None:
    @app.job
    def plain(ctx: ph.Context) -> None: ...

    job = plain.enqueue()
    with pytest.raises(InvalidTransition, match="is not cut into parts; give it shards= when it is enqueued"):
        job.parts(2)
    with pytest.raises(JobNotFound):
        app.get_job(UNKNOWN).parts(2)
    cut: ph.Job[None] = plain.using(shards=2).enqueue()
    for width in (0, -1, 1_001, True, "2", 1.5):
        with pytest.raises(InvalidOption, match="it must be a whole number from 1 to 1,000, or None for no limit"):
            cut.parts(width)  # type: ignore[arg-type]  # that is the point
    cut.cancel()
    with pytest.raises(InvalidTransition, match="is cancelled, so no parts of it run; retry it first"):
        cut.parts(2)
