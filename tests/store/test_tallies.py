"""Tallies in the store: written once, folded without a loss, and counted where no runner counts."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from posthorse.clock import SECOND
from posthorse.rules.job import JobError, State
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Crashed, Lost, Raised
from posthorse.rules.tallies import (
    Histogram,
    bucket_of,
    decode_histogram,
    encode_histogram,
    tally_of_errors,
    what_happened,
)
from posthorse.store.operations import finish
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.store_facts import store_now
from posthorse.store.operations.tallies import (
    DAY,
    HOUR,
    MINUTE,
    WRITTEN,
    Counted,
    CountedError,
    Fold,
    TallyBatch,
    TallyRow,
    beside_tallies,
    day_of,
    depths_now,
    fold_tallies,
    folds_due,
    forget_figures,
    note_depths,
    tallies,
    thin_depths,
    write_tallies,
)
from tests.store.yard import HOME, Yard

FOLDS = (
    Fold(WRITTEN, MINUTE, 120 * SECOND),
    Fold(MINUTE, HOUR, 2 * DAY * SECOND),
    Fold(HOUR, DAY, 90 * DAY * SECOND),
)
EVER = 2 * 10**15


def rows(yard: Yard) -> list[TallyRow]:
    return yard.store.read(tallies(0, EVER, beyond=0))


def counts(yard: Yard) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in rows(yard):
        found[row.happened] += row.times
    return found


def counted(times: int = 1, *, happened: str = "completed", kind: str = "work", took: int = 1_000) -> Counted:
    over = encode_histogram({bucket_of(took): times})
    return Counted("default", kind, "", happened, times, took * times, over)


def write(yard: Yard, runner: str, number: int, *what: Counted) -> bool:
    return yard.store.run(write_tallies(runner, TallyBatch(number, what, (), None)))


def test_what_is_sent_twice_is_counted_once(yard: Yard) -> None:
    runner = yard.runner()
    assert write(yard, runner, 1, counted(3))
    assert not write(yard, runner, 1, counted(3))  # the reply was lost
    assert write(yard, runner, 2, counted(4))
    assert counts(yard) == {"completed": 7}


def test_what_is_sent_twice_is_counted_once_even_if_it_was_folded_meanwhile(yard: Yard) -> None:
    runner = yard.runner()
    assert write(yard, runner, 1, counted(3))
    yard.store.clock.advance(timedelta(minutes=5))
    assert yard.store.run(fold_tallies(FOLDS[0], limit=100)) == 1
    assert not write(yard, runner, 1, counted(3))
    assert counts(yard) == {"completed": 3}


def test_a_runner_that_was_given_up_for_dead_writes_nothing(yard: Yard) -> None:
    assert not write(yard, "018f0000-0000-7000-8000-000000000000", 1, counted(3))
    assert rows(yard) == []


def test_runners_count_side_by_side(yard: Yard) -> None:
    for runner in (yard.runner(), yard.runner()):
        assert write(yard, runner, 1, counted(3), counted(2, happened="failed"), counted(5, kind="other"))
    assert counts(yard) == {"completed": 16, "failed": 4}


def test_errors_add_up_in_their_group(yard: Yard) -> None:
    runners = yard.runner(), yard.runner()
    jobs = yard.enqueue(2)
    for runner, job, release in zip(runners, jobs, ("one", "two"), strict=True):
        error = CountedError("f" * 16, "work", "ValueError", f"no #, {release}", job, 3)
        for _ in range(2):  # the reply was lost
            yard.store.run(write_tallies(runner, TallyBatch(1, (), (error,), release)))
    [group] = yard.store.read(beside_tallies(0, EVER)).errors
    assert (group.times, group.release, group.sample, group.message) == (6, "one", jobs[1], "no #, two")
    assert counts(yard) == {tally_of_errors("f" * 16): 6}
    yard.store.clock.advance(timedelta(days=200))
    for fold in FOLDS:
        yard.store.run(fold_tallies(fold, limit=100))
    assert counts(yard) == {tally_of_errors("f" * 16): 6}


@pytest.mark.parametrize("seed", range(4))
def test_folding_neither_loses_nor_doubles(yard: Yard, seed: int) -> None:
    """Writes, folds and steps of the clock in any order: what is read is what a model adds up."""
    draw = random.Random(seed)
    runners = {yard.runner(): 0 for _ in range(2)}
    model: dict[tuple[str, str], tuple[int, int, Histogram]] = {}
    for _ in range(60):
        deed = draw.choice(("write", "write", "write", "wait", "fold", "fold"))
        if deed == "write":
            runner = draw.choice(list(runners))
            runners[runner] += 1
            kinds = draw.sample(("work", "play", "rest"), draw.randint(1, 3))
            what = [counted(draw.randint(1, 9), kind=kind, took=draw.randint(0, 10**9)) for kind in kinds]
            assert write(yard, runner, runners[runner], *what)
            for each in what:
                add_to(model, each)
        elif deed == "wait":
            seconds = draw.choice((7, 50, 200, 7_000, 200_000, 5_000_000, -30, -4_000))
            yard.store.clock.advance(timedelta(seconds=seconds))
        else:
            yard.store.run(fold_tallies(draw.choice(FOLDS), limit=draw.choice((1, 3, 1_000))))
        assert read_up(yard) == model
    yard.store.clock.advance(timedelta(days=200))
    while due := yard.store.read(folds_due(FOLDS)):
        for fold in due:
            assert yard.store.run(fold_tallies(fold, limit=50))
    assert {row.span for row in rows(yard)} <= {DAY}
    assert read_up(yard) == model


def add_to(model: dict[tuple[str, str], tuple[int, int, Histogram]], each: Counted | TallyRow) -> None:
    times, micros, over = model.get((each.kind, each.happened), (0, 0, {}))
    model[each.kind, each.happened] = (times + each.times, micros + each.micros, merged(over, each.histogram))


def merged(over: Mapping[int, int], histogram: str) -> Histogram:
    return dict(Counter(over) + Counter(decode_histogram(histogram)))


def read_up(yard: Yard) -> dict[tuple[str, str], tuple[int, int, Histogram]]:
    found: dict[tuple[str, str], tuple[int, int, Histogram]] = {}
    for row in rows(yard):
        add_to(found, row)
    return found


def test_times_of_a_day_are_read_with_what_was_folded_into_it(yard: Yard) -> None:
    runner = yard.runner()
    write(yard, runner, 1, counted(3))
    now = yard.store.read(store_now())
    today = day_of(now)
    assert len(yard.store.read(tallies(today, today + DAY * SECOND, beyond=now - 60 * SECOND))) == 1
    assert yard.store.read(tallies(today, today + DAY * SECOND, beyond=now + 20 * SECOND)) == []
    assert yard.store.read(tallies(today - DAY * SECOND, today, beyond=0)) == []


def test_old_figures_leave(yard: Yard) -> None:
    runner = yard.runner()
    write(yard, runner, 1, counted(3))
    yard.enqueue()
    yard.store.run(note_depths([*yard.store.read(depths_now(100)).values()]))
    yard.store.clock.advance(timedelta(days=400))
    for fold in FOLDS:
        yard.store.run(fold_tallies(fold, limit=100))
    yard.store.run(forget_figures(before=yard.store.read(store_now()) - 396 * DAY * SECOND))
    assert rows(yard) == []
    assert yard.store.read(beside_tallies(0, EVER)).depths == []


# ── ends that no runner counts ───────────────────────────────────────────────────────────────────────


def test_a_job_that_is_cancelled_before_it_runs_is_counted(yard: Yard) -> None:
    [waiting] = yard.enqueue()
    [later] = yard.enqueue(delay=10**9)
    yard.ask(waiting, "cancel")
    yard.ask(later, "cancel")
    assert counts(yard) == {"cancelled": 2}


def test_a_job_that_is_cancelled_again_counts_again_and_a_discard_does_not(yard: Yard) -> None:
    [job] = yard.enqueue()
    yard.ask(job, "cancel")
    yard.ask(job, "retry")
    yard.ask(job, "cancel")
    assert counts(yard) == {"cancelled": 2}
    attempt = yard.started()
    yard.fail(attempt)
    yard.ask(attempt.job, "discard")
    assert counts(yard) == {"cancelled": 2}


def test_a_job_that_is_cancelled_by_force_is_counted_once(yard: Yard) -> None:
    attempt = yard.started()
    yard.ask(attempt.job, "cancel", force=True)
    assert counts(yard) == {"cancelled": 1}
    paused = yard.started()
    yard.ask(paused.job, "pause", force=True)
    assert counts(yard) == {"cancelled": 1}


def test_a_rescue_is_counted_once_in_its_commit(yard: Yard) -> None:
    attempt = yard.started()
    transition = decide(Spent(), Lost("gone"), Policy())
    happened = what_happened("lost", transition.state)
    for _ in range(2):  # the reply was lost
        yard.store.run(finish.settle(finish.Settlement(attempt, transition, HOME, None, happened=happened)))
    assert counts(yard) == {"lost": 1}


def test_a_rescue_that_comes_too_late_is_not_counted(yard: Yard) -> None:
    attempt = yard.started()
    assert yard.complete(attempt) == []
    transition = decide(Spent(), Crashed("gone", alone=True), Policy(max_crashes=1))
    yard.store.run(
        finish.settle(
            finish.Settlement(attempt, transition, HOME, None, happened=what_happened("crashed", State.FAILED))
        )
    )
    assert counts(yard) == {}


# ── causes ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_dead_letter_keeps_the_group_of_its_error(yard: Yard) -> None:
    attempt = yard.started()
    transition = decide(Spent(), Raised(JobError("ValueError", "no")), Policy(max_attempts=1))
    yard.store.run(finish.settle(finish.Settlement(attempt, transition, HOME, None, cause="f" * 16)))
    assert cause_of(yard, attempt) == "f" * 16


def cause_of(yard: Yard, attempt: Fence) -> object:
    if yard.store.url.startswith("sqlite"):
        with closing(sqlite3.connect(yard.store.url.removeprefix("sqlite:///"))) as file:
            return file.execute("SELECT cause FROM posthorse_parked WHERE job = ?", (attempt.job,)).fetchone()[0]
    with psycopg.connect(yard.store.url) as connection:
        row = connection.execute("SELECT cause FROM posthorse.parked WHERE job = %s", (attempt.job,)).fetchone()
        assert row is not None
        return row[0]


# ── depths ───────────────────────────────────────────────────────────────────────────────────────────


def test_depths_are_those_of_each_queue(yard: Yard) -> None:
    yard.enqueue(3)
    yard.enqueue(2, delay=10**9)
    yard.claim_one()
    yard.fail(yard.claim_one())
    yard.store.run(note_depths([*yard.store.read(depths_now(100)).values()]))
    [depth] = yard.store.read(beside_tallies(0, EVER)).depths
    assert (depth.queue, depth.waiting, depth.running, depth.scheduled, depth.failed) == ("default", 1, 1, 2, 1)
    assert depth.waited is not None
    assert 0 <= depth.waited < 60 * SECOND


def test_depths_are_counted_up_to_a_limit(yard: Yard) -> None:
    yard.enqueue(30)
    yard.enqueue(30, delay=10**9)
    depth = yard.store.read(depths_now(10))["default"]
    assert (depth.waiting, depth.scheduled) == (10, 10)


def test_of_old_depths_those_of_the_first_minute_of_each_hour_stay(yard: Yard) -> None:
    yard.enqueue()
    to_the_hour = -yard.store.read(store_now()) % (HOUR * SECOND)
    yard.store.clock.advance(timedelta(microseconds=to_the_hour))
    for _ in range(8):
        yard.store.run(note_depths([*yard.store.read(depths_now(100)).values()]))
        yard.store.clock.advance(timedelta(seconds=25))
    yard.store.run(thin_depths(0, EVER))
    assert len(yard.store.read(beside_tallies(0, EVER)).depths) == 3
