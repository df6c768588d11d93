"""Dead letters in the store: it finds new ones, and of many processes that would report them, one does."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec
import pytest

from posthorse import ids
from posthorse.clock import SECOND
from posthorse.rules.events import DeadLettersGrew
from posthorse.rules.growth import LOG, AlarmRule
from posthorse.rules.job import JobError, Lane, NewJob
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Raised
from posthorse.store.operations import finish, read
from posthorse.store.operations.dead_letters import Alarm, alarms_due, new_dead_letters, raise_alarm
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.submit import EntryTerms
from tests.statuses import newest_rows
from tests.store.yard import Yard

MAIL, PHOTOS, OBSERVERS = Lane("mail", "welcome"), Lane("photos", "shrink"), Lane("posthorse", "tell")
TELL = AlarmRule("tell", by=3, within=60 * SECOND)
NO = JobError("smtplib.SMTPServerDisconnected", "no", "a long traceback")


def die(yard: Yard, count: int = 1, lane: Lane = MAIL, error: JobError = NO) -> list[str]:
    """Make jobs that become dead letters."""
    jobs = yard.enqueue(count, lane)
    runner = yard.runner(kinds=(lane.kind,))
    for claimed in yard.claim(runner, count, [lane]):
        transition = decide(Spent(), Raised(error), Policy(max_attempts=1))
        attempt = Fence(claimed.job, claimed.epoch, runner)
        assert yard.store.run(finish.settle(finish.Settlement(attempt, transition, lane)))
    return jobs


def alarms(yard: Yard, *watches: AlarmRule, pace: int = 0) -> list[Alarm]:
    return yard.store.read(alarms_due(watches or (TELL,), pace=pace))


def job_of(event: DeadLettersGrew) -> NewJob:
    return NewJob(ids.new_id(), OBSERVERS, msgspec.json.encode({"event": event}).decode())


def tell(yard: Yard, found: Sequence[Alarm]) -> list[DeadLettersGrew]:
    lanes = yard.store.lanes({OBSERVERS})
    told = [yard.store.run(raise_alarm(alarm, job_of, EntryTerms(lanes))) for alarm in found]
    return [event for event in told if event is not None]


def test_new_dead_letters_are_found_the_newest_first(yard: Yard) -> None:
    assert yard.store.read(new_dead_letters(SECOND)).found == []
    [first] = die(yard)
    yard.pass_time(seconds=5)
    [second] = die(yard, lane=PHOTOS)
    yard.enqueue(1, MAIL, delay=SECOND)  # set aside, and no dead letter
    found = yard.store.read(new_dead_letters(60 * SECOND))
    assert [(each.job, each.queue, each.kind) for each in found.found] == [
        (second, "photos", "shrink"),
        (first, "mail", "welcome"),
    ]
    assert not found.is_cut
    assert found.now >= found.found[0].at > found.found[1].at
    assert [each.job for each in yard.store.read(new_dead_letters(3 * SECOND)).found] == [second]


def test_the_event_and_its_job_are_made_in_one_commit(yard: Yard) -> None:
    jobs = die(yard, 3) + die(yard, 1, error=JobError("KeyError", "x"))
    [event] = tell(yard, alarms(yard))
    assert (event.queue, event.count, event.kinds) == ("mail", 4, {"welcome": 4})
    assert event.errors == {"smtplib.SMTPServerDisconnected": 3, "KeyError": 1}
    assert sorted(event.jobs) == sorted(jobs)
    assert [depth.waiting for depth in yard.store.read(read.depths()) if depth.queue == "posthorse"] == [1]
    [told] = [row for row in newest_rows(yard.store) if row.queue == "posthorse"]
    stored = yard.store.read(read.arguments(told.id))
    assert stored is not None
    assert msgspec.json.decode(stored, type=dict[str, DeadLettersGrew])["event"] == event


def test_an_event_whose_job_cannot_be_made_is_told_at_the_next_look(yard: Yard) -> None:
    die(yard, 3)
    [alarm] = alarms(yard)

    def fail(event: DeadLettersGrew) -> NewJob:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        yard.store.run(raise_alarm(alarm, fail, EntryTerms({})))
    assert len(tell(yard, alarms(yard))) == 1


def test_a_burst_is_told_once_to_each_and_growth_after_it_again(yard: Yard) -> None:
    die(yard, 3)
    other = AlarmRule("other", by=2, within=60 * SECOND)
    assert [event.count for event in tell(yard, alarms(yard, TELL, other))] == [3, 3]
    assert alarms(yard, TELL, other) == []
    die(yard, 2)
    assert alarms(yard, TELL, other) == [], "not so soon again"
    yard.pass_time(seconds=30)
    die(yard, 2)
    yard.pass_time(seconds=31)
    assert [event.count for event in tell(yard, alarms(yard, TELL, other, pace=5 * SECOND))] == [2]
    assert alarms(yard, TELL, other) == []


def test_what_was_retried_or_discarded_is_no_dead_letter_any_more(yard: Yard) -> None:
    first, second, _ = die(yard, 3)
    yard.ask(first, "retry")
    yard.ask(second, "discard")
    assert alarms(yard, TELL) == []
    assert len(alarms(yard, AlarmRule("tell", by=1))) == 1


def test_one_of_many_who_would_tell_does(yard: Yard) -> None:
    for _ in range(4):
        die(yard, 3)
        found = [alarms(yard, TELL, LOG) for _ in range(6)]
        start = threading.Barrier(len(found))
        told: list[DeadLettersGrew] = []

        def race(alarm: Sequence[Alarm], start: threading.Barrier = start, told: list[DeadLettersGrew] = told) -> None:
            start.wait()
            told += tell(yard, alarm)

        threads = [threading.Thread(target=race, args=(each,)) for each in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [event.count for event in told] == [3]
        yard.pass_time(seconds=120)
    assert [depth.waiting for depth in yard.store.read(read.depths()) if depth.queue == "posthorse"] == [4]


def test_who_looked_before_another_told_tells_nothing_of_the_same(yard: Yard) -> None:
    die(yard, 3)
    late = alarms(yard)
    yard.pass_time(seconds=1)
    die(yard, 1)
    assert [event.count for event in tell(yard, alarms(yard))] == [4]
    assert tell(yard, late) == []


def test_a_clock_that_was_put_back_silences_nobody_for_long(yard: Yard) -> None:
    yard.pass_time(hours=1)
    die(yard, 3)
    assert len(tell(yard, alarms(yard))) == 1
    yard.pass_time(hours=-1)
    die(yard, 3)
    assert [event.count for event in tell(yard, alarms(yard))] == [3]
    assert tell(yard, alarms(yard)) == []
