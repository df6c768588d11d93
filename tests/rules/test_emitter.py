"""The emitter: which listeners an event calls, and what a listener that fails does to the others."""

from __future__ import annotations

import logging

import pytest

from posthorse.rules.emitter import Emitter
from posthorse.rules.events import Started, Submitted, SubmittedJob

STARTED = Started(job="1", kind="k", queue="q", tenant=None, attempt=1, runner="r")
SUBMITTED = Submitted(jobs=[SubmittedJob(job="1", kind="k", queue="q", tenant=None)])


def test_a_listener_is_called_at_its_events_alone_until_it_unsubscribes() -> None:
    emitter, heard = Emitter(), list[object]()
    unsubscribe = emitter.subscribe(heard.append, Started)
    emitter.emit(STARTED)
    emitter.emit(SUBMITTED)
    unsubscribe()
    emitter.emit(STARTED)
    assert heard == [STARTED]


def test_an_attribute_is_true_as_long_as_a_listener_is_there() -> None:
    emitter = Emitter()
    assert not emitter.started
    assert not emitter.submitted
    unsubscribe = emitter.subscribe(print, Started)
    assert emitter.started
    assert not emitter.submitted
    unsubscribe()
    assert not emitter.started


def test_a_listener_that_subscribes_twice_is_called_once() -> None:
    emitter, heard = Emitter(), list[object]()
    for _ in range(2):
        emitter.subscribe(heard.append, Started, Started)
    emitter.emit(STARTED)
    assert heard == [STARTED]


def test_a_listener_may_leave_while_it_is_called() -> None:
    emitter, heard = Emitter(), list[str]()

    def once(event: Started) -> None:
        heard.append("once")
        emitter.unsubscribe(once)

    emitter.subscribe(once, Started)
    emitter.subscribe(lambda _: heard.append("always"), Started)
    emitter.emit(STARTED)
    emitter.emit(STARTED)
    assert heard == ["once", "always", "always"]


@pytest.mark.parametrize("error", [ValueError("of its own"), SystemExit(3), GeneratorExit()])
def test_a_listener_that_fails_is_logged_once_for_each_event_and_the_others_are_called(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    emitter, heard = Emitter(), list[object]()

    def fail(event: object) -> None:
        heard.append("fails")
        raise error

    emitter.subscribe(fail, Started, Submitted)
    emitter.subscribe(heard.append, Started, Submitted)
    with caplog.at_level(logging.ERROR, "posthorse.events"):
        for event in (STARTED, STARTED, SUBMITTED, SUBMITTED):
            emitter.emit(event)
    assert heard == ["fails", STARTED, "fails", STARTED, "fails", SUBMITTED, "fails", SUBMITTED]
    assert [record.message.split("; ")[0].rpartition(".")[2] for record in caplog.records] == [
        "fail failed at Started",
        "fail failed at Submitted",
    ]


def test_an_interrupt_of_the_user_is_not_taken_for_a_failure_of_the_listener() -> None:
    emitter = Emitter()

    def interrupted(event: object) -> None:
        raise KeyboardInterrupt

    emitter.subscribe(interrupted, Started)
    with pytest.raises(KeyboardInterrupt):
        emitter.emit(STARTED)
