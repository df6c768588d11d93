"""A supervisor starts a runner for suspects when one waits that it would take, and not for others."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator

import pytest

import posthorse as ph
from posthorse.maintenance.chores.rescue import rescue
from posthorse.processes.suspects import Suspects
from posthorse.rules.job import Lane
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Crashed
from posthorse.store.operations.claim import Probe, claim
from posthorse.store.operations.runners import Runner, held_by, register, retire
from tests.project import Project
from tests.waiting import until


def letter() -> None: ...


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url)
    app.job(queue="mail")(letter)
    yield app
    app.close()


async def make_suspect(app: ph.Posthorse) -> None:
    """Make a job whose runner died while it ran other jobs, too."""
    store, lane = app.store, Lane("mail", "letter")
    kind: ph.Kind[[], object] = ph.Kind(app, app.registry["letter"])
    await kind.aenqueue()
    number = (await store.alanes({lane}))[lane]
    runner = Runner(str(uuid.uuid4()), "dead", "h", 1, "0", 10, (), ("letter",))
    await store.arun(register(runner, lease=60_000_000))
    await store.arun(claim(runner.id, [Probe(number, 0, 0)], 1))
    for held in await store.aread(held_by(runner.id)):
        await rescue(store, held, Crashed("killed by SIGKILL", alone=False), Policy())
    await store.arun(retire(runner.id))


def suspects(
    app: ph.Posthorse,
    *,
    serves: Callable[[Lane], bool] = lambda lane: lane.kind == "letter",
    labels: tuple[str, ...] = (),
) -> Suspects:
    return Suspects(app.store, app.registry.queues, serves=serves, labels=labels)


def test_suspects_wait_while_their_queue_is_open(app: ph.Posthorse) -> None:
    async def look() -> None:
        seen = suspects(app)
        assert not await seen.wait()
        await make_suspect(app)
        assert await seen.wait()
        await app.queue("mail").apause()
        assert not await seen.wait()
        await app.queue("mail").aresume()
        assert await seen.wait()

    asyncio.run(look())


def test_suspects_of_a_queue_with_labels_wait_for_a_worker_that_has_them(app: ph.Posthorse) -> None:
    app.queue("mail", labels={"zone": "a"})

    async def look() -> None:
        await make_suspect(app)
        assert not await suspects(app).wait()
        assert not await suspects(app, labels=("zone=b",)).wait()
        assert await suspects(app, labels=("zone=a",)).wait()

    asyncio.run(look())


def test_suspects_that_nobody_here_serves_are_left_to_others(app: ph.Posthorse) -> None:
    async def look() -> None:
        await make_suspect(app)
        assert not await suspects(app, serves=lambda lane: lane.queue == "reports").wait()

    asyncio.run(look())


def test_several_suspects_run_at_once_each_alone_in_a_process(project: Project) -> None:
    project.write("""
        import glob, time

        running = []

        @app.job
        def meets_three_others(ctx: ph.Context):
            running.append(ctx.job_id)
            try:
                if not os.path.exists(f"first-{ctx.job_id}"):
                    open(f"first-{ctx.job_id}", "w").write(str(os.getpid()))
                    time.sleep(600)
                alone = len(running) == 1
                open(f"second-{ctx.job_id}", "w").close()
                while len(glob.glob("second-*")) < 4:
                    time.sleep(0.01)
                return alone
            finally:
                running.remove(ctx.job_id)
    """)
    with project.working("--concurrency", "6") as worker:
        jobs = [project.job("meets_three_others") for _ in range(6)]
        until(lambda: len(list(project.folder.glob("first-*"))) == 6, what="all run in one runner")
        os.kill(int((project.folder / f"first-{jobs[0].id}").read_text()), signal.SIGKILL)
        assert [job.result(timeout=120) for job in jobs] == [True] * 6
        assert {int(place) for place in re.findall(r"runner (\d+) started", worker.log)} <= set(range(1 + 4))
