"""The timeline of a job: what each number is, told from its row, its lease and its stored events."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.clock import SECOND, moment
from posthorse.rules.attempts import attempts_in
from posthorse.rules.event_names import ENDS_OF_ATTEMPTS, EVENT_NAMES
from posthorse.rules.events import Event
from posthorse.rules.job import JobError
from posthorse.rules.repeated_events import KEPT_APART
from posthorse.rules.timeline import Evidence, StoredFacts, tell

JOB = "01900000-0000-7000-8000-000000000000"
NOON = 2_000_000_000 * SECOND
RAN = '"worker":"w-1","pid":7,"seconds":2.0'


def facts(
    version: int,
    state: str = "pending",
    *,
    run_at: int | None = None,
    started_at: int | None = None,
    finished_at: int | None = None,
    completed_by: str | None = None,
    claimed_at: int | None = None,
) -> StoredFacts:
    worker = None if claimed_at is None else "w-2"
    return StoredFacts(JOB, version, state, NOON, run_at, started_at, finished_at, completed_by, claimed_at, worker)


def stored(version: int, name: str, detail: str | None = None, *, at: int | None = None) -> Evidence:
    return Evidence(version, NOON + 10 * version * SECOND if at is None else at, name, detail)


def ran(version: int, name: str, more: str = "") -> Evidence:
    return stored(version, name, f"{{{RAN}{more}}}")


def names(told: list[Event]) -> list[str]:
    return [event.name for event in told]


COMPLETED = facts(3, "completed", started_at=NOON + SECOND, finished_at=NOON + 3 * SECOND, completed_by="w-1")


@pytest.mark.parametrize(
    ("of", "evidence", "told"),
    [
        (facts(1), [], "submitted"),
        (facts(1, claimed_at=NOON), [], "submitted started"),
        (facts(2), [], "submitted queued"),  # its time came, or it was given back
        (facts(2, claimed_at=NOON), [], "submitted queued started"),
        (COMPLETED, [], "submitted started completed"),
        (facts(3, "scheduled"), [ran(3, "attempt_failed")], "submitted started attempt_failed"),
        (facts(4), [ran(3, "attempt_failed")], "submitted started attempt_failed queued"),
        (facts(3, "failed"), [ran(3, "failed")], "submitted started failed"),
        (facts(3, "scheduled"), [ran(3, "snoozed")], "submitted started snoozed"),
        (facts(3, "blocked"), [ran(3, "waiting")], "submitted started waiting"),
        (facts(3, "blocked"), [ran(3, "split")], "submitted started split"),
        (facts(3), [ran(3, "released")], "submitted started released"),
        (facts(3), [ran(3, "lost")], "submitted started lost"),
        (facts(3), [ran(3, "crashed")], "submitted started crashed"),
        (facts(3, "blocked"), [ran(3, "unfit")], "submitted claimed unfit"),
        (facts(3, "cancelled"), [ran(3, "expired")], "submitted claimed expired"),
        (facts(3, "paused"), [ran(3, "paused")], "submitted started paused"),  # at a checkpoint, or by force
        (facts(3, "cancelled"), [ran(3, "cancelled")], "submitted started cancelled"),
        (facts(2, "paused"), [stored(2, "paused")], "submitted paused"),  # while it waited
        (facts(2, "cancelled"), [stored(2, "cancelled")], "submitted cancelled"),
        (facts(3), [stored(2, "paused"), stored(3, "resumed")], "submitted paused resumed"),
        (facts(3, "cancelled"), [stored(3, "cancelled")], "submitted queued cancelled"),
        (facts(2), [stored(2, "superseded")], "submitted superseded"),
        (facts(4), [ran(3, "failed"), stored(4, "retried")], "submitted started failed retried"),
        (facts(4, "cancelled"), [ran(3, "failed"), stored(4, "discarded")], "submitted started failed discarded"),
        (facts(4, "paused"), [ran(3, "released"), stored(4, "paused")], "submitted started released paused"),
        (
            facts(6, "completed", started_at=NOON, finished_at=NOON + 90 * SECOND),
            [ran(3, "attempt_failed")],
            "submitted started attempt_failed queued started completed",
        ),
        (
            facts(6, "completed", started_at=NOON, finished_at=NOON + 90 * SECOND),
            [stored(4, "retried", '{"completed":{"started_at":1,"finished_at":2,"worker":"w"}}')],
            "submitted started completed retried started completed",
        ),
    ],
)
def test_each_step_has_its_numbers_and_names(of: StoredFacts, evidence: list[Evidence], told: str) -> None:
    events = tell(of, evidence)
    assert " ".join(names(events)) == told
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert events[-1].number == of.version + (of.claimed_at is not None)
    for number in range(len(events) + 1):  # and behind any number come the others
        assert tell(of, evidence, number) == events[number:]


def test_every_name_is_told() -> None:
    table = next(mark for mark in test_each_step_has_its_numbers_and_names.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]  # pytest's
    told = {name for _, _, words in table.args[1] for name in words.split()}
    assert told == set(EVENT_NAMES)


def test_times_come_from_where_they_are_known() -> None:
    _, started, failed, queued, again, completed = tell(
        facts(6, "completed", started_at=NOON, finished_at=NOON + 90 * SECOND, completed_by="w-3", run_at=NOON),
        [ran(3, "attempt_failed", ',"wait":5.0,"type":"ValueError","message":"no"')],
    )
    assert failed.at == moment(NOON + 30 * SECOND)
    assert started.at == moment(NOON + 28 * SECOND)  # it took two seconds
    assert queued.at == moment(NOON + 35 * SECOND)  # it was to wait five
    assert again.at is None  # the row keeps the first start alone
    assert (completed.at, completed.worker, again.worker) == (moment(NOON + 90 * SECOND), "w-3", "w-3")
    assert failed.error == JobError(type="ValueError", message="no")
    assert [event.attempt for event in (started, failed, queued, again, completed)] == [1, 1, None, 2, 2]


def test_a_first_attempt_has_its_start_and_a_running_one_its_claim() -> None:
    assert tell(COMPLETED, [])[1].at == moment(NOON + SECOND)
    running = tell(facts(1, claimed_at=NOON + 7 * SECOND), [])[1]
    assert (running.at, running.worker, running.attempt) == (moment(NOON + 7 * SECOND), "w-2", 1)


def test_a_job_lined_up_when_it_was_due_if_its_row_can_still_tell() -> None:
    due = NOON + 60 * SECOND
    assert tell(facts(2, run_at=due), [])[1].at == moment(due)
    assert tell(facts(4, run_at=due), [ran(4, "snoozed")])[1].at is None  # at 40 s: the row tells of a later wait


def test_a_retry_counts_attempts_from_one() -> None:
    told = tell(
        facts(10, "pending", claimed_at=NOON + 900 * SECOND),
        [ran(3, "attempt_failed"), ran(6, "failed"), stored(7, "retried"), ran(9, "attempt_failed")],
    )
    assert [(event.number, event.attempt) for event in told if event.attempt is not None] == [
        (2, 1), (3, 1), (5, 2), (6, 2), (8, 1), (9, 1), (11, 2),
    ]  # fmt: skip


def test_one_event_stands_for_the_replaced_ones_of_a_series() -> None:
    times = KEPT_APART + 30
    of, evidence = facts(104), [ran(3, "snoozed"), ran(104, "snoozed", f',"times":{times}')]
    told = tell(of, evidence)
    assert [(event.number, event.covers, event.name) for event in told] == [
        (1, 1, "submitted"),
        (2, 1, "started"),
        (3, 1, "snoozed"),
        (102, 99, "snoozed"),
        (103, 1, "started"),
        (104, 1, "snoozed"),
    ]
    assert told[3].at is None
    assert [(event.number, event.covers) for event in tell(of, evidence, 90)] == [(102, 12), (103, 1), (104, 1)]
    assert names(tell(of, evidence, 101)) == ["queued", "started", "snoozed"]  # one alone can only be that
    assert [attempt.outcome for attempt in attempts_in(told)] == ["snoozed", "snoozed"]


def test_a_long_row_of_returns_is_one_event() -> None:
    told = tell(facts(3 * KEPT_APART), [])
    assert [(event.name, event.covers) for event in told] == [("submitted", 1), ("queued", 3 * KEPT_APART - 1)]


def test_what_a_newer_version_records_is_left_to_it() -> None:
    assert names(tell(facts(3), [stored(3, "teleported"), stored(9, "paused")])) == ["submitted", "queued", "queued"]


@pytest.mark.parametrize("detail", [None, "[1]", "{", '{"type":1,"message":[]}', '{"seconds":"x","worker":3}'])
def test_a_detail_that_is_not_understood_breaks_nothing(detail: str | None) -> None:
    assert names(tell(facts(3), [stored(3, "lost", detail)])) == ["submitted", "started", "lost"]


def test_an_attempt_begins_where_it_started_and_ends_with_its_evidence() -> None:
    told = tell(
        facts(12, "cancelled"),
        [
            ran(3, "attempt_failed", ',"type":"ValueError","message":"no"'),
            ran(6, "unfit"),
            ran(9, "failed", ',"type":"Crashed","message":"3 times"'),
            stored(12, "discarded"),
        ],
    )
    found = [(each.number, each.outcome, each.worker) for each in attempts_in(told)]
    assert found == [(1, "failed", "w-1"), (2, "crashed", "w-1")]  # what did not fit did not run


@st.composite
def histories(draw: st.DrawFn) -> tuple[StoredFacts, list[Evidence]]:
    """Draw what any statements may leave behind: gaps of any length, and events of any name."""
    version, evidence = 1, list[Evidence]()
    for name in draw(st.lists(st.sampled_from(EVENT_NAMES), max_size=12)):
        version += draw(st.integers(1, 30))
        detail = draw(st.sampled_from([None, f"{{{RAN}}}", '{"times":11}', '{"wait":3.5}', '{"completed":{}}']))
        evidence.append(stored(version, name, detail))
    version += draw(st.integers(0, 30))
    state = draw(st.sampled_from(["pending", "completed", "failed", "paused"]))
    claimed_at = draw(st.none() | st.just(NOON)) if state == "pending" else None
    return facts(version, state, claimed_at=claimed_at, run_at=draw(st.none() | st.just(NOON))), evidence


@given(histories())
def test_whatever_is_stored_every_number_is_covered_once(history: tuple[StoredFacts, list[Evidence]]) -> None:
    of, evidence = history
    end = of.version + (of.claimed_at is not None)
    for after in range(end + 1):
        reached = after
        for event in tell(of, evidence, after):
            assert event.number - event.covers == reached
            assert event.covers >= 1
            reached = event.number
        assert reached == end


@given(histories())
def test_an_event_reads_back_from_its_json(history: tuple[StoredFacts, list[Evidence]]) -> None:
    for event in tell(*history):
        assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


def test_ends_are_those_that_an_attempt_can_have() -> None:
    assert {"submitted", "queued", "started", "retried", "superseded"}.isdisjoint(ENDS_OF_ATTEMPTS)
