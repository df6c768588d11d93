"""Dead letters that grow are reported: once per burst, to the log and to observers, whoever looks, across restarts."""

from __future__ import annotations

import asyncio
import logging
import shlex
import threading
from collections.abc import Iterator, Sequence

import pytest

import posthorse as ph
from posthorse.clock import Clock
from posthorse.maintenance.chores.dead_letters import LookAtDeadLetters
from posthorse.rules.growth import AlarmRule, Observer
from posthorse.rules.job import NewJob
from posthorse.rules.tuning import Tuning
from posthorse.store.operations.dead_letters import new_dead_letters
from posthorse.store.operations.runners import next_due
from tests.statuses import list_statuses
from tests.waiting import until, until_state

Grew = ph.events.DeadLettersGrew


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(store_url: str, clock: Clock) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, clock=clock, lease="6s", tuning=Tuning(dead_letters_interval=0.05))
    app.job(kind="broken", queue="mail", max_attempts=1)(broken)
    yield app
    app.close()


def broken(error: str) -> None:
    raise {"timeout": TimeoutError, "key": KeyError}[error](error)


def die(app: ph.Posthorse, *errors: str, queue: str = "mail") -> list[ph.Job[object]]:
    """Enqueue jobs that will become dead letters."""
    kind: ph.Kind[[str], object] = ph.Kind(app, app.registry["broken"])
    return app.enqueue_many([kind.using(queue=queue).bind(error) for error in errors])


def observed(app: ph.Posthorse, **options: object) -> list[Grew]:
    """Return the list in which an observer of five dead letters in three seconds records its calls."""
    told: list[Grew] = []

    def tell(event: Grew) -> None:
        told.append(event)

    app.on(Grew, by=5, within="3s", name="tell")(tell)
    return told


def look(app: ph.Posthorse, *, leads: bool = False, by: LookAtDeadLetters | None = None) -> None:
    """Let a process look now."""
    looks = by or LookAtDeadLetters(app.store, app.registry.observers, app.registry.queues)
    until(lambda: looks.due_in(None) <= 0)
    nothing_due = app.store.read(next_due())
    asyncio.run(looks.run(nothing_due if leads else None))


def work_off(app: ph.Posthorse, jobs: Sequence[ph.Job[object]]) -> None:
    """Let a worker that looks at nothing run them until they die."""
    tuning = Tuning(dead_letters_interval=3_600.0)
    quiet = ph.Posthorse(app.settings.url, clock=app.store.clock, lease="6s", tuning=tuning)
    quiet.job(kind="broken", queue="mail", max_attempts=1)(broken)
    with quiet.worker():
        for job in jobs:
            until_state(job, "failed")
    quiet.close()


def events_of(app: ph.Posthorse) -> int:
    return sum(status.kind == "tell" for status in list_statuses(app, limit=1_000))


def test_a_burst_is_told_to_its_observer_with_figures_and_the_next_one_too(app: ph.Posthorse) -> None:
    told = observed(app)
    with app.worker():
        jobs = die(app, *["timeout"] * 4, "key")
        until(lambda: told, what="the observer is told")
        [first] = told
        die(app, *["key"] * 5)
        until(lambda: len(told) == 2, what="the observer is told again")
    assert (first.queue, first.count, first.kinds) == ("mail", 5, {"broken": 5})
    assert first.errors == {"TimeoutError": 4, "KeyError": 1}
    assert sorted(first.jobs) == sorted(job.id for job in jobs)
    ended = [at for at in (job.status().finished_at for job in jobs) if at is not None]
    assert min(ended) <= first.since <= first.until < told[1].since
    assert max(ended) <= first.until
    assert (told[1].count, told[1].errors) == (5, {"KeyError": 5})


def test_a_restart_tells_nothing_again(app: ph.Posthorse) -> None:
    told = observed(app)
    with app.worker():
        die(app, *["key"] * 5)
        until(lambda: told, what="the observer is told")
    for _ in range(3):
        look(app, leads=True)
    assert (len(told), events_of(app)) == (1, 1)


def test_fewer_than_it_takes_and_those_of_other_queues_are_told_to_nobody(app: ph.Posthorse) -> None:
    told = observed(app)
    with app.worker():
        jobs = die(app, *["key"] * 4) + die(app, *["key"] * 4, queue="photos")
        for job in jobs:
            until_state(job, "failed")
        until(lambda: len(app.store.read(new_dead_letters(3_000_000)).found) == 8)
        look(app, leads=True)
    assert (told, events_of(app)) == ([], 0)


def test_while_the_queue_of_observers_is_closed_nothing_is_told_and_then_it_is(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    observed(app)
    jobs = die(app, *["key"] * 5)
    app.queue("posthorse").drain()
    with app.worker():
        for job in jobs:
            until_state(job, "failed")
    look(app)
    assert events_of(app) == 0
    assert "cannot tell tell of dead letters: queue 'posthorse' is being drained" in caplog.text
    app.queue("posthorse").resume()
    look(app)
    assert events_of(app) == 1


def test_an_observer_that_fails_is_tried_again_and_its_death_is_told_to_nobody(app: ph.Posthorse) -> None:
    attempts: list[Grew] = []

    @app.on(Grew, by=1, within="1h", name="tell", max_attempts=2, backoff=0)
    def tell(event: Grew) -> None:
        attempts.append(event)
        raise ConnectionError("the mail server is away")

    with app.worker():
        die(app, "key")
        until(lambda: len(attempts) == 2, what="the observer was tried twice")
        until(lambda: app.jobs("state:failed kind:tell").count() == 1, what="the observer is a dead letter")
        for _ in range(3):
            look(app)
    assert attempts[0] == attempts[1]
    assert events_of(app) == 1


def test_processes_that_race_tell_once(app: ph.Posthorse) -> None:
    observed(app)
    work_off(app, die(app, *["key"] * 5))
    start = threading.Barrier(6)

    def race() -> None:
        start.wait()
        look(app)

    threads = [threading.Thread(target=race) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert events_of(app) == 1


def test_without_an_observer_the_log_tells_once_what_can_be_typed(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    work_off(app, die(app, *["timeout"] * 11, "key", queue="my mail"))
    with caplog.at_level(logging.WARNING, "posthorse.maintenance"):
        look(app, leads=False)
        assert told_to(caplog) == []
        look(app, leads=True)
        look(app, leads=True)
    [said] = told_to(caplog)
    assert said.startswith("dead letters of queue my mail grew by 12 in 5m: 11 × TimeoutError, 1 × KeyError (")
    assert app.jobs(said.partition("--filter '")[2].partition("'")[0]).count() == 12


def test_what_the_log_says_of_an_odd_queue_can_be_typed(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    work_off(app, die(app, *["key"] * 10, queue='my "mail", \\ and o\'clock'))
    with caplog.at_level(logging.WARNING, "posthorse.maintenance"):
        look(app, leads=True)
    [said] = told_to(caplog)
    command = shlex.split(said.rpartition("(posthorse ")[2].removesuffix(")"))
    assert command[:2] == ["jobs", "--filter"]
    assert app.jobs(command[2]).count() == 10


def test_a_worker_tells_the_log(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    with app.worker(), caplog.at_level(logging.WARNING, "posthorse.maintenance"):
        die(app, *["key"] * 10)
        until(lambda: told_to(caplog), what="the log tells")


def test_an_event_that_cannot_be_told_keeps_nobody_from_the_others(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Grew) -> NewJob:
        raise RuntimeError("no")

    observed(app)
    working = app.registry.observers["tell"]
    broken = Observer(AlarmRule("broken", by=1), working.lane, fail)
    app.registry.observers = {"broken": broken, "tell": working}
    work_off(app, die(app, *["key"] * 5))
    look(app)
    assert events_of(app) == 1
    assert "cannot tell broken of dead letters" in caplog.text


def told_to(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.startswith("dead letters of queue")]
