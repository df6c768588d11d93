"""A drain notifies observers of events, and runs their jobs; what happened before the first drain is told, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import posthorse as ph
from posthorse import testing as pt

app = ph.Posthorse("sqlite:////nowhere/observed.db")
told: list[tuple[str, str]] = []
batches: list[list[str]] = []


@app.job(max_attempts=2, backoff="1h")
def render(page: int) -> int:
    if page < 0:
        raise ValueError("no such page")
    return page


@app.on(ph.events.Completed | ph.events.Failed, kind="render")
def shelve(event: ph.events.Completed | ph.events.Failed) -> None:
    told.append((event.name, event.job))


@app.on([ph.events.JobSubmitted, ph.events.JobStarted], kind="render", batch="1h")
def count(events: list[ph.events.JobSubmitted | ph.events.JobStarted]) -> None:
    batches.append([event.name for event in events])


@pytest.fixture
def kit(store_url: str) -> Iterator[pt.Kit]:
    told.clear()
    batches.clear()
    with pt.kit(app, url=store_url) as kit:
        yield kit


def test_a_drain_notifies_observers(kit: pt.Kit) -> None:
    job = render.enqueue(1)
    drained = kit.drain()
    assert [one.kind for one in drained.ran].count("shelve") == 1
    assert ("completed", job.id) in told
    assert sorted(name for batch in batches for name in batch) == ["started", "submitted"]
    assert not drained.left
    assert not kit.drain().ran  # each event once


def test_observers_go_on_after_a_leap_of_time(kit: pt.Kit) -> None:
    kit.clock.advance("30d")
    job = render.enqueue(-1)
    kit.drain(due=True, raise_errors=False)
    assert ("failed", job.id) in told


def test_coroutines_notify_observers(kit: pt.Kit) -> None:
    async def run() -> str:
        job = await render.aenqueue(1)
        await kit.adrain()
        return job.id

    assert ("completed", asyncio.run(run())) in told


def test_an_error_of_an_observer_is_raised_and_late_observers_are_notified() -> None:
    late = ph.Posthorse("sqlite:////nowhere/late.db")
    work = late.job(kind="work")(lambda: None)

    with pt.kit(late) as kit:
        work.enqueue()

        @late.on(ph.events.Completed, max_attempts=1)
        def complain(event: ph.events.Completed) -> None:
            raise ZeroDivisionError(event.kind)

        with pytest.raises(ZeroDivisionError, match="work"):
            kit.drain()


def test_an_application_without_observers_writes_no_events() -> None:
    plain = ph.Posthorse("sqlite:////nowhere/plain.db")
    work = plain.job(kind="work")(lambda: None)
    with pt.kit(plain) as kit:
        work.enqueue()
        kit.drain()
        assert not [*plain.events()]


def test_a_kit_begins_inside_an_event_loop() -> None:
    async def run() -> None:
        with pt.kit(app) as kit:
            await render.aenqueue(1)
            assert (await kit.adrain()).completed >= 2

    told.clear()
    asyncio.run(run())
