"""The settler: attempts that end at the same moment are settled together, and each fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

import posthorse as ph
from posthorse.store.base import Operation
from posthorse.store.operations import finish
from posthorse.store.operations.finish import Settlement
from posthorse.store.operations.job_logs import LogChanges
from posthorse.store.store import Store
from posthorse.worker.running import settler
from posthorse.worker.running.completer import Completer
from posthorse.worker.running.deciding import Decided
from posthorse.worker.running.job_logs import NO_LOGS
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.settler import Settler
from tests.waiting import until_state

CROWD = 8


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list of how many attempts each operation settles."""
    found: list[int] = []

    def settle_all(settlements: Sequence[Settlement]) -> Operation[set[str]]:
        found.append(len(settlements))
        return finish.settle_all(settlements)

    monkeypatch.setattr(settler, "settle_all", settle_all)
    return found


def fail_together(app: ph.Posthorse) -> list[ph.Job[None]]:
    """Let a crowd of jobs fail in the same turn of the loop; return them once they have failed."""
    ready: list[int] = []
    go = asyncio.Event()

    @app.job(max_attempts=1)
    async def fail(number: int) -> None:
        ready.append(number)
        if len(ready) == CROWD:
            go.set()
        await go.wait()
        raise ValueError(f"number {number}")

    jobs = [fail.enqueue(number) for number in range(CROWD)]
    with app.worker(concurrency=CROWD):
        for job in jobs:
            until_state(job, "failed")
    return jobs


def test_attempts_that_fail_at_the_same_moment_share_an_operation(app: ph.Posthorse, batches: list[int]) -> None:
    jobs = fail_together(app)
    assert batches == [CROWD]
    assert [str(job.status().error) for job in jobs] == [f"ValueError: number {number}" for number in range(CROWD)]
    assert [[each.outcome for each in job.attempts()] for job in jobs] == [["failed"]] * CROWD


def test_what_the_store_cannot_take_of_one_is_no_matter_to_the_others(
    app: ph.Posthorse, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle_all: Callable[[Sequence[Settlement]], Operation[set[str]]] = vars(settler)["settle_all"]

    def with_half_a_character(settlements: Sequence[Settlement]) -> Operation[set[str]]:
        return settle_all([each._replace(cause="\ud800") if is_third(each) else each for each in settlements])

    def is_third(settlement: Settlement) -> bool:
        error = settlement.transition.error
        return error is not None and error.message == "number 3"

    monkeypatch.setattr(settler, "settle_all", with_half_a_character)
    jobs = fail_together(app)
    assert CROWD in batches
    errors = [job.status().error for job in jobs]
    assert [error.type for error in errors if error] == [
        "Unstorable" if number == 3 else "ValueError" for number in range(CROWD)
    ]


class Run:
    """What the settler reads of a job that ran."""

    def __init__(self, job: str) -> None:
        self.claimed = SimpleNamespace(job=job)


class Attempt:
    """What the settler reads of an attempt that ended."""

    def __init__(self, job: str) -> None:
        self.running = Run(job)
        self.alone = None
        self.settlement = None


class GatedStore:
    """A store whose operations take as long as the test wants."""

    def __init__(self) -> None:
        self.gates: asyncio.Queue[None] = asyncio.Queue()

    async def arun(self, operation: object) -> Collection[str]:
        await self.gates.get()
        return ()


class Written:
    """What surrounds the settler; notes what is concluded, and what is given up."""

    def __init__(self, broken: str = "") -> None:
        self.concluded: list[str] = []
        self.given_up: list[Exception] = []
        self.broken = broken

    def give_up(self, error: Exception) -> None:
        self.given_up.append(error)

    async def insist(self, attempt: Callable[[], Awaitable[Collection[str]]]) -> Collection[str]:
        return await attempt()

    async def logged(self, ended: Sequence[RunningJob]) -> LogChanges:
        return NO_LOGS

    def decide_instead(self, decided: Decided, error: Exception) -> None:
        raise AssertionError("the store takes everything")

    async def announce(self, ended: Sequence[Decided]) -> None:
        pass

    async def conclude(self, ended: Sequence[Decided], refused: Collection[str] | None) -> None:
        for each in ended:
            if each.running.claimed.job == self.broken:
                raise ValueError("broken beside the store")
            self.concluded.append(each.running.claimed.job)


def settler_of(store: GatedStore, written: Written) -> Settler:
    return Settler(cast("Store", store), "r", written)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # `insist` is of one type here


def ended(job: str) -> Decided:
    return cast("Decided", Attempt(job))


def test_who_settles_an_attempt_waits_for_that_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """While other jobs fail steadily, the settler is never idle."""

    async def main() -> None:
        store, written = GatedStore(), Written()
        settling = settler_of(store, written)
        awaited = asyncio.create_task(settling.settle(ended("a")))
        await asyncio.sleep(0)
        settling.put(ended("a"))  # the job came back, and ended again: this is never settled with the first
        store.gates.put_nowait(None)
        await asyncio.wait_for(awaited, 30)
        assert written.concluded == ["a"]
        assert settling.left == 1
        store.gates.put_nowait(None)
        await settling.becomes_idle()
        assert written.concluded == ["a", "a"]

    monkeypatch.setattr(settler, "settle_all", list)
    asyncio.run(main())


def test_an_error_beside_the_store_strands_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        store, written = GatedStore(), Written("a")
        settling = settler_of(store, written)
        awaited = asyncio.create_task(settling.settle(ended("a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it is being written now
        settling.put(ended("b"))
        store.gates.put_nowait(None)
        store.gates.put_nowait(None)
        await asyncio.wait_for(awaited, 30)
        await settling.becomes_idle()
        assert (written.concluded, settling.left) == (["b"], 0)
        assert [str(error) for error in written.given_up] == ["broken beside the store"]

    monkeypatch.setattr(settler, "settle_all", list)
    asyncio.run(main())


def test_an_end_that_cannot_be_told_gives_nothing_up(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is written already, and the others that are settled with it are told."""
    real = Completer._tell  # pyright: ignore[reportPrivateUsage]
    told: list[str] = []

    def tell(self: Completer, decided: Decided) -> None:
        if "number 3" in str(decided.transition.error):
            raise ValueError("broken")
        told.append(str(decided.transition.error))
        real(self, decided)

    monkeypatch.setattr(Completer, "_tell", tell)
    fail_together(app)
    assert len(told) == CROWD - 1
    assert "this cannot be counted and told" in caplog.text
    assert "gave up" not in caplog.text
