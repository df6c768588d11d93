"""Failures: whatever a job's code does becomes an outcome, the worker lives on, and the evidence is kept."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import NoReturn

import pytest

import posthorse as ph
from posthorse.clock import Clock
from posthorse.rules.outcomes import Crashed, Lost
from posthorse.store.operations import read
from tests.waiting import until, until_state
from tests.worker.attempts import end_attempt


def failed(job: ph.Job[object]) -> ph.JobError:
    """Return the evidence of a job that failed for good."""
    status = until_state(job, "failed", "completed")
    assert status.state == "failed"
    assert status.finished_at is not None
    assert status.error is not None
    return status.error


def test_a_job_that_raises_is_tried_again_as_often_as_allowed(app: ph.Posthorse) -> None:
    attempts: list[int] = []

    @app.job(max_attempts=3, backoff=0)
    def bad(ctx: ph.Context) -> None:
        attempts.append(ctx.attempt)
        raise ValueError(f"no good, {ctx.attempt}")

    with app.worker():
        job = bad.enqueue()
        error = failed(job)
    assert attempts == [1, 2, 3]
    assert (error.type, error.message) == ("ValueError", "no good, 3")
    assert error.traceback is not None
    assert "raise ValueError" in error.traceback
    assert job.status().attempt == 3
    with pytest.raises(ph.JobFailed, match="no good, 3"):
        job.result(timeout=1)


def test_a_job_that_recovers_completes_and_tells_its_attempt(app: ph.Posthorse) -> None:
    calls: list[int] = []

    @app.job(backoff=0)
    async def shaky() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError("down")
        return "up"

    with app.worker():
        job = shaky.enqueue()
        assert job.result(timeout=30) == "up"
    assert job.status().attempt == 3


def test_a_retry_waits_for_its_backoff(app: ph.Posthorse) -> None:
    times: list[float] = []

    @app.job(max_attempts=2, backoff="600ms")
    def bad() -> None:
        times.append(time.monotonic())
        raise ValueError

    with app.worker():
        job = bad.enqueue()
        assert until_state(job, "scheduled", "failed").attempt == 2
        failed(job)
    assert 0.59 <= times[1] - times[0] < 3


def test_options_of_one_job_win_over_those_of_its_kind(app: ph.Posthorse) -> None:
    @app.job(max_attempts=5, backoff="1h", timeout="1h")
    async def slow() -> None:
        await asyncio.sleep(3600)

    with app.worker():
        job = slow.using(max_attempts=2, backoff=0, timeout=0.05).enqueue()
        assert failed(job).type == "TimeoutError"
    assert job.status().attempt == 2


def test_an_async_job_that_takes_too_long_is_cancelled_where_it_waits(app: ph.Posthorse) -> None:
    ended = threading.Event()

    @app.job(max_attempts=1, timeout="100ms")
    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    with app.worker():
        error = failed(slow.enqueue())
    assert ended.is_set()
    assert error.message == "the job took longer than its timeout of 0.1 s"


def test_a_timeout_of_the_job_s_own_is_told_from_ours(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1, timeout="1h")
    async def own() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(3600)

    with app.worker():
        assert "longer than its timeout" not in failed(own.enqueue()).message


def test_a_thread_that_takes_too_long_is_ended_at_its_next_checkpoint(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1, timeout="100ms")
    def slow(ctx: ph.Context) -> None:
        while True:
            ctx.checkpoint()
            time.sleep(0.005)  # the work

    with app.worker():
        error = failed(slow.enqueue())
    assert (error.type, error.message) == ("TimeoutError", "the job took longer than its timeout of 0.1 s")


def test_a_sliced_job_that_takes_too_long_goes_on_from_its_last_slice(app: ph.Posthorse) -> None:
    seen: list[int] = []

    @app.job(max_attempts=3, backoff=0, timeout="150ms")
    def slow(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(10), size=1):
            if not seen or ctx.attempt > 1:
                seen.extend(batch)
            else:
                seen.extend(batch)
                time.sleep(0.2)  # the work

    with app.worker():
        job = slow.enqueue()
        job.result(timeout=30)
    assert seen == list(range(10))
    assert job.status().attempt == 2


def test_a_timeout_that_cannot_be_kept_is_refused_at_declaration(app: ph.Posthorse) -> None:
    with pytest.raises(ph.InvalidOption, match="'deaf' cannot keep a timeout"):

        @app.job(timeout="1s")
        def deaf() -> None: ...

    @app.job
    def mute() -> None: ...

    with pytest.raises(ph.InvalidOption, match="no checkpoint"):
        mute.using(timeout=1)


class Unprintable(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("cannot be shown")

    __repr__ = __str__


class Wayward(BaseException):
    """An error that is not an Exception."""


class Leaving(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class HalfACharacter(Exception):
    """An error whose name is not a text that a store takes."""


HalfACharacter.__qualname__ = "Bad\ud800Name"


class Endless(Exception):
    """An error whose name alone would be megabytes."""


Endless.__qualname__ = "x" * 20_000_000


class Vain(type):
    def __getattribute__(cls, name: str) -> object:
        if name in ("__qualname__", "__name__", "__module__"):
            raise KeyboardInterrupt
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=Vain):
    """An error whose class does not tell its name."""


class Words(str):
    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        raise SystemExit

    def __len__(self) -> int:
        raise SystemExit

    def replace(self, *_: object, **__: object) -> NoReturn:
        raise SystemExit


class Boasting(Exception):
    def __str__(self) -> str:
        return Words("well")


RAISED: list[tuple[BaseException, str, str]] = [
    (ValueError("plain"), "ValueError", "plain"),
    (SystemExit(3), "SystemExit", "3"),
    (KeyboardInterrupt(), "KeyboardInterrupt", ""),
    (StopIteration(5), "StopIteration", "5"),
    (StopAsyncIteration(), "StopAsyncIteration", ""),
    (GeneratorExit(), "GeneratorExit", ""),
    (asyncio.CancelledError(), "asyncio.exceptions.CancelledError", ""),
    (MemoryError("full"), "MemoryError", "full"),
    (Unprintable(), f"{__name__}.Unprintable", "its message cannot be shown"),
    (Wayward("lost"), f"{__name__}.Wayward", "lost"),
    (ValueError("a\0b \ud800 " + "x" * 10_000), "ValueError", "x" * 3000),
    (ExceptionGroup("several", [ValueError("one"), OSError("two")]), "ExceptionGroup", "several"),
    (Leaving(), f"{__name__}.Leaving", "its message cannot be shown: SystemExit"),
    (ExceptionGroup("one", [Leaving()]), f"{__name__}.Leaving", "its message cannot be shown: SystemExit"),
    (HalfACharacter("x"), f"{__name__}.Bad\\ud800Name", "x"),
    (Endless("x"), f"{__name__}.{'x' * (199 - len(__name__) - 1)}…", "x"),
    (Nameless("x"), f"{__name__}.Nameless", "x"),
    (Boasting(), f"{__name__}.Boasting", "well"),
]


@pytest.mark.parametrize("is_async", [True, False])
def test_whatever_is_raised_fails_the_job_and_not_the_worker(sqlite_url: str, is_async: bool) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    def bad(number: int) -> None:
        raise RAISED[number][0]

    async def abad(number: int) -> None:
        raise RAISED[number][0]

    kind = app.job(kind="bad", max_attempts=1)(abad) if is_async else app.job(kind="bad", max_attempts=1)(bad)

    @app.job
    def good() -> str:
        return "still here"

    with app.worker(concurrency=1):
        for number, (error, type_, message) in enumerate(RAISED):
            evidence = failed(kind.enqueue(number))
            if is_async and isinstance(error, StopIteration):  # as Python has it for coroutines
                type_, message = "RuntimeError", "coroutine raised StopIteration"
            assert evidence.type == type_, error
            assert message in evidence.message
            assert "\0" not in evidence.message
            assert len(evidence.message) <= 4001
        assert good.enqueue().result(timeout=30) == "still here"
    app.close()


def test_messages_that_no_text_can_hold_are_kept_on_every_store(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def bad() -> None:
        raise Unprintable

    @app.job(max_attempts=1)
    def odd() -> None:
        raise ValueError("a\0b \ud800 \U0001f40e \x1b[31m" + "é" * 10_000)

    with app.worker():
        assert "cannot be shown" in failed(bad.enqueue()).message
        assert failed(odd.enqueue()).message.endswith("é")


def results() -> list[tuple[str, object, str]]:
    cyclic: list[object] = []
    cyclic.append(cyclic)
    return [
        ("an object", object(), "result"),
        ("a cycle", cyclic, "nested"),
        ("a generator", iter(()), "result"),
        ("not a number", float("nan"), "result"),
        ("too large", "x" * 5_000_000, "4,194,304"),
        ("a lone surrogate", "\ud800", "result"),
    ]


def test_a_result_that_cannot_be_stored_fails_the_job(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")
    given = results()

    @app.job(max_attempts=1)
    def give(number: int) -> object:
        return given[number][1]

    with app.worker():
        for number, (what, _, complaint) in enumerate(given):
            assert complaint in failed(give.enqueue(number)).message, what
    app.close()


def test_arguments_that_do_not_fit_wait_for_a_version_that_they_fit(store_url: str) -> None:
    clock = Clock()
    old, new, newer = (ph.Posthorse(store_url, clock=clock, lease="6s") for _ in range(3))

    @old.job(kind="greet")
    def greet_one(name: str) -> str:
        return name

    @new.job(kind="greet")
    def greet_other(number: int) -> int:
        return number

    @newer.job(kind="greet")
    def greet(name: str = "", number: int = 0) -> str:
        return f"hello {name}"

    job = greet_one.enqueue("Ada")
    with new.worker():
        status = until_state(job, "blocked", "failed")
    assert status.state == "blocked"
    assert status.attempt == 1
    assert status.reason is not None
    assert "greet() as it is now" in status.reason
    assert "name" in status.reason
    clock.advance(timedelta(seconds=31))
    with newer.worker():
        assert newer.get_job(job.id).result(timeout=30) == "hello Ada"
    assert job.status().attempt == 1
    for app in (old, new, newer):
        app.close()


def test_a_dead_letter_is_kept_until_it_is_retried_with_fresh_budgets(app: ph.Posthorse) -> None:
    is_mended = threading.Event()

    @app.job(max_attempts=2, backoff=0)
    def shaky() -> str:
        if not is_mended.is_set():
            raise ValueError("broken")
        return "mended"

    with app.worker():
        job = shaky.enqueue()
        failed(job)
        is_mended.set()
        job.retry()
        assert job.result(timeout=30) == "mended"
    status = job.status()
    assert (status.attempt, status.reason) == (1, None)


@pytest.mark.parametrize("ends_by", ["error", "snooze", "stop"])
@pytest.mark.parametrize("commits", [True, False])
def test_a_committed_slice_clears_crashes_and_losses_however_its_attempt_ends(
    app: ph.Posthorse, commits: bool, ends_by: str
) -> None:
    began = threading.Event()

    @app.job(max_attempts=3, backoff="1h")
    def long(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(4), size=2):
            if batch[0] or not commits:
                if ends_by == "snooze":
                    raise ph.Snooze("1h")
                if ends_by == "stop":
                    began.set()
                    until(lambda: ctx.stop_requested, what="the end of the worker")
                    ctx.checkpoint()
                raise ValueError

    job = long.enqueue()
    for outcome in (Lost("gone"), Crashed("killed", alone=True)):
        end_attempt(app, job, outcome)
    assert (job.status().interruptions, job.status().crashes) == (1, 1)
    with app.worker():
        if ends_by == "stop":
            assert began.wait(30)
        else:
            until_state(job, "scheduled")
    status = job.status()
    assert (status.interruptions, status.crashes) == ((0, 0) if commits else (1, 1))


@pytest.mark.tuning(unfit_wait=1_000)
def test_what_does_not_fit_is_warned_of_once_for_each_kind(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    def before(user_id: int) -> None: ...

    def since(user_name: str) -> None: ...

    earlier = ph.Posthorse(app.settings.url)
    app.migrate()
    kinds = [earlier.job(kind=kind)(before) for kind in ("mail", "call")]
    jobs = [kind.enqueue(7) for kind in kinds for _ in range(3)]
    earlier.close()
    for kind in ("mail", "call"):
        app.job(kind=kind)(since)
    with caplog.at_level("INFO", logger="posthorse.worker"), app.worker():
        statuses = [until_state(app.get_job(job.id), "blocked") for job in jobs]
        for job in jobs:
            until(lambda job=job: len(app.store.read(read.events(job.id))) > 1)  # type: ignore[misc]  # bound now
    told = [record for record in caplog.records if "unfit:" in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING", "WARNING"]
    assert all((status.reason or "").startswith("unfit:") for status in statuses)
