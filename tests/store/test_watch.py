"""Waiting for news: none is lost between two waits, and whoever waits can be told to stop."""

from __future__ import annotations

import asyncio
from itertools import count

import posthorse as ph
from posthorse.store.watch import Watch, make_watch, make_watch_of_writes

LONG = 30.0


def test_what_was_written_between_two_waits_ends_the_next(sqlite_url: str) -> None:
    ours, neighbour = ph.Posthorse(sqlite_url), ph.Posthorse(sqlite_url)
    ours.migrate()

    async def scene() -> None:
        async with make_watch(ours.store) as watch:
            assert await watch.wait(0.01) is False
            await neighbour.queue("mail").apause()
            assert await watch.wait(LONG) is True

    asyncio.run(scene())
    ours.close()
    neighbour.close()


def test_a_file_that_is_made_later_is_watched_from_then_on(sqlite_url: str) -> None:
    ours, neighbour = ph.Posthorse(sqlite_url), ph.Posthorse(sqlite_url)

    async def scene() -> None:
        async with make_watch_of_writes(ours.store, closest=0.01, blind=0.01) as watch:
            assert await watch.wait(LONG) is False  # blind, and so not for long
            await asyncio.to_thread(ours.migrate)
            assert await watch.wait(0.01) is False
            watch.clear()
            await neighbour.queue("mail").apause()
            assert await watch.wait(LONG) is True

    asyncio.run(scene())
    ours.close()
    neighbour.close()


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
