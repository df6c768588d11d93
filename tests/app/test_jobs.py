"""Many jobs at once: found by a filter, retried at a rate, cancelled, discarded; and one with other arguments."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

import posthorse as ph
from posthorse.app.jobs import affected, steer
from posthorse.rules.job import State
from posthorse.store.operations.bulk import Steered
from posthorse.store.operations.read import events
from tests.waiting import until_state

Made = dict[str, ph.Job[object]]


@pytest.fixture
def letters(app: ph.Posthorse) -> Made:
    """Make a dead letter of each sort, and jobs that are not dead letters."""

    @app.job(max_attempts=1)
    def welcome(user_id: int, name: str = "") -> str:
        if user_id < 0:
            raise LookupError("no such user")
        return f"{user_id} {name}"

    @app.job(queue="reports", tags=["a,b", "big"])
    def report(week: str) -> None:
        raise ph.GiveUp("no figures")

    @app.job
    def idle() -> None: ...

    made: Made = {
        "welcome": welcome.enqueue(-1),
        "reader": welcome.using(tags=['say "big"'], tenant="acme").enqueue(-2, name="Ada"),
        "report": report.enqueue("W47"),
        "fine": welcome.enqueue(1),
    }
    with app.worker():
        for job in made.values():
            until_state(job, "failed", "completed")
    made["idle"] = idle.enqueue()
    made["later"] = idle.using(delay="1h").enqueue()
    return made


FOUND = {
    "": "welcome reader report fine idle later",
    "state:failed": "welcome reader report",
    "kind:welcome": "welcome reader fine",
    "kind:welcome state:failed": "welcome reader",
    "queue:reports": "report",
    "tag:big": "report",
    'tag:"a,b"': "report",
    "tag:a,big": "report",
    "welc": "welcome reader fine",
    "state:failed -kind:report": "welcome reader",
    "state:completed,pending": "fine idle",
    "args.user_id:-2": "reader",
    "args.week:W*": "report",
    "until:1h": "",
    "tag:b": "",
    "tenant:acme": "reader",
    "error:LookupError": "welcome reader",
    "error:GiveUp": "report",
    "error:posthorse.GiveUp state:failed": "report",
    "error:Up": "",
    "reason:gave-up": "report",
    'reason:"failed in 1"': "welcome reader",
    "reason:crashed state:failed": "",
    "state:scheduled": "later",
    "state:pending": "idle",
    "state:completed": "fine",
    "state:processing": "",
    f"reason:{socket.gethostname().partition('-')[0]}": "",  # where the worker of a completed job is stored
    "older:1h": "",
    "newer:1h state:failed": "welcome reader report",
}
"""The jobs that each filter finds."""


def test_filters_find_what_they_say(app: ph.Posthorse, letters: Made) -> None:
    for wanted, names in FOUND.items():
        found = app.jobs(wanted)
        expected = [letters[name] for name in names.split()]
        assert {job.id for job in found} == {job.id for job in expected}, wanted
        if "state:failed" not in wanted:  # these are ordered by when they became dead letters
            assert list(found) == expected, wanted
        assert found.count() == len(names.split()), wanted


def test_age_counts_from_the_end(app: ph.Posthorse, letters: Made) -> None:
    app.store.clock.advance(timedelta(hours=2))
    assert app.jobs("state:failed older:1h").count() == 3
    assert app.jobs("state:failed newer:1h").count() == 0


@pytest.mark.tuning(steering_page=2)
def test_dead_letters_are_retried_at_a_rate_in_pages(app: ph.Posthorse, letters: Made) -> None:
    dead = list(app.jobs("state:failed"))  # ordered by when they became dead letters
    assert app.jobs("state:failed").retry(rate="2/m") == 3
    statuses = [job.status() for job in dead]
    assert [status.state for status in statuses] == ["pending", "scheduled", "scheduled"]
    second, third = (status.run_at for status in statuses[1:])
    assert second is not None
    assert third is not None
    assert abs(third - second - timedelta(seconds=30)) < timedelta(seconds=2)
    assert [status.attempt for status in statuses] == [1, 1, 1]
    assert app.jobs("state:failed").count() == 0
    assert app.jobs("state:failed").retry() == 0


def test_only_jobs_that_fit_are_steered_and_a_state_that_forbids_it_is_told(app: ph.Posthorse, letters: Made) -> None:
    assert app.jobs("kind:report").retry() == 1
    assert letters["report"].status().state == "pending"
    assert letters["welcome"].status().state == "failed"
    for wanted in ("state:pending", "state:completed"):
        with pytest.raises(ph.InvalidTransition, match="state:failed"):
            app.jobs(wanted).retry()
        with pytest.raises(ph.InvalidTransition, match="state:failed"):
            app.jobs(wanted).discard()


def test_discarded_letters_are_off_the_list_and_stay_readable(app: ph.Posthorse, letters: Made) -> None:
    assert app.jobs("error:LookupError tenant:acme").discard() == 1
    status = letters["reader"].status()
    assert (status.state, status.reason) == ("cancelled", "discarded")
    assert status.error is not None
    assert status.finished_at is not None
    assert app.jobs("state:failed").count() == 2
    assert letters["welcome"].discard() == "cancelled"
    with pytest.raises(ph.InvalidTransition, match="is completed, so it cannot be discarded"):
        letters["fine"].discard()
    assert letters["reader"].retry() == "pending"


def test_what_is_not_over_is_cancelled(app: ph.Posthorse, letters: Made) -> None:
    assert app.jobs("kind:idle").cancel() == 2
    assert {letters[name].status().state for name in ("idle", "later")} == {State.CANCELLED}
    assert app.jobs("kind:idle").cancel() == 0
    with pytest.raises(ph.InvalidTransition, match="are failed are over"):
        app.jobs("state:failed").cancel()
    assert app.jobs("state:cancelled").retry() == 2


def test_a_filter_that_says_nothing_steers_no_job(app: ph.Posthorse, letters: Made) -> None:
    before = [job.status().state for job in letters.values()]
    for wanted in ("", "  ", "\n"):
        jobs = app.jobs(wanted)
        for verb in (jobs.pause, jobs.resume, jobs.cancel, jobs.retry, jobs.discard):
            with pytest.raises(ph.InvalidOption, match="the filter is empty"):
                verb()
        with pytest.raises(ph.InvalidOption, match="the filter is empty"):
            asyncio.run(jobs.acancel())
    assert [job.status().state for job in letters.values()] == before
    assert app.jobs().count() == len(letters)


@pytest.mark.tuning(steering_page=2)
def test_many_are_paused_and_go_on(app: ph.Posthorse, letters: Made) -> None:
    assert app.jobs("newer:1h").pause() == 2
    assert app.jobs("newer:1h").pause() == 0
    assert {letters[name].status().state for name in ("idle", "later")} == {State.PAUSED}
    assert asyncio.run(app.jobs("kind:idle").aresume()) == 2
    assert [letters[name].status().state for name in ("idle", "later")] == ["pending", "scheduled"]
    for wanted in ("state:failed", "state:paused"):
        with pytest.raises(ph.InvalidTransition, match=r"cannot be paused; ask for state:scheduled or"):
            app.jobs(wanted).pause()


def test_running_jobs_are_asked_once_and_a_pause_is_taken_back(app: ph.Posthorse) -> None:
    begun, may_end = threading.Event(), threading.Event()

    @app.job
    def patient() -> None:
        begun.set()
        assert may_end.wait(60)

    job, jobs = patient.enqueue(), app.jobs("kind:patient")
    with app.worker():
        assert begun.wait(60)
        assert affected(jobs, "pause") == 1
        assert steer(jobs, "pause") == Steered(done=1, running=1)
        assert (jobs.pause(), affected(jobs, "pause")) == (0, 0)
        assert steer(jobs, "resume") == Steered(done=1, running=0)
        assert job.status().requested is None
        assert jobs.resume() == 0
        assert (jobs.cancel(), jobs.cancel()) == (1, 0)
        may_end.set()
        until_state(job, "cancelled", "completed")


def test_coroutines_do_the_same(app: ph.Posthorse, letters: Made) -> None:
    async def steering() -> tuple[list[str], int, int, int, int]:
        wanted = app.jobs("state:failed")
        found = [job.id async for job in wanted]
        counted = await wanted.acount()
        retried = await app.jobs("kind:welcome").aretry()
        cancelled = await app.jobs("kind:welcome").acancel()
        return found, counted, retried, cancelled, await wanted.adiscard()

    expected = [job.id for job in app.jobs("state:failed")]
    found, *counts = asyncio.run(steering())
    assert found == expected
    assert set(found) == {letters[name].id for name in ("welcome", "reader", "report")}
    assert counts == [3, 2, 2, 1]


def test_arguments_are_mended_on_retry(app: ph.Posthorse, letters: Made) -> None:
    reader, welcome = letters["reader"], letters["welcome"]
    with pytest.raises(ph.InvalidArgument, match="user_id"):
        reader.retry(arguments={"user_id": "7"})
    with pytest.raises(ph.InvalidArgument, match="no argument 'user'; it takes user_id, name"):
        reader.retry(arguments={"user": 7})
    assert reader.status().state == "failed"
    assert reader.retry(arguments={"user_id": 7}) == "pending"
    assert asyncio.run(welcome.aretry_with(8, name="Bob")) == "pending"
    with pytest.raises(ph.InvalidTransition):
        reader.retry_with(9)
    with app.worker():
        assert [job.result(timeout=30) for job in (reader, welcome)] == ["7 Ada", "8 Bob"]
    outcomes = [(attempt.number, attempt.outcome) for attempt in reader.attempts()]
    assert outcomes == [(1, "failed"), (1, "completed")]


def test_a_unique_job_keeps_its_identity_when_its_arguments_change(app: ph.Posthorse) -> None:
    @app.job(unique=True, max_attempts=1)
    def lonely(n: int) -> None:
        raise ValueError

    with app.worker():
        dead = lonely.enqueue(1)
        until_state(dead, "failed")
    other = lonely.enqueue(2)
    with pytest.raises(ph.InvalidTransition, match="unique"):
        dead.retry(arguments={"n": 2})
    assert app.jobs("state:failed").retry() == 1
    assert other.status().state == "pending"
    assert dead.status().state == "pending"


def test_two_who_retry_the_same_letters_start_each_once(app: ph.Posthorse, letters: Made) -> None:
    wanted = app.jobs("state:failed")
    with ThreadPoolExecutor(4) as callers:
        answers = [callers.submit(wanted.retry) for _ in range(4)]
    assert sum(answer.result() for answer in answers) == 3
    assert [event.name for event in app.store.read(events(letters["welcome"].id))] == ["failed", "retried"]
