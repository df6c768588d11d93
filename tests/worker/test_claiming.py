"""Claiming: the jobs that a claim returns, with all that is known of them, and when to look again."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import cast

import psycopg
import pytest

import posthorse as ph
from posthorse.clock import monotonic
from posthorse.errors import StoreUnreachable
from posthorse.maintenance.chores.rescue import rescue
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Crashed
from posthorse.store.base import Operation
from posthorse.store.operations import read
from posthorse.store.operations.runners import held_by, register, retire
from posthorse.store.store import Store
from posthorse.worker.assembly import make_runner
from posthorse.worker.base.live_queues import LiveQueues
from posthorse.worker.claiming.claim_values import Claim, ClaimRequest, LookAgain
from posthorse.worker.claiming.claiming import Claiming, Suspects

MINUTE = 60_000_000


class Runner:
    """A runner that only claims."""

    def __init__(self, app: ph.Posthorse, suspects: Suspects = "when empty") -> None:
        self.app = app
        self._runner = make_runner(app.registry, queues=(), labels=(), concurrency=5, worker="claiming")
        self.id = self._runner.id
        self.claiming = Claiming(
            app.store,
            app.registry,
            self._runner,
            LiveQueues(app.store, app.registry.queues),
            suspects=suspects,
            only=None,
        )

    async def register(self) -> Runner:
        await self.app.store.arun(register(self._runner, lease=MINUTE))
        return self

    async def claim(
        self, room: int = 5, *, limited_room: int | None = None, is_empty: bool = True, is_woken: bool = False
    ) -> Claim:
        limited_room = room if limited_room is None else limited_room
        return await self.claiming.claim(ClaimRequest(room, limited_room, is_empty, is_woken))

    async def is_idle(self) -> bool:
        """Return whether the store knows that this runner waits; on SQLite it need not."""
        workers = await self.app.store.aread(read.workers())
        return not is_told_of_idle(self.app) or next(worker.is_idle for worker in workers if worker.id == self.id)


def is_told_of_idle(app: ph.Posthorse) -> bool:
    """Return whether idle runners must report that they are."""
    return app.store.backend.capabilities.notifies_idle_runners


def ids(claim: Claim) -> list[str]:
    return [job.claimed.job for job in claim.jobs]


def test_a_job_comes_with_its_lane_the_settings_of_its_queue_and_the_gates_that_it_passed(app: ph.Posthorse) -> None:
    @app.job(queue="mail", concurrency=ph.Concurrency(1, per="to"))
    def letter(to: str) -> None: ...

    @app.job
    def plain() -> None: ...

    async def main() -> None:
        app.queue("mail", max_duration="5m")
        limited, free = await letter.using(priority=3).aenqueue("ann"), await plain.aenqueue()
        claim = await (await Runner(app).register()).claim()
        assert ids(claim) == [limited.id, free.id]  # the highest priority first
        first, second = claim.jobs
        assert (first.lane.queue, first.lane.kind, first.lane.priority) == ("mail", "letter", 3)
        assert (first.queue.max_duration, second.queue.max_duration) == (300.0, None)
        assert first.gates is not None
        assert [gate for gate in first.gates if "ann" in gate] == list(first.gates) != []
        assert second.gates is None
        assert (claim.look_again, claim.opens_at, claim.is_suspect) == (LookAgain.AT_ONCE, inf, False)

    asyncio.run(main())


def test_after_a_claim_in_vain_the_store_knows_that_the_runner_is_idle_and_one_more_look_follows(
    app: ph.Posthorse,
) -> None:
    @app.job
    def plain() -> None: ...

    async def main() -> None:
        runner = await Runner(app).register()
        claim = await runner.claim()
        assert (ids(claim), claim.look_again) == ([], LookAgain.AT_ONCE)
        assert await runner.is_idle()
        claim = await runner.claim()
        assert (ids(claim), claim.look_again, claim.opens_at) == ([], LookAgain.WHEN_WOKEN, inf)
        jobs = [(await plain.aenqueue()).id for _ in range(2)]
        claim = await runner.claim()
        assert (ids(claim), claim.look_again) == (jobs, LookAgain.AT_ONCE)
        assert not is_told_of_idle(app) or not await runner.is_idle()

    asyncio.run(main())


def test_an_error_that_keeps_the_store_from_hearing_that_the_runner_is_busy_loses_no_job(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.job
    def plain() -> None: ...

    arun = cast("Callable[[Store, Operation[object]], Awaitable[object]]", Store.arun)
    failures: list[str] = []

    async def shaky(self: Store, operation: Operation[object]) -> object:
        start = cast("partial[object]", operation.start)
        if start.func.__name__ == "set_idle" and start.keywords["idle"] is False:
            failures.append("set_idle")
            raise StoreUnreachable("away")
        return await arun(self, operation)

    async def main() -> None:
        runner = await Runner(app).register()
        await runner.claim()
        jobs = [(await plain.aenqueue()).id for _ in range(2)]
        monkeypatch.setattr(Store, "arun", shaky)
        assert ids(await runner.claim()) == jobs
        assert failures == (["set_idle"] if is_told_of_idle(app) else [])

    asyncio.run(main())


def test_where_it_is_the_turn_of_a_job_with_limits_and_no_slot_is_free_the_next_claim_is_for_when_one_is(
    app: ph.Posthorse,
) -> None:
    @app.job(concurrency=5)
    def limited() -> None: ...

    async def main() -> None:
        jobs = [(await limited.aenqueue()).id for _ in range(2)]
        runner = await Runner(app).register()
        claim = await runner.claim(room=5, limited_room=0)
        assert (ids(claim), claim.look_again) == ([], LookAgain.WHEN_ROOM)
        claim = await runner.claim(room=5, limited_room=1)
        assert (ids(claim), claim.look_again) == (jobs[:1], LookAgain.WHEN_ROOM)
        claim = await runner.claim(room=5, limited_room=5)
        assert (ids(claim), claim.look_again) == (jobs[1:], LookAgain.AT_ONCE)

    asyncio.run(main())


def test_a_claim_names_the_moment_at_which_a_gate_may_open(app: ph.Posthorse) -> None:
    @app.job(rate="1/h")
    def hourly() -> None: ...

    @app.job(concurrency=1)
    def single() -> None: ...

    async def main() -> None:
        runner = await Runner(app).register()
        for _ in range(2):
            await hourly.aenqueue()
        assert len((await runner.claim()).jobs) == 1
        claim = await runner.claim()
        assert (ids(claim), claim.look_again) == ([], LookAgain.AT_ONCE)  # it has reported that it is idle
        claim = await runner.claim()
        assert (ids(claim), claim.look_again) == ([], LookAgain.WHEN_WOKEN)
        assert 3_000 < claim.opens_at - monotonic() <= 3_600
        for _ in range(2):
            await single.aenqueue()
        claim = await runner.claim()
        assert len(claim.jobs) == 1
        claim = await runner.claim()
        assert (ids(claim), claim.look_again) == ([], LookAgain.WHEN_WOKEN)
        assert (
            0 < claim.opens_at - monotonic() <= app.store.tuning.shut_gate_interval
        )  # another runner does not report when its jobs end
        runner.claiming.reopen()
        assert (await runner.claim(limited_room=0)).opens_at - monotonic() > 0

    asyncio.run(main())


def test_where_all_jobs_were_set_aside_the_next_look_follows_at_once(app: ph.Posthorse) -> None:
    @app.job(concurrency=ph.Concurrency(1, per="to"))
    def letter(to: str) -> None: ...

    async def main() -> None:
        runner = await Runner(app).register()
        for _ in range(3):
            await letter.aenqueue("ann")
        assert len((await runner.claim(room=1)).jobs) == 1
        claim = await runner.claim()
        assert (ids(claim), claim.look_again) == ([], LookAgain.AT_ONCE)
        assert is_told_of_idle(app) or await runner.is_idle()
        assert not is_told_of_idle(app) or not await runner.is_idle()  # there is something to look for
        claim = await runner.claim()
        assert (ids(claim), claim.look_again) == ([], LookAgain.AT_ONCE)
        assert (await runner.claim()).look_again is LookAgain.WHEN_WOKEN

    asyncio.run(main())


def test_a_suspect_is_claimed_alone_by_an_empty_runner(app: ph.Posthorse) -> None:
    @app.job
    def plain() -> None: ...

    async def main() -> None:
        dead = await Runner(app).register()
        suspect = await plain.aenqueue()
        await dead.claim()
        for held in await app.store.aread(held_by(dead.id)):
            await rescue(app.store, held, Crashed("killed by SIGKILL", alone=False), Policy())
        await app.store.arun(retire(dead.id))
        other = await plain.aenqueue()

        careful, empty = await Runner(app, "never").register(), await Runner(app).register()
        claim = await careful.claim(room=1)
        assert (ids(claim), claim.is_suspect) == ([other.id], False)
        claim = await empty.claim(is_empty=False)
        assert (ids(claim), claim.is_suspect) == ([], False)
        assert await empty.claiming.suspects_wait()
        claim = await empty.claim(is_empty=True)
        assert (ids(claim), claim.is_suspect) == ([suspect.id], True)
        assert not await empty.claiming.suspects_wait()

    asyncio.run(main())


def test_functions_that_say_what_a_limit_is_kept_apart_by_never_run_in_a_transaction(app: ph.Posthorse) -> None:
    """Not even for a job that comes between the look and the claim: it is left for the next claim."""
    called: list[int] = []
    late: list[str] = []

    def per(number: int) -> int:
        assert open_transactions(app) == 0
        assert not [frame for frame in traceback.extract_stack() if "/posthorse/store/" in frame.filename]
        called.append(number)
        return number

    def kept_apart(number: int) -> int:
        key = per(number)
        if number == 1:
            late.append(call.enqueue(2).id)  # after the look
        return key

    @app.job(concurrency=ph.Concurrency(1, per=kept_apart), sequence=ph.Sequence(per=per))
    def call(number: int) -> None: ...

    async def main() -> None:
        first = await call.aenqueue(1)
        assert called == [1]  # for its place in the sequence
        runner = await Runner(app).register()
        claim = await runner.claim()
        assert ids(claim) == [first.id]
        assert called == [1, 1, 2, 1]
        claim = await runner.claim()
        assert ids(claim) == late
        assert called == [1, 1, 2, 1, 2, 2]

    asyncio.run(main())


def open_transactions(app: ph.Posthorse) -> int:
    """Return how many there are in the store; on SQLite only those that write are known."""
    if app.store.backend.capabilities.is_file:
        connection = sqlite3.connect(app.store.url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return 1
        finally:
            connection.close()
        return 0
    with psycopg.connect(app.store.url, autocommit=True) as other:
        row = other.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        ).fetchone()
    assert row is not None
    return cast("int", row[0])
