"""Watching for news: none is lost between two waits, and a wait can be ended."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, closing
from itertools import count

import pytest

import posthorse as ph
from posthorse import ids
from posthorse.store.operations.runners import set_idle, take_leadership
from posthorse.store.sqlite.watch import SqliteWatch
from posthorse.store.watch import Watch
from tests.store.yard import Yard

LONG = 30.0


def test_a_watch_ends_although_its_server_does_not_answer(postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when it ends while it begins to listen: the driver waits for the server before it lets go."""
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def frozen(begin: Callable[[], None]) -> AsyncIterator[str]:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await may_end.wait()
            raise
        yield ""

    monkeypatch.setattr(postgres_yard.store.backend, "notifications", frozen)

    async def watch() -> None:
        async with postgres_yard.store.backend.notifier.subscribe(postgres_yard.store, ids.new_id()):
            await begun.wait()

    async def scene() -> None:
        ended, _ = await asyncio.wait({asyncio.create_task(watch())}, timeout=LONG)
        may_end.set()
        assert ended

    asyncio.run(scene())


def test_what_was_written_between_two_waits_ends_the_next(new_sqlite_url: str) -> None:
    ours, neighbour = ph.Posthorse(new_sqlite_url), ph.Posthorse(new_sqlite_url)
    ours.migrate()

    async def scene() -> None:
        async with ours.store.backend.notifier.subscribe(ours.store, ids.new_id()) as watch:
            assert await watch.wait(0.01) is False
            await neighbour.queue("mail").apause()
            assert await watch.wait(LONG) is True

    asyncio.run(scene())
    ours.close()
    neighbour.close()


def test_a_file_that_is_made_later_is_watched_from_then_on(new_sqlite_url: str) -> None:
    ours, neighbour = ph.Posthorse(new_sqlite_url), ph.Posthorse(new_sqlite_url)

    async def scene() -> None:
        async with ours.store.backend.notifier.subscribe_to_writes(ours.store, closest=0.01, blind=0.01) as watch:
            assert await watch.wait(LONG) is False  # it cannot hear, so not for long
            await asyncio.to_thread(ours.migrate)
            assert await watch.wait(0.01) is False
            watch.clear()
            await neighbour.queue("mail").apause()
            assert await watch.wait(LONG) is True

    asyncio.run(scene())
    ours.close()
    neighbour.close()


def test_work_rings_a_bell_and_other_commits_are_hints(new_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, neighbour, heard = ph.Posthorse(new_sqlite_url), ph.Posthorse(new_sqlite_url), list[str]()
    ours.migrate()

    @neighbour.job
    def work() -> None: ...

    def noting(word: str, tell: Callable[[], None]) -> Callable[[], None]:
        def told() -> None:
            heard.append(word)
            tell()

        return told

    async def scene() -> None:
        async with ours.store.backend.notifier.subscribe(ours.store, ids.new_id()) as watch:
            monkeypatch.setattr(watch, "wake", noting("bell", watch.wake))
            monkeypatch.setattr(watch, "hint", noting("hint", watch.hint))
            assert await watch.wait(0.01) is False
            await work.aenqueue()
            assert await watch.wait(LONG) is True
            assert "bell" in heard
            await asyncio.sleep(0.2)  # until the echoes of that are over
            heard.clear()
            watch.clear()
            for write in (
                lambda: neighbour.store.run(take_leadership("a chore", "somebody", span=1)),
                lambda: _write_beside(new_sqlite_url),
            ):
                await asyncio.to_thread(write)
                assert await watch.wait(LONG) is True
                watch.clear()
            assert set(heard) == {"hint"}

    asyncio.run(scene())
    ours.close()
    neighbour.close()


def _write_beside(url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("CREATE TABLE mine (id INTEGER PRIMARY KEY)")


def test_a_wait_that_is_cancelled_as_news_come_ends() -> None:
    async def scene() -> None:
        for steps in count():
            watch = Watch()
            waiting = asyncio.create_task(watch.wait(LONG))
            for _ in range(5):
                await asyncio.sleep(0)
            watch.wake()
            for _ in range(steps):
                await asyncio.sleep(0)
            if waiting.done():
                return
            waiting.cancel()
            await asyncio.wait({waiting})
            assert waiting.cancelled()

    asyncio.run(scene())


def test_hints_in_vain_are_heeded_less_often_and_what_is_certain_at_once() -> None:
    async def heeded(watch: Watch, hints: int) -> int:
        """Return how many of this many hints, a millisecond apart, ended a wait."""
        heard = 0

        async def listen() -> None:
            nonlocal heard
            while await watch.wait(LONG):
                watch.clear()
                heard += 1

        listening = asyncio.create_task(listen())
        for _ in range(hints):
            watch.hint()
            await asyncio.sleep(0.001)
        listening.cancel()
        return heard

    async def scene() -> None:
        assert await heeded(Watch(), 200) < 60
        watch = Watch()
        await heeded(watch, 50)
        watch.clear()
        watch.hint()
        waiting = asyncio.create_task(watch.wait(LONG))
        await asyncio.sleep(0)
        watch.wake()
        assert await waiting is True

    asyncio.run(scene())


async def hear(watches: Sequence[Watch]) -> None:
    """Return once all of them listen; until then they look now and then without having heard anything."""
    for watch in watches:
        while not await watch.wait(LONG):
            pass
        watch.clear()


def test_of_hints_in_vain_no_more_are_heard_than_are_heeded(
    new_sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, neighbour, heard = ph.Posthorse(new_sqlite_url), ph.Posthorse(new_sqlite_url), list[None]()
    ours.migrate()

    def write() -> None:
        for number in range(300):
            neighbour.store.run(take_leadership("a chore", f"somebody {number}", span=1))

    async def scene() -> int:
        heeded = 0
        async with ours.store.backend.notifier.subscribe(ours.store, ids.new_id()) as watch:
            assert isinstance(watch, SqliteWatch)
            on_log = watch._on_log

            def noting() -> None:
                heard.append(None)
                on_log()

            monkeypatch.setattr(watch, "_on_log", noting)
            writing = asyncio.create_task(asyncio.to_thread(write))
            while not writing.done():
                watch.clear()
                heeded += await watch.wait(1.0)
        return heeded

    heeded = asyncio.run(scene())
    ours.close()
    neighbour.close()
    assert 0 < len(heard) <= 2 * heeded + 3


@pytest.mark.tuning(crowd_interval=10_000.0)
def test_of_a_crowd_three_are_called_for_one_job_and_all_for_many(postgres_yard: Yard) -> None:
    yard, looked = postgres_yard, list[str]()

    async def look_once(watch: Watch, runner: str) -> None:
        assert await watch.wait(LONG)
        looked.append(runner)

    async def scene() -> None:
        runners = [yard.runner() for _ in range(8)]
        async with AsyncExitStack() as stack:
            notifier = yard.store.backend.notifier
            watches = [await stack.enter_async_context(notifier.subscribe(yard.store, runner)) for runner in runners]
            await hear(watches)
            for runner in runners:
                await yard.store.arun(set_idle(runner, idle=True))
            looking = [asyncio.create_task(look_once(*each)) for each in zip(watches, runners, strict=True)]
            await asyncio.to_thread(yard.enqueue)
            while len(looked) < 3:
                await asyncio.wait([task for task in looking if not task.done()], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.05)  # for a fourth, who should not come
            assert len(looked) == 3
            await asyncio.to_thread(yard.enqueue, 2)
            await asyncio.gather(*looking)
            assert {watch.patience(1.0) for watch in watches} == {2.0}  # they know that there are eight
        assert sorted(looked) == sorted(runners)

    asyncio.run(scene())


def test_who_was_not_called_looks_in_a_turn_of_its_own(postgres_yard: Yard) -> None:
    yard = postgres_yard

    async def scene() -> None:
        runners = [yard.runner() for _ in range(5)]
        for runner in runners:
            await yard.store.arun(set_idle(runner, idle=True))
        async with AsyncExitStack() as stack:
            notifier = yard.store.backend.notifier
            watches = [await stack.enter_async_context(notifier.subscribe(yard.store, runner)) for runner in runners]
            await hear(watches)
            await asyncio.to_thread(yard.enqueue)
            assert all(await asyncio.gather(*(watch.wait(LONG) for watch in watches)))

    asyncio.run(scene())
