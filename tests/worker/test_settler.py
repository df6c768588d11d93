"""The settler: attempts that end at the same moment are settled together, and each fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

import posthorse as ph
from posthorse.store.base import Operation
from posthorse.store.operations import finish
from posthorse.store.operations.finish import Settlement
from posthorse.worker.running import settler
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
