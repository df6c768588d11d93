"""Rescue: the jobs of a runner that ended go on, each according to what that end meant for it."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

import posthorse as ph
from posthorse.maintenance.chores.rescue import rescue as rescue_job
from posthorse.processes import rescue
from posthorse.processes.plan import LOST_LEASE, UNENDING_CODE
from posthorse.processes.runner_process import RunnerProcess
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Outcome
from posthorse.store.operations.read import workers
from posthorse.store.operations.runners import Held, Runner, register
from posthorse.store.operations.runs import claim_one
from posthorse.store.store import Store
from posthorse.worker.heartbeat import Pulse

KILLED = -signal.SIGKILL
LOSS, CRASH, NOTHING = (1, 0), (0, 1), (0, 0)
"""Interruptions and crashes that a job has then spent."""


def held_by_a_runner(
    app: ph.Posthorse, kinds: Sequence[str], *, is_given_up: bool
) -> tuple[RunnerProcess, list[ph.Job[None]]]:
    """Return a runner, as its supervisor knows it, that holds a job of each of these kinds."""

    @app.job
    def plain() -> None: ...

    @app.job
    def apart() -> None: ...

    runner = Runner(str(uuid.uuid4()), "w", "h", 1, "0", 10, (), ())
    app.store.run(register(runner, lease=60_000_000))
    jobs = [{"plain": plain, "apart": apart}[kind].enqueue() for kind in kinds]
    for job in jobs:
        assert app.store.run(claim_one(runner.id, job.id, early=True))
    pulse = Pulse(runner.id, 60, running=lambda: len(jobs))
    pulse.is_dead = is_given_up
    known = SimpleNamespace(
        number=1, runner=runner.id, isolated=frozenset({"apart"}), max_crashes={}, pulse=pulse, freed=[]
    )
    return cast("RunnerProcess", known), jobs


def bury(app: ph.Posthorse, child: RunnerProcess, code: int, *, stops: bool = False) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        if stops:
            stop.set()
        await rescue.rescue_held_by(app.store, child, code, max_interruptions=10, stop=stop)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kinds", "code", "how", "spent"),
    [
        (["plain"], KILLED, {}, [CRASH]),
        (["plain", "plain"], KILLED, {}, [LOSS, LOSS]),  # one of them caused it: each is a suspect
        (["plain", "apart"], KILLED, {}, [CRASH, LOSS]),  # the code of the second ran in a process of its own
        (["plain"], LOST_LEASE, {}, [LOSS]),
        (["plain"], KILLED, {"is_given_up": True}, [LOSS]),  # killed by its supervisor, because its lease was lost
        (["plain"], UNENDING_CODE, {}, [LOSS]),
        (["plain", "plain", "apart"], KILLED, {"stops": True}, [NOTHING] * 3),
    ],
)
def test_what_a_job_spends_by_the_end_of_its_runner(
    app: ph.Posthorse, kinds: Sequence[str], code: int, how: Mapping[str, bool], spent: Sequence[tuple[int, int]]
) -> None:
    child, jobs = held_by_a_runner(app, kinds, is_given_up=how.get("is_given_up", False))
    bury(app, child, code, stops=how.get("stops", False))
    found = [job.status() for job in jobs]
    assert [(status.interruptions, status.crashes) for status in found] == spent
    assert {status.state for status in found} <= {ph.State.PENDING, ph.State.SCHEDULED}
    assert app.store.read(workers()) == []


def test_a_runner_stays_on_the_list_until_all_that_it_held_is_free(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the sweep would free them, and count a crash as an interruption."""
    child, _ = held_by_a_runner(app, ["plain", "plain"], is_given_up=False)
    listed: list[list[str]] = []

    async def watched(store: Store, held: Held, outcome: Outcome, policy: Policy) -> None:
        listed.append([row.id for row in await store.aread(workers())])
        await rescue_job(store, held, outcome, policy)

    monkeypatch.setattr(rescue, "rescue", watched)
    bury(app, child, KILLED)
    assert listed == [[child.runner]] * 2
