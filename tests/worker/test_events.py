"""Events of running jobs: in which order listeners receive them, and only what is committed."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import posthorse as ph
from posthorse.errors import InvalidCall
from posthorse.maintenance.chores.rescue import rescue
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Lost
from posthorse.store.operations.runners import Runner, held_by, register
from posthorse.store.operations.runs import claim_one
from tests.project import Project
from tests.waiting import until, until_state
from tests.worker import isolated_jobs

Heard = list[Any]


@pytest.fixture
def heard(app: ph.Posthorse) -> Heard:
    heard: Heard = []
    app.listen(ph.events.Started, ph.events.SliceCommitted, ph.events.Ended, ph.events.Rescued)(heard.append)
    return heard


def status_of(app: ph.Posthorse, job: str) -> ph.Status:
    """Return the status as another thread sees it while a listener is called, which may be on an event loop."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(app.get_job(job).status).result(timeout=30)


def names(events: Sequence[object]) -> list[str]:
    return [type(event).__name__ for event in events]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_job_is_heard_as_it_starts_and_once_its_result_is_stored(
    app: ph.Posthorse, heard: Heard, is_async: bool
) -> None:
    def plain(number: int) -> int:
        return number

    async def awaited(number: int) -> int:
        return number

    kind = app.job(kind="echo", queue="mail")(awaited if is_async else plain)
    states: list[ph.State] = []
    app.listen(ph.events.Ended)(lambda event: states.append(status_of(app, event.job).state))
    with app.worker():
        job = kind.enqueue(7)
        job.result(timeout=30)
        until(lambda: states)
    started, ended = heard
    assert isinstance(started, ph.events.Started)
    assert (started.job, started.kind, started.queue, started.attempt) == (job.id, "echo", "mail", 1)
    assert isinstance(ended, ph.events.Ended)
    assert (ended.job, ended.outcome, ended.state, ended.error) == (job.id, "returned", ph.State.COMPLETED, None)
    assert ended.runner == started.runner
    assert ended.seconds > 0
    assert states == [ph.State.COMPLETED]


def test_each_attempt_is_heard_with_its_error_and_where_it_led(app: ph.Posthorse, heard: Heard) -> None:
    @app.job(max_attempts=2, backoff=0)
    def fail() -> None:
        raise ValueError("as ever")

    with app.worker():
        until_state(fail.enqueue(), "failed")
        until(lambda: len(heard) == 4)
    ends = [event for event in heard if isinstance(event, ph.events.Ended)]
    assert [(end.attempt, end.outcome, end.state.is_final) for end in ends] == [
        (1, "raised", False),
        (2, "raised", True),
    ]
    assert [str(end.error) for end in ends] == ["ValueError: as ever"] * 2


def test_the_tenant_is_known_where_tenants_take_turns(app: ph.Posthorse, heard: Heard) -> None:
    app.queue("fair", fair=True)

    @app.job(queue="fair")
    async def work() -> None: ...

    with app.worker():
        work.using(tenant="acme").enqueue().result(timeout=30)
        until(lambda: len(heard) == 2)
    assert [event.tenant for event in heard] == ["acme", "acme"]


@pytest.mark.parametrize("in_transactions", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_each_slice_is_heard_once_it_is_committed(
    app: ph.Posthorse, heard: Heard, is_async: bool, in_transactions: bool
) -> None:
    stored: list[int] = []
    app.listen(ph.events.SliceCommitted)(lambda event: stored.append(status_of(app, event.job).progress.done))

    def walk(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(5), size=2):
            if in_transactions:
                with batch.transaction():
                    pass

    async def awalk(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(5), size=2):
            if in_transactions:
                async with batch.transaction():
                    pass

    kind = app.job(kind="walk")(awalk if is_async else walk)
    with app.worker():
        kind.enqueue().result(timeout=30)
        until(lambda: len(heard) == 5)
    slices = [event for event in heard if isinstance(event, ph.events.SliceCommitted)]
    assert [(each.items, each.done, each.total, each.slices) for each in slices] == [
        (2, 2, 5, 1),
        (2, 4, 5, 2),
        (1, 5, 5, 3),
    ]
    assert {(each.kind, each.queue, each.attempt) for each in slices} == {("walk", "default", 1)}
    assert stored == [2, 4, 5]
    assert names(heard) == ["Started", *["SliceCommitted"] * 3, "Ended"]


def test_a_slice_that_is_rolled_back_is_not_heard(app: ph.Posthorse, heard: Heard) -> None:
    @app.job(max_attempts=1)
    def walk(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(4), size=2):
            with batch.transaction():
                if 2 in batch:
                    raise ValueError("not these")

    with app.worker():
        until_state(walk.enqueue(), "failed")
        until(lambda: len(heard) == 3)
    assert names(heard) == ["Started", "SliceCommitted", "Ended"]


@pytest.mark.parametrize("fails", [False, True])
def test_an_attempt_that_lost_its_lease_is_not_heard_to_end(app: ph.Posthorse, heard: Heard, fails: bool) -> None:
    began, go = threading.Event(), threading.Event()

    @app.job
    def work() -> None:
        began.set()
        go.wait(30)
        if fails:
            raise ValueError("too late")

    @app.job
    def after() -> None: ...

    with app.worker(concurrency=1):
        job = work.enqueue()
        assert began.wait(30)
        job.cancel(force=True)
        go.set()
        after.enqueue().result(timeout=30)
        until(lambda: len(heard) == 3)
    assert [(type(event).__name__, event.kind) for event in heard] == [
        ("Started", "work"),
        ("Started", "after"),
        ("Ended", "after"),
    ]


def test_a_listener_that_fails_changes_no_job(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: object) -> None:
        raise SystemExit("of the listener's own")

    app.listen(ph.events.Started, ph.events.SliceCommitted, ph.events.Ended)(fail)

    @app.job
    def walk(ctx: ph.Context) -> int:
        return sum(len(list(batch)) for batch in ctx.slices(range(4), size=2))

    with app.worker():
        assert [walk.enqueue().result(timeout=30) for _ in range(3)] == [4, 4, 4]
    failures = [record for record in caplog.records if record.name == "posthorse.events"]
    assert len(failures) == 3


def test_a_rescued_job_is_heard_once_it_is_free(app: ph.Posthorse, heard: Heard) -> None:
    @app.job(queue="mail")
    def work() -> None: ...

    runner = Runner(str(uuid.uuid4()), "w", "h", 1, "0", 10, (), ())
    app.store.run(register(runner, lease=60_000_000))
    job = work.enqueue()
    assert app.store.run(claim_one(runner.id, job.id, early=True))
    [held] = app.store.read(held_by(runner.id))
    for lease in (held._replace(epoch=held.epoch + 1), held):  # the first is not there, and nothing changes
        asyncio.run(rescue(app.store, lease, Lost("its worker fell silent"), Policy()))
    [event] = heard
    assert isinstance(event, ph.events.Rescued)
    assert (event.job, event.kind, event.queue, event.runner) == (job.id, "work", "mail", runner.id)
    assert event.state is job.status().state


@pytest.fixture
def isolated(sqlite_url: str) -> Iterator[ph.Posthorse]:
    isolated_jobs.app.use_url(sqlite_url)
    yield isolated_jobs.app
    isolated_jobs.app.close()


def test_the_runner_reports_start_and_end_of_an_isolated_job_and_none_of_its_slices(isolated: ph.Posthorse) -> None:
    heard: Heard = []
    isolated.listen(ph.events.Started, ph.events.SliceCommitted, ph.events.Ended)(heard.append)
    try:
        with isolated.worker(concurrency=1):
            isolated_jobs.sliced.enqueue(30).result(timeout=60)
            until(lambda: len(heard) == 2)
    finally:
        isolated.unlisten(heard.append)
    assert names(heard) == ["Started", "Ended"]
    assert heard[1].outcome == "returned"


def test_the_supervisor_calls_no_listeners(project: Project) -> None:
    project.write(
        """
        heard = []

        @app.listen(ph.events.Started, ph.events.Ended, ph.events.Rescued)
        def note(event):
            with open("heard.txt", "a") as file:
                file.write(f"{type(event).__name__} {os.getpid()}\\n")

        @app.job(max_crashes=1)
        def die() -> None:
            os._exit(3)

        @app.job
        def pid() -> int:
            return os.getpid()
        """
    )
    with project.working() as worker:
        until_state(project.job("die"), "failed")
        pid = project.result("pid")
        until(lambda: f"Ended {pid}" in (project.folder / "heard.txt").read_text())
        supervisor = worker.process.pid
    lines = (project.folder / "heard.txt").read_text().splitlines()
    assert f"Started {pid}" in lines
    assert not any(line.startswith("Rescued") or line.endswith(f" {supervisor}") for line in lines)


def test_an_embedded_worker_counts_its_jobs_and_logs_them_at_its_end(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    began, go = threading.Event(), threading.Event()

    @app.job
    def wait() -> None:
        began.set()
        go.wait(30)

    @app.job(max_attempts=1)
    async def fail() -> None:
        raise ValueError

    with caplog.at_level("INFO", "posthorse.worker"), app.worker(metrics=True) as worker:
        assert (worker.metrics.started, worker.metrics.running, worker.metrics.ended) == (0, 0, {})
        until_state(fail.enqueue(), "failed")
        job = wait.enqueue()
        assert began.wait(30)
        until(lambda: worker.metrics.ended == {"raised": 1})
        assert (worker.metrics.started, worker.metrics.running) == (2, 1)
        go.set()
        job.result(timeout=30)
    metrics = worker.metrics
    assert metrics.ended == {"raised": 1, "returned": 1}
    assert metrics.running == 0
    assert {kind: sum(each.counts) for kind, each in metrics.seconds.items()} == {"fail": 1, "wait": 1}
    assert all(len(each.counts) == len(each.bounds) + 1 for each in metrics.seconds.values())
    assert metrics.seconds["wait"].total > 0
    assert "this worker ended: 2 attempts started; 1 raised, 1 returned" in caplog.text
    assert not app.store.emitter.started


def test_a_worker_counts_its_own_jobs_and_not_those_of_its_neighbour(app: ph.Posthorse) -> None:
    @app.job(queue="mail")
    def send() -> None: ...

    @app.job(queue="slow")
    def render() -> None: ...

    with app.worker(queues=["mail"], metrics=True) as one, app.worker(queues=["slow"], metrics=True) as other:
        for job in (send.enqueue(), send.enqueue(), render.enqueue()):
            job.result(timeout=30)
    assert (one.metrics.started, other.metrics.started) == (2, 1)


def test_a_worker_that_was_not_asked_counts_nothing(app: ph.Posthorse) -> None:
    with pytest.raises(InvalidCall, match=r"metrics=True"):
        app.worker().metrics  # noqa: B018 - a property that raises
    assert not app.store.emitter.started
