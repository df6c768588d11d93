"""Words and shapes of the output: bars, columns, spans, and what is kept away from a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.cli.bars import bar
from posthorse.cli.exits import Exit, exit_of, exit_of_states
from posthorse.cli.screen import clean
from posthorse.cli.tables import Column, layout
from posthorse.cli.wording import MARKS, clock_time, left, percent, short_span, speed
from posthorse.errors import (
    InvalidTransition,
    JobCancelled,
    JobFailed,
    JobNotFound,
    KeyConflict,
    OutcomeUnknown,
    SchemaMismatch,
    UnknownKind,
)
from posthorse.rules.job import State
from posthorse.rules.progress import Progress

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@given(st.floats(0, 1), st.integers(1, 200))
def test_bar_has_its_width_and_is_full_only_at_the_end(fraction: float, width: int) -> None:
    done, open_ = bar(fraction, width)
    assert len(done) + len(open_) == width
    assert (done == "━" * width) == (fraction == 1)


@given(st.text())
def test_nothing_that_steers_a_terminal_is_left(text: str) -> None:
    assert all(character.isprintable() or character in "\u200c\u200d" for character in clean(text))
    assert all(character.isprintable() or character in "\u200c\u200d\n" for character in clean(text, keep_lines=True))


def test_words_of_all_scripts_are_kept() -> None:
    for text in ("Grüße", "日本語", "שלום", "🧑‍🚀 flies", "a\u00a0b".replace("\u00a0", " ")):
        assert clean(text) == text
    assert clean("two\nlines\tand a tab") == "two lines and a tab"


TABLE = (Column("STATE"), Column("KIND", least=10), Column("QUEUE", least=8, rank=2), Column("AGE", rank=1))


@pytest.mark.parametrize(
    ("widest", "room", "shown"),
    [
        ([9, 20, 30, 3], 100, {0: 9, 1: 20, 2: 30, 3: 3}),
        ([9, 20, 30, 3], 58, {0: 9, 1: 20, 2: 20, 3: 3}),
        ([9, 20, 30, 3], 48, {0: 9, 1: 15, 2: 15, 3: 3}),
        ([9, 20, 30, 3], 36, {0: 9, 1: 10, 2: 8, 3: 3}),
        ([9, 20, 30, 3], 35, {0: 9, 1: 19, 3: 3}),
        ([9, 20, 30, 3], 22, {0: 9, 1: 11}),
        ([9, 20, 30, 3], 5, {0: 9, 1: 4}),
        ([9, 6, 4, 3], 28, {0: 9, 1: 6, 2: 4, 3: 3}),
    ],
)
def test_columns_grow_narrower_and_then_the_least_important_go(
    widest: Sequence[int], room: int, shown: dict[int, int]
) -> None:
    assert layout(TABLE, widest, room) == shown


def test_spans_are_short() -> None:
    spans = [timedelta(0), timedelta(seconds=59), timedelta(minutes=61), timedelta(days=40), timedelta(seconds=-5)]
    assert [short_span(span) for span in spans] == ["now", "59s", "1h", "40d", "now"]


def test_moments_of_other_days_carry_their_day() -> None:
    assert len(clock_time(NOW, NOW)) == len("12:00:00")
    assert clock_time(NOW - timedelta(days=30), NOW).startswith("2026-10-2")


def test_percent_says_hundred_only_when_all_is_done() -> None:
    assert percent(Progress(9_999, 10_000)) == "99%"
    assert percent(Progress(10_000, 10_000)) == "100%"
    assert percent(Progress(5)) == ""


def test_forecast_below_a_second_does_not_flicker() -> None:
    progress = Progress(9, 10, 100.0, timedelta(milliseconds=17), NOW, (NOW, NOW + timedelta(seconds=3)))
    assert left(progress) == "<1s left"
    assert left(progress, with_range=True) == "<1s left (<1s to 3s)"
    assert left(Progress(10, 10, 5.0, timedelta(0))) == ""
    soon = replace(progress, eta_range=(NOW + timedelta(milliseconds=1), NOW + timedelta(milliseconds=900)))
    assert left(soon, with_range=True) == "<1s left"


def test_rates_keep_two_digits_where_they_are_small() -> None:
    assert [speed(Progress(1, None, rate)) for rate in (1250.4, 0.123)] == ["1,250/s", "0.12/s"]


def test_every_state_has_a_mark_of_its_own() -> None:
    assert set(MARKS) == set(State)
    assert len({mark for mark, _ in MARKS.values()}) == len(State)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobFailed(), 1),
        (UnknownKind(), 2),
        (JobNotFound(), 3),
        (KeyConflict(), 4),
        (InvalidTransition(), 4),
        (SchemaMismatch(), 5),
        (OutcomeUnknown(), 5),
        (JobCancelled(), 6),
        (TimeoutError(), 124),
        (ZeroDivisionError(), 70),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_of(error) == code


def test_failure_outweighs_cancellation_and_that_success() -> None:
    assert exit_of_states([State.COMPLETED, State.CANCELLED, State.FAILED]) is Exit.JOB_FAILED
    assert exit_of_states([State.COMPLETED, State.CANCELLED]) is Exit.CANCELLED
    assert exit_of_states([State.COMPLETED]) is Exit.OK
