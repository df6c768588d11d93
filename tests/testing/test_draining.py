"""A drain runs what may run now, as a worker would, and says what became of it and what is left."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

import posthorse as ph
from posthorse import testing as pt
from tests.testing import shop
from tests.testing.shop import again, apart, busy, calls, for_ever, hopeless, invite, total, unreliable, welcome


def test_a_drain_runs_what_may_run_now_and_the_result_is_there(kit: pt.Kit) -> None:
    job = welcome.enqueue(7)
    drained = kit.drain()
    assert (drained.completed, drained.failed, drained.left) == (1, 0, [])
    assert job.result() == 7
    assert [attempt.outcome for attempt in job.attempts()] == ["completed"]


def test_a_drain_runs_what_its_jobs_enqueue_plain_and_async(kit: pt.Kit) -> None:
    invite.enqueue(3)
    again.enqueue(2)
    assert kit.drain().completed == 5
    assert calls == [2, 3, 1, 0]


def test_plain_jobs_run_in_the_thread_of_the_test_where_no_loop_runs(kit: pt.Kit) -> None:
    seen: list[object] = []

    def look(subject: ph.RunningAttempt) -> object:
        seen.append(threading.current_thread())
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        yield

    welcome.around(look)  # type: ignore[arg-type]
    try:
        welcome.enqueue(1)
        kit.drain()
    finally:
        shop.app.registry.middleware.remove(welcome.kind)
    assert seen == [threading.current_thread()]


def test_a_drain_keeps_what_jobs_log_and_leaves_logging_as_it_was(kit: pt.Kit) -> None:
    before, stream = list(logging.root.handlers), sys.stdout

    def tell(attempt: ph.RunningAttempt) -> object:
        logging.getLogger("shop").warning("said")
        yield

    welcome.around(tell)  # type: ignore[arg-type]
    try:
        job = welcome.enqueue(1)
        kit.drain()
    finally:
        shop.app.registry.middleware.remove(welcome.kind)
    assert [line.message for line in job.logs()] == ["said"]
    assert logging.root.handlers == before
    assert sys.stdout is stream


def test_a_long_job_goes_slice_by_slice(kit: pt.Kit) -> None:
    job = total.enqueue(95)
    kit.drain()
    assert job.result() == sum(range(95))
    assert len(calls) == 10


def test_an_isolated_job_runs_in_this_process_so_that_it_sees_what_a_test_patched(kit: pt.Kit) -> None:
    apart.enqueue(5)
    kit.drain()
    assert calls == [5]


def test_the_error_of_a_job_is_raised_as_it_was_raised(kit: pt.Kit) -> None:
    job = hopeless.enqueue()
    with pytest.raises(ZeroDivisionError, match="no way") as raised:
        kit.drain()
    assert raised.traceback[-1].name == "hopeless"
    assert job.id in str(raised.value.__notes__)
    assert job.status().state is ph.State.FAILED


def test_an_error_after_which_the_job_is_tried_again_is_raised_too(kit: pt.Kit) -> None:
    unreliable.enqueue(1)
    with pytest.raises(ConnectionError):
        kit.drain()


def test_errors_are_returned_on_demand(kit: pt.Kit) -> None:
    unreliable.enqueue(1)
    hopeless.enqueue()
    drained = kit.drain(raise_errors=False)
    assert (drained.retried, drained.failed) == (1, 1)
    assert sorted(type(attempt.error).__name__ for attempt in drained.ran) == ["ConnectionError", "ZeroDivisionError"]


def test_what_is_left_says_why(kit: pt.Kit) -> None:
    welcome.using(delay="3d").enqueue(1)
    shop.app.queue("mail").pause()
    welcome.enqueue(2)
    late, paused = kit.drain().left
    assert (late.state, paused.state) == (ph.State.SCHEDULED, ph.State.PENDING)
    assert "3d" in late.why
    assert "paused" in paused.why
    assert calls == []


def test_a_drain_is_counted_in_one_line_and_printed_in_several(kit: pt.Kit) -> None:
    done = welcome.enqueue(1)
    late = welcome.using(delay="3d").enqueue(1)
    drained = kit.drain()
    assert repr(drained) == "<Drained: 1 completed, 1 left>"
    counts, ran, first, left, last = str(drained).splitlines()
    assert (counts, ran, left) == ("1 completed, 1 left", "ran:", "left:")
    assert first == f"  welcome {done.id} (attempt 1): returned, now completed"
    assert last.startswith(f"  welcome {late.id} is scheduled: ")


def test_a_crash_is_told(kit: pt.Kit) -> None:
    total.enqueue(50)
    with pt.crash_in_slice(2):
        drained = kit.drain()
    assert repr(drained) == "<Drained: 1 completed, 1 lost>"
    assert ": lost Crash('the worker died in slice 2, as the test wanted')" in str(drained)
    assert kit.last_drained is drained


def test_waiting_for_a_job_before_a_drain_is_refused_at_once(kit: pt.Kit) -> None:
    job = welcome.enqueue(1)
    with pytest.raises(ph.InvalidCall, match=r"call posthorse\.drain\(\) first"):
        job.result()
    with pytest.raises(ph.InvalidCall, match="nothing runs until drain"):
        asyncio.run(_result_of(job))
    with pytest.raises(TimeoutError):
        job.result(timeout=0)
    kit.drain()
    assert job.result() == 1


async def _result_of(job: ph.Job[int]) -> int:
    return await job.aresult()


def test_a_worker_of_the_test_may_be_waited_for(kit: pt.Kit) -> None:
    job = welcome.using(delay="1s").enqueue(1)
    with shop.app.worker():
        kit.clock.advance("2s")
        assert job.result(timeout=60) == 1
    job = welcome.enqueue(2)
    with pytest.raises(ph.InvalidCall, match="nothing runs"):
        job.result()


def test_lines_of_jobs_are_stored_as_the_test_lets_loggers_through(caplog: pytest.LogCaptureFixture) -> None:
    app = ph.Posthorse("sqlite:////nowhere/logs.db")

    @app.job
    def talk() -> None:
        logging.getLogger("shop").info("hello")

    with pt.kit(app) as kit:
        caplog.set_level("INFO")
        job = talk.enqueue()
        kit.drain()
        assert [line.message for line in job.logs()] == ["hello"]


def test_a_job_that_waits_for_another_in_a_drain_is_refused(kit: pt.Kit) -> None:
    app = ph.Posthorse("sqlite:////nowhere/waiting.db")

    @app.job
    def second() -> None: ...

    @app.job(max_attempts=1)
    def first() -> None:
        second.enqueue().result()

    with pt.kit(app) as other:
        first.enqueue()
        with pytest.raises(ph.InvalidCall, match="nothing runs"):
            other.drain()


def test_time_leaps_while_jobs_wait_for_it(kit: pt.Kit) -> None:
    before = kit.clock.now
    unreliable.enqueue(2)
    assert kit.drain(due=True).completed == 1
    assert kit.clock.now - before >= timedelta(hours=2)


def test_a_job_that_asks_to_be_tried_again_raises_nothing(kit: pt.Kit) -> None:
    busy.enqueue()
    assert kit.drain().retried == 1


def test_jobs_that_enqueue_themselves_for_ever_are_noticed(kit: pt.Kit) -> None:
    for_ever.enqueue()
    assert len(kit.drain(at_most=3).ran) == 3
    with pytest.raises(ph.InvalidCall, match="for_ever"):
        kit.drain()


def test_arguments_that_no_longer_fit_are_raised(kit: pt.Kit) -> None:
    job = welcome.enqueue(1)
    with sqlite3.connect(shop.app.settings.url.removeprefix("sqlite:///")) as connection:
        connection.execute('UPDATE posthorse_jobs SET arguments = \'{"user_id": "seven"}\'')
    connection.close()
    with pytest.raises(ph.JobFailed, match=r"welcome.*do not fit"):
        kit.drain()
    assert job.status().state is ph.State.BLOCKED


async def _drain(kit: pt.Kit) -> pt.Drained:
    await invite.aenqueue(3)
    with pytest.raises(ph.InvalidCall, match="adrain"):
        kit.drain()
    drained = await kit.adrain()
    kit.assert_enqueued(welcome, 3)
    return drained


def test_a_coroutine_drains_on_its_own_loop(kit: pt.Kit) -> None:
    assert asyncio.run(_drain(kit)).completed == 2
    assert calls == [3]


def test_limits_hold_jobs_until_there_is_room(kit: pt.Kit) -> None:
    shop.app.queue("mail").set(rate="1/m")
    for number in range(3):
        welcome.enqueue(number)
    assert kit.drain().completed == 1
    kit.clock.advance("1m")
    assert kit.drain().completed == 1
    assert kit.drain(due=True).completed == 1
    assert calls == [0, 1, 2]


def test_a_pause_in_the_midst_of_a_long_job_stops_it_at_its_next_slice(
    kit: pt.Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = total.enqueue(100)

    class Pausing(list[object]):
        def append(self, item: object) -> None:
            super().append(item)
            if len(self) == 3:
                job.pause()

    monkeypatch.setattr(shop, "calls", Pausing())
    kit.drain()
    assert job.status().state is ph.State.PAUSED
    assert job.status().progress.done == 30
    job.resume()
    assert kit.drain().completed == 1
    assert job.result() == sum(range(100))


def test_resources_of_jobs_and_of_the_process_are_made_and_closed() -> None:
    app = ph.Posthorse("sqlite:////nowhere/resources.db")
    told: list[str] = []
    app.on_start(lambda: told.append("start"))
    app.on_stop(lambda: told.append("stop"))

    async def pool() -> AsyncIterator[str]:
        told.append("pool")
        yield "pool"
        told.append("no pool")

    async def session(pool: str = ph.depends(pool, scope="process")) -> AsyncIterator[str]:
        told.append("session")
        yield f"session of {pool}"
        told.append("no session")

    @app.job
    def plain(session: str = ph.depends(session)) -> str:
        return session

    @app.job
    async def coroutine(session: str = ph.depends(session)) -> str:
        return session

    with pt.kit(app) as kit:
        kit.drain()
        assert told == []
        jobs = [plain.enqueue(), coroutine.enqueue()]
        kit.drain()
        assert [job.result() for job in jobs] == ["session of pool"] * 2
    assert told == ["start", "pool", "session", "no session", "session", "no session", "no pool", "stop"]
