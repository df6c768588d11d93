"""The JSON of events keeps its form to the byte: programs read it from `posthorse events --json` and from conditions.

`event_forms.txt` has a line for each class, recorded once. A new class adds its line there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Union

import msgspec

from posthorse.rules.condition_events import DeadLettersGrew, JobBehind, QueueLate, ScheduleMissed
from posthorse.rules.job import JobError
from posthorse.rules.job_events import ALL_CLASSES, CLASSES, Missed
from posthorse.rules.store_events import QueueChanged, SchedulePaused, ScheduleResumed, WorkerLost

RECORDED = Path(__file__).with_name("event_forms.txt")
AT = datetime(2026, 3, 29, 1, 0, 0, 250_000, UTC)
ERROR = JobError(type="ValueError", message="no \x1b page", traceback=None)


def every_event() -> Iterator[msgspec.Struct]:
    """Yield an event of each class; of jobs one with all fields, and one with the fewest."""
    for made in CLASSES.values():
        yield made(
            job="0198-7a",
            kind="shop.render",
            queue="pdf",
            tenant="acme",
            tags=["b", "a"],
            attempt=2,
            at=AT,
            cursor="c-9",
            number=4,
            error=ERROR,
        )
    yield CLASSES["submitted"](
        job="0198-7a", kind="render", queue="default", tenant=None, attempt=None, at=AT, cursor="c"
    )
    yield QueueChanged(queue="pdf", settings={"paused": True, "concurrency": None}, at=AT, cursor="c-1")
    yield SchedulePaused(schedule="nightly", at=AT, cursor="c-2")
    yield ScheduleResumed(schedule="nightly", at=AT, cursor="c-3")
    yield WorkerLost(worker="w1", host="h1", runners=["r1", "r2"], jobs=3, last_seen=AT, at=AT, cursor="c-4")
    yield Missed(why="too old", after="c-1", cursor="c-5", at=AT)
    yield QueueLate(
        queue="pdf", limit=timedelta(minutes=5), waited=timedelta(minutes=7), job="0198-7a", since=AT, at=AT
    )
    yield ScheduleMissed(schedule="nightly", since=AT, until=None, jobs=None, at=AT)
    yield JobBehind(
        job="0198-7a",
        kind="render",
        queue="pdf",
        tenant=None,
        within=timedelta(hours=1),
        due=AT,
        eta=AT,
        since=AT,
        at=AT,
        is_over=True,
    )
    yield DeadLettersGrew(
        queue="pdf", count=12, since=AT, until=AT, kinds={"render": 12}, errors={"ValueError": 12}, jobs=["0198-7a"]
    )


def test_every_event_has_the_json_that_was_recorded(tmp_path: Path) -> None:
    actual = tmp_path / "event_forms.txt"
    actual.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in every_event()))
    assert actual.read_text(encoding="utf-8") == RECORDED.read_text(encoding="utf-8"), f"what is written now: {actual}"


def test_every_class_of_the_stream_is_recorded() -> None:
    assert {type(event) for event in every_event()} >= {*ALL_CLASSES.values(), Missed}


def test_an_event_is_read_back_by_its_name() -> None:
    """Programs in Python may decode what the command line prints."""
    any_of = msgspec.json.Decoder(Union[tuple(CLASSES.values())])  # noqa: UP007 (made of a list)
    for event in every_event():
        if type(event) in CLASSES.values():
            line = msgspec.json.encode(event)
            again = any_of.decode(line)
            assert (type(again), msgspec.json.encode(again)) == (type(event), line)
