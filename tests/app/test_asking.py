"""Asking about jobs, waiting for their results, and steering them in each state."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import fields

import pytest

import posthorse as ph
from tests.waiting import until_state

UNKNOWN = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


def test_a_job_is_looked_up_at_first_use_and_not_before(app: ph.Posthorse) -> None:
    job = app.get_job(UNKNOWN.upper())
    assert job.id == UNKNOWN
    assert repr(job) == f"<Job {UNKNOWN}>"
    for use in (job.status, job.result, job.pause, job.resume, job.cancel, job.retry):
        with pytest.raises(ph.JobNotFound, match=UNKNOWN):
            use()


def test_unknown_jobs_are_unknown_in_both_colours(app: ph.Posthorse) -> None:
    async def use() -> None:
        job = app.get_job(UNKNOWN)
        for verb in (job.astatus, job.aresult, job.apause, job.aresume, job.acancel, job.aretry):
            with pytest.raises(ph.JobNotFound):
                await verb()

    asyncio.run(use())


@pytest.mark.parametrize("job_id", ["", "7", "%2e%2e", "a\0b", "x" * 10_000, UNKNOWN + "0", None, 7, UNKNOWN.encode()])
def test_what_can_be_no_id_is_refused(sqlite_url: str, job_id: object) -> None:
    with pytest.raises(ph.InvalidOption, match="not a job id") as refused:
        ph.Posthorse(sqlite_url).get_job(job_id)  # type: ignore[arg-type]  # that is the point
    assert len(str(refused.value)) < 200


def test_a_kind_knows_its_jobs(app: ph.Posthorse) -> None:
    @app.job
    def answer() -> int:
        return 42

    job = answer.enqueue()
    with app.worker():
        assert answer.get_job(job.id).result(timeout=30) == 42


def test_the_fields_of_a_status_are_these() -> None:
    promised = {"state", "reason", "kind", "queue", "tenant", "attempt", "progress", "requested", "error"}
    assert {field.name for field in fields(ph.Status)} >= promised | {"created_at", "started_at", "finished_at"}


def test_a_state_equals_its_word() -> None:
    assert all(state == str(state) == state.value for state in ph.State)
    assert f"{ph.State.FAILED}" == "failed"
    assert [state for state in ph.State if state.is_final] == ["completed", "failed", "cancelled"]


def test_results_come_back_as_they_are_annotated(app: ph.Posthorse) -> None:
    @app.job
    def pair() -> tuple[int, frozenset[str]]:
        return 1, frozenset({"a"})

    @app.job
    def nothing() -> None: ...

    with app.worker():
        assert pair.enqueue().result(timeout=30) == (1, frozenset({"a"}))
        assert nothing.enqueue().result(timeout=30) is None


def test_the_text_of_a_failure_contains_the_message_of_the_job(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def bad() -> None:
        raise ValueError('the address is bad: <b>"x"</b>')

    with app.worker():
        job = bad.enqueue()
        with pytest.raises(ph.JobFailed, match='the address is bad: <b>"x"</b>'):
            job.result(timeout=30)
        with pytest.raises(ph.JobFailed, match="the address is bad"):
            asyncio.run(job.aresult(timeout=30))


def test_waiting_ends_with_the_timeout_and_the_job_goes_on(app: ph.Posthorse) -> None:
    @app.job
    def lone() -> None: ...

    job = lone.enqueue()
    with pytest.raises(TimeoutError, match="it goes on"):
        job.result(timeout=0)
    with pytest.raises(TimeoutError):
        job.result(timeout="20ms")
    with pytest.raises(TimeoutError):
        asyncio.run(job.aresult(timeout=0.02))
    assert job.status().state == "pending"


@pytest.mark.parametrize("timeout", [-1, "soon", float("nan"), True])
def test_a_timeout_that_is_none_is_refused(sqlite_url: str, timeout: float) -> None:
    with pytest.raises(ph.InvalidOption, match="timeout is"):
        ph.Posthorse(sqlite_url).get_job(UNKNOWN).result(timeout=timeout)


def test_a_sync_result_inside_a_running_loop_raises(app: ph.Posthorse) -> None:
    async def wait() -> None:
        with pytest.raises(RuntimeError, match="aresult"):
            app.get_job(UNKNOWN).result(timeout=1)

    asyncio.run(wait())


def test_who_waits_for_a_cancelled_job_is_told(app: ph.Posthorse) -> None:
    @app.job
    def lone() -> None: ...

    job = lone.enqueue()
    job.cancel()
    with pytest.raises(ph.JobCancelled, match=job.id):
        job.result(timeout=1)


# ── steering, state by state ─────────────────────────────────────────────────────────────────────────

ALLOWED = {
    "pending": {"pause": "paused", "resume": "pending", "cancel": "cancelled"},
    "scheduled": {"pause": "paused", "resume": "scheduled", "cancel": "cancelled"},
    "paused": {"pause": "paused", "resume": "pending", "cancel": "cancelled"},
    "processing": {"pause": "processing", "resume": "processing", "cancel": "processing"},
    "completed": {},
    "failed": {"retry": "pending"},
    "cancelled": {"cancel": "cancelled", "retry": "pending"},
}


def make(app: ph.Posthorse, state: str, go: threading.Event) -> ph.Job[object]:
    """Make a job in this state."""

    @app.job(max_attempts=1)
    def work(state: str) -> None:
        if state == "failed":
            raise ValueError
        if state == "processing":
            assert go.wait(30)

    if state == "scheduled":
        return work.using(delay="1h").enqueue(state)
    job = work.enqueue(state)
    if state == "paused":
        job.pause()
    elif state == "cancelled":
        job.cancel()
    return job


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("state", ALLOWED)
@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry"])
def test_each_state_allows_what_the_graph_says(sqlite_url: str, state: str, verb: str, colour: str) -> None:
    check_verb(sqlite_url, state, verb, colour)


@pytest.mark.parametrize("state", ALLOWED)
def test_each_state_allows_the_same_on_postgres(postgres_url: str, state: str) -> None:
    check_verb(postgres_url, state, "cancel", "sync")


def check_verb(url: str, state: str, verb: str, colour: str) -> None:
    app = ph.Posthorse(url, lease="6s")
    go = threading.Event()
    job = make(app, state, go)

    def ask() -> str:
        return str(getattr(job, verb)() if colour == "sync" else asyncio.run(getattr(job, f"a{verb}")()))

    def check() -> None:
        assert job.status().state == state
        if verb in ALLOWED[state]:
            assert ask() == ALLOWED[state][verb]
            assert job.status().state == ALLOWED[state][verb]
        else:
            with pytest.raises(ph.InvalidTransition, match=f"{state}, so it cannot be"):
                ask()
            assert job.status().state == state

    if state in ("processing", "completed", "failed"):
        with app.worker():
            until_state(job, state)
            if state == "processing":
                check()
                go.set()
        if state != "processing":
            check()
    else:
        check()
    app.close()


def test_a_scheduled_job_that_was_paused_still_waits_for_its_time(app: ph.Posthorse) -> None:
    @app.job
    def late() -> None: ...

    job = late.using(delay="1h").enqueue()
    job.pause()
    assert job.resume() == "scheduled"
    assert job.status().state == "scheduled"


def test_force_is_as_good_as_asking_when_nobody_runs_the_job(app: ph.Posthorse) -> None:
    @app.job
    def lone() -> None: ...

    job = lone.enqueue()
    assert job.pause(force=True) == "paused"
    assert job.cancel(force=True) == "cancelled"
    assert job.retry() == "pending"


def test_a_forced_cancel_ends_a_job_whose_code_never_will(app: ph.Posthorse) -> None:
    began, go = threading.Event(), threading.Event()

    @app.job
    def stuck() -> str:
        began.set()
        assert go.wait(30)
        return "too late"

    with app.worker():
        job = stuck.enqueue()
        assert began.wait(30)
        assert job.cancel(force=True) == "cancelled"
        with pytest.raises(ph.JobCancelled):
            job.result(timeout=1)
        go.set()
    assert job.status().state == "cancelled"
    assert job.status().finished_at is not None


def test_a_job_of_another_kind_is_not_found_by_this_one(app: ph.Posthorse) -> None:
    @app.job
    def number() -> int:
        return 7

    @app.job
    def word() -> str:
        return "seven"

    @app.job(aliases=["old_number"])
    def new_number() -> int:
        return 8

    job = number.enqueue()
    wrong: list[Callable[[ph.Job[str]], object]] = [
        lambda job: job.status(),
        lambda job: job.result(timeout=0),
        lambda job: job.attempts(),
        lambda job: job.cancel(),
        lambda job: job.retry(arguments={}),
        lambda job: job.bad_items(),
        lambda job: asyncio.run(job.astatus()),
        lambda job: asyncio.run(job.aresult(timeout=0)),
        lambda job: asyncio.run(job.acancel()),
        lambda job: asyncio.run(job.aretry_bad_items()),
    ]
    for use in wrong:
        with pytest.raises(ph.JobNotFound, match=f"job {job.id} is of the kind 'number' and not of 'word'"):
            use(word.get_job(job.id))
    assert job.status().state == "pending"
    again = number.get_job(job.id)
    assert again == job
    with app.worker():
        assert again.result(timeout=30) == 7
    assert asyncio.run(number.get_job(job.id).aresult()) == 7
    with pytest.raises(ph.JobNotFound, match="no job has the id"):
        word.get_job("01936f5e-7c1a-7d2b-8e3f-0123456789ab").status()


def test_a_job_under_an_old_name_is_found_by_its_kind(store_url: str) -> None:
    before, after = ph.Posthorse(store_url), ph.Posthorse(store_url)
    old = before.job(kind="old")(lambda: 1)
    new = after.job(kind="new", aliases=["old"])(lambda: 1)
    assert new.get_job(old.enqueue().id).status().kind == "old"
    before.close()
    after.close()
