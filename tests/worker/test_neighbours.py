"""Neighbours in one process: whatever one job does, leaves behind or raises never reaches another."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import msgspec
import pytest

import posthorse as ph
from posthorse.rules.lifecycle import Transition, decide
from posthorse.rules.values.results import encode_result
from posthorse.worker.base.event_loop import new_loop, run_to_end
from posthorse.worker.running import execution
from tests.waiting import until, until_state

_colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")
WARM_UP = 30
"""Jobs after which a worker claims ahead, so that jobs run right after each other."""


class Escape(BaseException):
    """An error that Posthorse would never raise."""


def test_each_job_on_the_loop_has_a_task_of_its_own(app: ph.Posthorse) -> None:
    """SQLAlchemy, for one, scopes sessions by the current task."""
    tasks: list[object] = []

    @app.job
    async def note(waits: bool) -> None:
        tasks.append(asyncio.current_task())
        if waits:
            await asyncio.sleep(0)

    with app.worker(concurrency=2):
        for job in app.enqueue_many([note.bind(number % 3 == 0) for number in range(300)]):
            job.result(timeout=30)
    assert len(tasks) == len({id(task) for task in tasks}) == 300
    assert None not in tasks


def test_a_late_cancellation_meets_no_other_job(app: ph.Posthorse) -> None:
    """As with `loop.call_later(…, asyncio.current_task().cancel)`, whose handle is never cancelled."""
    left: list[Callable[[], bool]] = []

    @app.job(max_attempts=1)
    async def leaves_a_timer() -> None:
        task = asyncio.current_task()
        assert task is not None
        left.append(task.cancel)

    @app.job(max_attempts=1)
    async def waits() -> str:
        for cancel in left:
            cancel()
        await asyncio.sleep(0.01)
        return "whole"

    @app.job(max_attempts=1)
    def wraps() -> object:  # awaited by the worker
        return waits()

    with app.worker(concurrency=1):
        for job in app.enqueue_many([leaves_a_timer.bind() for _ in range(WARM_UP)]):
            job.result(timeout=30)
        left.clear()
        jobs = app.enqueue_many([leaves_a_timer.bind(), waits.bind(), leaves_a_timer.bind(), wraps.bind()])
        assert jobs[1].result(timeout=30) == jobs[3].result(timeout=30) == "whole"
    assert len(left) == 2


def test_neither_context_variables_nor_tasks_left_behind_meet_another_job(app: ph.Posthorse) -> None:
    background: list[asyncio.Task[str]] = []

    async def go_on() -> str:
        await asyncio.sleep(0)
        return _colour.get()

    @app.job
    async def paint(colour: str) -> str:
        before = _colour.get()
        _colour.set(colour)
        background.append(asyncio.create_task(go_on()))
        return before

    with app.worker(concurrency=1):
        paint.enqueue("red").result(timeout=30)
        background.clear()
        jobs = app.enqueue_many([paint.bind(f"colour {number}") for number in range(WARM_UP)])
        assert {job.result(timeout=30) for job in jobs} == {"none"}
        until(lambda: all(task.done() for task in background))
    assert [task.result() for task in background] == [f"colour {number}" for number in range(WARM_UP)]


@pytest.mark.parametrize("is_async", [True, False])
def test_an_outcome_that_the_store_refuses_costs_no_other_job_anything(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """Every text is made storable before that; this is for cases that we did not foresee."""

    def with_half_a_character(*given: object, **more: float) -> Transition:
        found = decide(*given, **more)  # type: ignore[arg-type]  # as they came
        is_chosen = found.error is not None and found.error.message == "odd"
        return msgspec.structs.replace(found, reason="half of a \ud800") if is_chosen else found

    monkeypatch.setattr("posthorse.worker.running.deciding.decide", with_half_a_character)
    may_end = threading.Event()

    @app.job
    def neighbour() -> str:
        may_end.wait(30)
        return "whole"

    def bad(message: str) -> None:
        raise ValueError(message)

    async def abad(message: str) -> None:
        raise ValueError(message)

    kind = app.job(kind="bad", max_attempts=1)(abad if is_async else bad)
    with app.worker(concurrency=3):
        slow = neighbour.enqueue()
        until_state(slow, "processing")
        odd, plain = kind.enqueue("odd"), kind.enqueue("plain")
        statuses = [until_state(job, "failed") for job in (odd, plain)]
        may_end.set()
        assert slow.result(timeout=30) == "whole"
    assert [status.error.type for status in statuses if status.error] == ["Unstorable", "ValueError"]
    assert str(statuses[0].error).startswith("Unstorable: how the job ended cannot be stored: ")
    assert [attempt.outcome for attempt in slow.attempts()] == ["completed"]


def test_a_result_that_the_store_refuses_ends_its_own_job_alone(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    def with_half_a_character(value: object, *, limit: int) -> str:
        return '"\ud800"' if value == 13 else encode_result(value, limit=limit)

    monkeypatch.setattr("posthorse.worker.running.execution.encode_result", with_half_a_character)

    @app.job
    async def give(number: int) -> int:
        runs.append(number)
        return number

    jobs = app.enqueue_many([give.bind(number) for number in range(40)])
    with app.worker():
        odd = until_state(jobs[13], "failed")
        assert [job.result(timeout=30) for job in jobs if job is not jobs[13]] == [n for n in range(40) if n != 13]
        assert give.enqueue(41).result(timeout=30) == 41
    assert odd.reason == "gave up: its result cannot be stored"
    assert sorted(runs) == [*range(40), 41]


def test_whatever_escapes_from_where_a_job_runs_is_its_own_error(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = execution.run

    async def broken(*given: object, **more: object) -> object:
        if given[0].kind.kind == "odd":  # type: ignore[attr-defined]  # a running job
            raise Escape("escaped")
        return await whole(*given, **more)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr("posthorse.worker.running.in_process.run", broken)

    @app.job(max_attempts=1)
    def odd() -> None: ...

    @app.job
    def plain() -> str:
        return "whole"

    with app.worker(concurrency=1):
        job = odd.enqueue()
        status = until_state(job, "failed")
        assert plain.enqueue().result(timeout=30) == "whole"
    assert str(status.error) == f"{__name__}.Escape: escaped"


class Large:
    """A large object that a job holds."""


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("has_middleware", [True, False])
def test_a_job_that_is_over_leaves_nothing_for_the_collector(
    sqlite_url: str, is_async: bool, fails: bool, has_middleware: bool
) -> None:
    app = ph.Posthorse(sqlite_url)
    if has_middleware:

        @app.around
        def watch(attempt: object) -> Iterator[None]:
            yield

    held: list[weakref.ref[object]] = []

    def hold(text: str) -> None:
        large = Large()
        held.extend((weakref.ref(large), weakref.ref(contextvars.copy_context())))
        if fails:
            raise ValueError(text)

    async def ahold(text: str) -> None:
        large = Large()
        task = asyncio.current_task()
        held.extend((weakref.ref(large), weakref.ref(task)))
        await asyncio.sleep(0)
        if fails:
            raise ValueError(text)

    kind = app.job(kind="hold", max_attempts=1)(ahold if is_async else hold)
    gc.collect()
    gc.disable()
    try:
        with app.worker():
            jobs = [kind.enqueue("why") for _ in range(20)]
            for job in jobs:
                until_state(job, "failed", "completed")
            until(lambda: not any(each() is not None for each in held), what="the end of what jobs held")
    finally:
        gc.enable()
    assert len(held) == 40
    app.close()


@pytest.mark.parametrize("how", ["exit in a task", "exit in a callback", "stop", "group"])
def test_code_of_a_job_that_would_end_the_loop_ends_no_other_job(app: ph.Posthorse, how: str) -> None:
    may_end = threading.Event()

    async def leave() -> None:
        raise SystemExit(3)

    def leave_now() -> None:
        raise SystemExit(3)

    @app.job(max_attempts=1)
    async def ends_the_loop() -> str:
        loop = asyncio.get_running_loop()
        if how == "group":
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(leave())
        elif how == "exit in a task":
            background.append(loop.create_task(leave()))
        elif how == "exit in a callback":
            loop.call_soon(leave_now)
        else:
            loop.stop()
        await asyncio.sleep(0.05)
        return "through"

    @app.job(max_attempts=1)
    def neighbour() -> str:
        may_end.wait(30)
        return "whole"

    background: list[asyncio.Task[None]] = []
    with app.worker(concurrency=2):
        slow = neighbour.enqueue()
        until_state(slow, "processing")
        status = until_state(ends_the_loop.enqueue(), "completed", "failed")
        may_end.set()
        assert slow.result(timeout=30) == "whole"
    assert [str(task.exception()) for task in background] == ["3"] * len(background)  # as asyncio wants it to be asked
    assert status.state == ("failed" if how == "group" else "completed")
    assert str(status.error) == "SystemExit: 3" if how == "group" else status.error is None


@pytest.mark.parametrize("make", [new_loop, asyncio.new_event_loop])
def test_a_loop_goes_on_with_all_that_was_ready(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    loop, ran = make(), list[str]()

    def leave() -> None:
        ran.append("leaves")
        raise SystemExit(3)

    async def main() -> str:
        running = asyncio.get_running_loop()
        running.call_soon(ran.append, "before")
        running.call_soon(leave)
        running.call_soon(ran.append, "after")
        await asyncio.sleep(0.01)
        running.stop()
        await asyncio.sleep(0.01)
        return "done"

    assert run_to_end(loop, main()) == "done"
    assert ran == ["before", "leaves", "after"]
    with pytest.raises(SystemExit):
        run_to_end(loop, _leaves())
    loop.close()


async def _leaves() -> None:
    raise SystemExit
