"""Unserved jobs: the process that leads reports once that jobs wait which no living worker would take."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator

import pytest

import posthorse as ph
from posthorse.maintenance.chores.unserved import LookForUnservedJobs
from posthorse.store.operations.runners import Runner, register, retire
from posthorse.store.operations.unserved import waiting_kinds


def resize() -> None: ...


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url)
    app.migrate()
    yield app
    app.close()


def hire(app: ph.Posthorse, *kinds: str) -> str:
    runner = Runner(str(uuid.uuid4()), "web-1", "web", 7, "0", 10, (), kinds)
    app.store.run(register(runner, lease=60_000_000))
    return runner.id


def test_a_gap_is_reported_at_the_second_look_once_and_again_when_it_comes_back(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    app.job(queue="media")(resize).enqueue()
    chore = LookForUnservedJobs(app.store, app.registry.queues)
    hire(app, "letter")

    def told() -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="posthorse.maintenance"):
            asyncio.run(chore.run(None))
        return [record.getMessage() for record in caplog.records]

    assert told() == []
    assert told() == [
        "jobs of the kind resize wait in the queue media: no living worker knows its kind 'resize'; restart the "
        "workers, which may have imported older code, or start one whose application has the kind (after a rename, "
        "keep the old name with aliases=[…]): "
        "posthorse worker --app MODULE:APP"
    ]
    assert told() == []
    runner = hire(app, "resize")
    assert told() == []
    app.store.run(retire(runner))
    assert told() == []
    assert len(told()) == 1


def test_a_served_queue_and_an_empty_one_are_well(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    job = app.job(queue="media")(resize).enqueue()
    hire(app, "resize")
    assert app.store.read(waiting_kinds()) == [("media", "resize")]
    chore = LookForUnservedJobs(app.store, app.registry.queues)
    for _ in range(3):
        asyncio.run(chore.run(None))
    job.cancel()
    assert app.store.read(waiting_kinds()) == []
    asyncio.run(chore.run(None))
    assert not caplog.records
    assert 0 < chore.due_in(None) <= 30
