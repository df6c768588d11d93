"""Forgetting what the stream was told, in processes that have no readers."""

from __future__ import annotations

import asyncio

import posthorse as ph
from posthorse.maintenance.chores.events import ForgetEvents
from posthorse.rules.watched import Interest
from posthorse.store.operations import telling
from posthorse.store.operations.stream import read_page, stream_state


def forget(app: ph.Posthorse, *, keep: float) -> None:
    asyncio.run(ForgetEvents(app.store, keep).run(None))


def told(app: ph.Posthorse) -> None:
    """Tell of three jobs, in three commits, while something watches."""

    @app.job
    def work() -> None: ...

    app.store.run(telling.watch("an observer", Interest(), "life", seconds=60))
    telling.learn(app.store.watched, app.store.read(telling.queues_and_watchers()))
    for _ in range(3):
        work.enqueue()


def blocks(app: ph.Posthorse) -> int:
    return len(app.store.read(read_page(None)).blocks)


def test_what_was_told_without_any_reader_is_forgotten(app: ph.Posthorse) -> None:
    app.migrate()
    told(app)
    forget(app, keep=-10.0)
    app.store.run(telling.unwatch("an observer"))
    forget(app, keep=-10.0)
    assert not app.store.read(stream_state()).has_news
    assert blocks(app) == (1 if app.store.read(stream_state()).newest_tick == 0 else 0)


def test_what_was_told_without_any_reader_can_be_read_in_parts(app: ph.Posthorse) -> None:
    app.migrate()
    told(app)
    before = app.store.read(stream_state()).newest_tick
    forget(app, keep=3600.0)
    state = app.store.read(stream_state())
    assert not state.has_news
    assert state.newest_tick == (before + 1 if before else 0)
    assert blocks(app) == 3


def test_a_store_that_was_never_watched_gets_no_ticks(app: ph.Posthorse) -> None:
    app.migrate()
    forget(app, keep=3600.0)
    assert app.store.read(stream_state()).newest_tick == 0
