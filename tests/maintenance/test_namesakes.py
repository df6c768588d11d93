"""Namesakes: a worker that starts reports kinds that a living worker of another application has under the same name."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator

import pytest

import posthorse as ph
from posthorse.maintenance.namesakes import tell_of_namesakes
from posthorse.rules.namesakes import Serving
from posthorse.store.operations.read import workers
from posthorse.store.operations.runners import Runner, beat, register
from posthorse.store.operations.unserved import unserved
from posthorse.store.operations.why import surroundings
from tests.waiting import until

LEASE = 30.0


def welcome() -> str:
    return "welcome"


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url)
    app.migrate()
    app.job(welcome)
    yield app
    app.close()


def enter(app: ph.Posthorse, place: str | None, *queues: str) -> Runner:
    """Register a living runner of an application that has its kind there."""
    places = {} if place is None else {"welcome": place}
    runner = Runner(str(uuid.uuid4()), "bank:1", "h", 1, "0", 2, queues, ("welcome",), places=places)
    app.store.run(register(runner, lease=round(LEASE * 1_000_000)))
    return runner


def told(app: ph.Posthorse, caplog: pytest.LogCaptureFixture, *queues: str) -> list[str]:
    mine = Serving("shop:1", queues, app.registry.places())
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="posthorse.maintenance"):
        asyncio.run(tell_of_namesakes(app.store, mine, lease=LEASE))
    return [record.getMessage() for record in caplog.records]


def test_a_starting_worker_tells_of_another_application_once(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        enter(app, "bank.mail:welcome")
    with caplog.at_level(logging.WARNING, logger="posthorse.maintenance"), app.worker():
        until(lambda: caplog.records, what="the worker tells of it")
    [record] = caplog.records
    assert record.getMessage().startswith(
        f"kind welcome is {__name__}:welcome here and bank.mail:welcome in worker bank:1, so each may run "
    )


def test_the_same_code_other_queues_and_those_who_leave_are_not_told_of(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    enter(app, f"{__name__}:welcome")  # as in a rolling deploy
    enter(app, None)  # of an older version, or a script
    leaving = enter(app, "bank.mail:welcome")
    app.store.run(beat(leaving.id, lease=round(LEASE * 1_000_000), running=1, draining=True))
    assert told(app, caplog) == []
    enter(app, "bank.mail:welcome", "media")
    assert told(app, caplog, "mail") == []
    assert len(told(app, caplog, "mail", "media")) == 1


def test_what_a_runner_enters_of_places_is_told_apart_from_its_kinds(app: ph.Posthorse) -> None:
    enter(app, "bank.mail:welcome")
    [row] = app.store.read(workers())
    assert (row.kinds, row.places) == (["welcome"], {"welcome": "bank.mail:welcome"})
    [server] = app.store.read(surroundings()).servers
    assert server.kinds == ["welcome"]
    job: ph.Kind[[], object] = ph.Kind(app, app.registry["welcome"])
    job.enqueue()
    assert app.store.read(unserved()) == []
