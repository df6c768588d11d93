"""The events of a job: as a list, from a number on, and as they happen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

import pytest

import posthorse as ph
from tests.waiting import until_state

UNKNOWN = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"
Told = list[ph.Event | ph.events.Progressed]


def names(told: Iterable[ph.Event | ph.events.Progressed]) -> list[str]:
    return [event.name for event in told if isinstance(event, ph.Event)]


def test_a_job_tells_its_life_in_order(app: ph.Posthorse) -> None:
    @app.job(max_attempts=2, backoff=0)
    def second_time(ctx: ph.Context) -> int:
        if ctx.attempt == 1:
            raise ValueError("not yet")
        return ctx.attempt

    job = second_time.enqueue()
    [submitted] = job.events()
    assert (submitted.name, submitted.number, submitted.at) == ("submitted", 1, job.status().created_at)
    with app.worker():
        assert job.result(timeout=30) == 2
    told = job.events()
    assert names(told) == ["submitted", "started", "attempt_failed", "started", "completed"]
    assert [event.number for event in told] == [1, 2, 3, 4, 5]
    assert [event.attempt for event in told] == [None, 1, 1, 2, 2]
    assert {event.worker for event in told[1:]} == {job.attempts()[0].worker}
    failed = told[2]
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("ValueError", "not yet")
    assert job.events(after=3) == told[3:] == asyncio.run(job.aevents(after=3))
    assert job.events(after=5) == []


def test_why_a_job_failed_for_good_is_told(app: ph.Posthorse) -> None:
    @app.job
    def hopeless() -> None:
        raise ph.GiveUp("no such user")

    job = hopeless.enqueue()
    with app.worker():
        until_state(job, "failed")
    assert job.events()[-1].reason == job.status().reason == "gave up: no such user"


def test_a_job_is_followed_until_it_is_over(app: ph.Posthorse) -> None:
    go = threading.Event()

    @app.job
    def waits() -> None:
        go.wait(30)

    job = waits.enqueue()
    told: Told = []
    with app.worker():
        for event in job.events(follow=True):
            told.append(event)
            if names([event]) == ["started"]:
                go.set()
    assert names(told) == ["submitted", "started", "completed"]
    assert told == job.events() == list(job.events(follow=True))
    assert names(job.events(2, follow=True)) == ["completed"]


def test_a_coroutine_follows_a_job(app: ph.Posthorse) -> None:
    @app.job
    async def quick() -> None: ...

    async def follow() -> tuple[list[str], list[str]]:
        job = await quick.aenqueue()
        async with app.worker():
            told = [event async for event in job.events(follow=True)]
            return names(told), names([event async for event in await job.aevents(1, follow=True)])

    assert asyncio.run(follow()) == (["submitted", "started", "completed"], ["started", "completed"])


def test_many_followers_each_see_everything(app: ph.Posthorse) -> None:
    @app.job
    async def quick() -> None: ...

    async def follow(job: ph.Job[None]) -> list[str]:
        return names([event async for event in job.events(follow=True)])

    async def follow_all() -> list[list[str]]:
        jobs = [await quick.aenqueue() for _ in range(20)]
        following = [asyncio.create_task(follow(job)) for job in jobs]
        async with app.worker():
            return await asyncio.gather(*following)

    assert asyncio.run(follow_all()) == [["submitted", "started", "completed"]] * 20


def test_what_happens_to_a_waiting_job_is_heard(app: ph.Posthorse) -> None:
    @app.job
    def waits() -> None: ...

    job = waits.enqueue()
    steps = {"submitted": job.pause, "paused": job.resume, "resumed": job.cancel}
    told: list[str] = []
    for event in job.events(follow=True):
        assert isinstance(event, ph.Event)
        told.append(event.name)
        if event.name in steps:
            steps[event.name]()
    assert told == ["submitted", "paused", "resumed", "cancelled"]


def test_a_follower_that_stops_goes_on_from_its_number(app: ph.Posthorse) -> None:
    @app.job
    def waits() -> None: ...

    job = waits.enqueue()
    for event in job.events(follow=True):
        assert isinstance(event, ph.Event)
        break
    job.pause()
    job.cancel()
    assert names(job.events(1, follow=True)) == ["paused", "cancelled"]


def test_progress_is_told_between_events_and_has_no_number(app: ph.Posthorse) -> None:
    seen = threading.Event()

    @app.job
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3), size=1):
            assert batch
            if ctx.progress.done == 1:
                seen.wait(30)

    told: Told = []
    job = long.enqueue()
    with app.worker():
        for event in job.events(follow=True):
            told.append(event)
            if isinstance(event, ph.events.Progressed):
                seen.set()
    [progressed] = [event for event in told if isinstance(event, ph.events.Progressed)]
    assert (progressed.job, progressed.progress.done, progressed.progress.total) == (job.id, 1, 3)
    assert not hasattr(progressed, "number")
    assert names(told) == ["submitted", "started", "completed"]


@pytest.mark.parametrize("after", [-1, 1.0, "2", None, True])
def test_a_number_that_is_none_is_refused(app: ph.Posthorse, after: int) -> None:
    job: ph.Job[object] = app.get_job(UNKNOWN)
    with pytest.raises(ph.InvalidOption, match="after is"):
        job.events(after)
    with pytest.raises(ph.InvalidOption, match="after is"):
        job.events(after, follow=True)


def test_a_job_that_is_not_there_has_no_events(app: ph.Posthorse) -> None:
    job: ph.Job[object] = app.get_job(UNKNOWN)
    with pytest.raises(ph.JobNotFound):
        job.events()
    with pytest.raises(ph.JobNotFound):
        list(job.events(follow=True))


def test_a_job_that_is_removed_meanwhile_ends_the_following(app: ph.Posthorse) -> None:
    @app.job
    def waits() -> None: ...

    job = waits.enqueue()
    following = iter(job.events(follow=True))
    assert names([next(following)]) == ["submitted"]
    job.cancel()
    job.delete()
    with pytest.raises(ph.JobNotFound):
        list(following)


def test_a_job_is_not_followed_where_it_could_not_be_seen(app: ph.Posthorse) -> None:
    @app.job
    def waits() -> None: ...

    job = waits.enqueue()

    async def inside_a_loop() -> None:
        with pytest.raises(ph.InvalidCall, match="async for"):
            list(job.events(follow=True))

    asyncio.run(inside_a_loop())
    with app.store.transaction(), pytest.raises(ph.InvalidCall, match="inside a transaction"):
        list(job.events(follow=True))
