"""Which jobs the events of an observer become."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from posthorse.errors import TooLarge
from posthorse.rules import observers
from posthorse.rules.job import JobError, Lane, NewJob
from posthorse.rules.job_events import Failed, JobEvent, Missed
from posthorse.rules.observers import EventObserver

MOMENT = datetime(2040, 6, 1, 12, tzinfo=UTC)
MISSED = Missed(why="too old", after="a", cursor="b", at=MOMENT)
LANE = Lane("posthorse", "observe", 0)


def failed(number: int, message: str = "no") -> Failed:
    return Failed(
        job=str(number),
        kind="work",
        queue="default",
        tenant=None,
        attempt=1,
        at=MOMENT,
        cursor="",
        error=JobError("ValueError", message),
    )


def observer(batch: float | None, limit: int) -> EventObserver:
    def make(told: object) -> NewJob:
        arguments = msgspec.json.encode(told).decode()
        if len(arguments) > limit:
            raise TooLarge("too large")
        return NewJob(id="1", lane=LANE, arguments=arguments)

    return EventObserver(
        name="observe",
        names=frozenset({"failed"}),
        kinds=None,
        queues=None,
        wants_missed=True,
        batch=batch,
        lane=LANE,
        make=make,
    )


def told(observer: EventObserver, events: list[JobEvent | Missed]) -> list[list[dict[str, object]]]:
    return [msgspec.json.decode(job.arguments, type=list[dict[str, object]]) for job in observer.jobs(events)]


def test_a_batch_is_halved_until_it_fits() -> None:
    size = len(msgspec.json.encode([failed(1)]))
    batches = told(observer(1.0, 3 * size), [failed(number) for number in range(8)])
    assert [len(batch) for batch in batches] == [2, 2, 2, 2]
    assert [event["job"] for batch in batches for event in batch] == [str(number) for number in range(8)]


def test_a_batch_has_so_many_events_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "MAX_BATCH", 3)
    assert [len(batch) for batch in told(observer(1.0, 10_000), [failed(number) for number in range(7)])] == [3, 3, 1]


@pytest.mark.parametrize("batch", [1.0, None])
def test_the_error_of_one_event_that_is_too_large_is_cut(batch: float | None) -> None:
    jobs = [*observer(batch, 600).jobs([failed(1, "x" * 3_000), MISSED])]
    assert len(jobs) == 2
    assert jobs[0].arguments.count("x") == 200
    assert '"missed"' in jobs[1].arguments


def test_an_event_that_is_too_large_without_its_error_is_refused() -> None:
    with pytest.raises(TooLarge):
        list(observer(None, 10).jobs([MISSED]))
