"""Reports: what they say in words, what they compare, and the page, which stands alone."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args
from xml.etree import ElementTree

import msgspec
import pytest

from posthorse.views.figures import DepthPoint, FigureRow
from posthorse.views.quantities import (
    count_in_words,
    moment_near,
    seconds_as_text,
    share,
    short_count,
    span_in_words,
)
from posthorse.views.report.content import (
    MAX_STEPS,
    Report,
    ReportBy,
    TimeStep,
    Totals,
    WaitingJobs,
    deepest,
    ended,
    merged_rows,
    step_of,
    waiting_over_time,
    week_of,
    with_empty_ones,
)
from posthorse.views.report.page import report_page
from posthorse.views.report.pictures import pictures
from posthorse.views.report.sentences import sentences
from posthorse.views.report.tables import csv_rows
from tests.views.sample_report import BROKEN, EVIL, HOUR, UNTIL, WEEK, empty, kinds, report, row

BYS: tuple[ReportBy, ...] = get_args(ReportBy)


# ── in words ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_sentences_say_what_matters() -> None:
    assert report().sentences == [
        "In the last 7 days 1.2 million jobs ended, 0.25 % failed.",
        "That is 25 % more than in the 7 days before, when 0.06 % failed.",
        "The slowest kind is weekly_report: one attempt in a hundred runs longer than 41m36s.",
        "Most time goes into resize: 81 % of all that jobs ran.",
        "One error is new: SMTPServerDisconnected in send_invoice, 4,210 times.",
        "Two attempts were lost with their workers.",
        "The longest line was on 25 Nov 12:57, when 6,399 jobs waited.",
    ]


def test_one_kind_without_anything_before_is_told_in_fewer_words() -> None:
    told = report(timedelta(hours=1), rows=[row("welcome", 1)], before=[]).sentences
    assert told[:2] == ["In the last hour 1 job ended, none failed.", "No error is new."]
    assert not any("slowest" in sentence or "before" in sentence for sentence in told)


def test_a_span_that_is_over_is_named_by_its_moments() -> None:
    past = empty()
    past = msgspec.structs.replace(past, complete_until=past.until)
    assert sentences(past, []) == ["From 24 Nov 2026 13:37 to 1 Dec 2026 13:37 no job ended."]


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (1000, "That is about as many as in"),
        (700, "That is 43 % more than in"),
        (200, "That is 5 times as many as in"),
        (4000, "That is 75 % fewer than in"),
    ],
)
def test_the_number_of_jobs_is_compared(before: int, told: str) -> None:
    assert report(rows=[row("a", 1000)], before=[row("a", before)]).sentences[1].startswith(told)


def test_changes_are_told_by_their_weight() -> None:
    assert report().changes == [
        "send_invoice fails more: 0.66 % of its jobs, before 0.1 %.",
        "resize runs longer: the slowest of 100 takes 9.6s, before 4s.",
        "welcome is new: 151,004 jobs ended.",
        "old_sync did not run; 90 jobs of it ended in the time before.",
    ]


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [
        (row("a", 19, failed=19), row("a", 1000), []),  # too few to say anything
        (row("a", 1000, failed=4), row("a", 1000), []),
        (row("a", 1000, failed=14), row("a", 1000, failed=10), []),
        (row("a", 1000, failed=5), row("a", 1000), ["a fails more: 0.5 % of its jobs, before 0 %."]),
        (row("a", 1000), row("a", 1000, failed=9), ["a fails less: 0 % of its jobs, before 0.9 %."]),
        (row("a", 100, ran=0.002), row("a", 100, ran=0.001), []),  # twice as long, but nothing that anybody feels
        (row("a", 100, ran=1), row("a", 100, ran=3), ["a runs shorter: the slowest of 100 takes 8s, before 24s."]),
        (row("a", 100, waited=9), row("a", 100), ["a waits longer: the slowest of 100 takes 1m12s, before 800ms."]),
    ],
)
def test_only_notable_changes_are_told(now: FigureRow, before: FigureRow, told: list[str]) -> None:
    assert report(rows=[now], before=[before]).changes == told


def test_without_figures_of_the_span_before_nothing_is_compared() -> None:
    made = report(before=[])
    assert (made.before, made.changes) == (None, [])
    assert "before: not known" in report_page(made, store="shop.db", made_at=UNTIL)


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────


def test_totals_are_the_sums() -> None:
    totals = report().totals
    assert (totals.ended, totals.failed, totals.lost) == (1_175_972, 2_924, 2)
    assert totals.ended == totals.completed + totals.failed + totals.cancelled
    assert Totals.of([]).is_empty


def test_names_come_by_size_and_times_in_order() -> None:
    names = report().rows
    assert [each.key for each in names][:2] == ["resize", "send_invoice"]
    assert all(ended(one) >= ended(other) for one, other in pairwise(names))
    hours = [each.began_at for each in report(by="hour").rows if each.began_at]
    assert hours == sorted(hours)


def test_many_rows_are_folded_into_one_that_keeps_the_sums() -> None:
    rows = [row(f"kind{number}", number, failed=number // 10) for number in range(100)]
    shown = merged_rows(rows, 20)
    assert len(shown) == 20
    assert shown[-1].key == "and 81 others"
    assert Totals.of(shown).ended == Totals.of(rows).ended
    assert merged_rows(rows[:20], 20) == rows[:20]


def test_hours_without_jobs_are_filled_in_after_the_first() -> None:
    since = datetime(2026, 11, 24, tzinfo=UTC)
    rows = [row("x", 3, began_at=since + 2 * HOUR), row("x", 3, began_at=since + 5 * HOUR)]
    filled = with_empty_ones(rows, since, since + 8 * HOUR, HOUR)
    assert [ended(each) for each in filled] == [3, 0, 0, 3, 0, 0]
    assert with_empty_ones([], since, since + 8 * HOUR, HOUR) == []


@pytest.mark.parametrize(
    ("span", "ago", "step"),
    [
        (HOUR, timedelta(0), "minute"),
        (3 * HOUR, timedelta(days=1), "minute"),
        (HOUR, timedelta(days=3), "hour"),
        (timedelta(days=1), timedelta(0), "hour"),
        (WEEK, timedelta(days=80), "hour"),
        (WEEK, timedelta(days=88), "day"),
        (timedelta(days=30), timedelta(0), "day"),
    ],
)
def test_time_is_drawn_as_finely_as_figures_are_kept(span: timedelta, ago: timedelta, step: TimeStep) -> None:
    until = UNTIL - ago
    assert step_of(until - span, until, UNTIL) == step


def test_an_average_week_takes_whole_hours() -> None:
    since = datetime(2026, 11, 2, 13, 30, tzinfo=UTC)  # a Monday
    until = since + timedelta(days=14)
    hours = [
        row("x", jobs, began_at=since.replace(minute=0) + timedelta(days=day))
        for day, jobs in ((0, 5), (1, 10), (7, 20), (8, 30), (14, 7))
    ]
    assert [(each.weekday, each.hour, each.ended) for each in week_of(hours, since, until)] == [
        (0, 13, 20.0),
        (1, 13, 20.0),
    ]
    assert [each.ended for each in week_of([hours[0], hours[-1]], since, until)] == [7.0]


def test_many_samples_of_depths_become_few_points() -> None:
    since = datetime(2026, 11, 24, tzinfo=UTC)

    def sample(seconds: int, queue: str, waiting: int) -> DepthPoint:
        at = since + timedelta(seconds=seconds)
        return DepthPoint(at=at, queue=queue, waiting=waiting, running=0, set_aside=0, oldest=None)

    samples = [sample(0, "a", 1), sample(0, "b", 2), sample(15, "a", 7), sample(30, "b", 5), sample(90, "a", 4)]
    step = timedelta(minutes=1)
    assert waiting_over_time(samples, since, step) == [
        WaitingJobs(at=since + timedelta(seconds=15), least=3, mean=5.0, most=7),
        WaitingJobs(at=since + timedelta(seconds=90), least=4, mean=4.0, most=4),
    ]
    assert deepest(samples, since, step) == [samples[2], samples[3], samples[4]]
    made = report()
    assert len(made.waiting) <= MAX_STEPS + 1
    assert len(made.depths) <= 2 * (MAX_STEPS + 1)


def test_a_report_has_one_form_in_json() -> None:
    for by in BYS:
        made = report(by=by)
        assert msgspec.json.decode(made.to_json(), type=Report) == made


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────


def parsed(text: str) -> ElementTree.Element:
    """Parse a page as XML, which it is but for its first line."""
    first, _, rest = text.partition("\n")
    assert first == "<!doctype html>"
    return ElementTree.fromstring(rest)


def words_of(root: ElementTree.Element) -> str:
    return " ".join(" ".join(root.itertext()).split())


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("span", [timedelta(minutes=1), timedelta(days=1), WEEK, timedelta(days=60)])
@pytest.mark.parametrize("evil", ["", EVIL])
def test_pages_are_well_formed_and_stand_alone(by: ReportBy, span: timedelta, evil: str) -> None:
    text = report_page(report(span, by, evil=evil), store=f"shop.db{evil}", made_at=UNTIL)
    root = parsed(text)
    assert not {"script", "link", "img", "iframe", "object"} & {found.tag for found in root.iter()}
    assert not {"src", "href", "style", "onload"} & {name for found in root.iter() for name in found.attrib}
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"@import|url\(", text)
    ids = [found.get("id") for found in root.iter() if found.get("id")]
    assert len(ids) == len(set(ids))
    assert not re.search("[\x00\x1b\u202e]", text)


def test_the_page_says_what_the_report_says() -> None:
    made = report()
    told = words_of(parsed(report_page(made, store="shop.db", made_at=UNTIL)))
    for sentence in (*made.sentences, *made.changes):
        assert sentence in told
    for text in ("What happened in shop.db", "all times in UTC", "may lose ten seconds of figures", "610,220"):
        assert text in told
    assert "new SMTPServerDisconnected: The connection was closed" in told
    assert "27 Nov 13:40" in told
    assert "27 Oct 2025" in told, "a moment of another year has its year"


def test_the_page_has_a_picture_for_each_question() -> None:
    assert [each.heading for each in pictures(report())] == [
        "Jobs that ended, by hour",
        "Trouble, by hour",
        "Jobs that waited",
        "How long jobs waited",
        "How long attempts ran",
        "The week, by hour",
    ]
    drawn = {each.heading: each.svg for each in pictures(report())}
    assert "8f21c07, 27 Nov 2026 13:40" in drawn["Trouble, by hour"], "releases are marked"
    assert "from 27 Nov 2026 13:00" in drawn["Trouble, by hour"], "the description names the worst hour"
    assert pictures(report(timedelta(days=60)))[0].heading == "Jobs that ended, by day"


def test_the_page_of_an_empty_report_says_so() -> None:
    told = words_of(parsed(report_page(empty(), store="shop.db", made_at=UNTIL)))
    assert "In the last 7 days no job ended." in told
    assert "There are no figures of this time" in told


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────


def test_csv_has_a_row_for_each_of_the_group() -> None:
    heading, *rows = csv_rows(report())
    assert heading[:4] == ("kind", "started", "completed", "failed")
    assert heading[-5:] == ("ran_p50", "ran_p90", "ran_p99", "ran_mean", "ran_longest")
    assert all(len(each) == len(heading) for each in rows)
    assert rows[0][:4] == ("resize", "610944", "609739", "181")
    assert len(rows) == len(kinds())


def test_csv_by_time_and_by_error() -> None:
    heading, first, *_ = csv_rows(report(by="hour"))
    assert (heading[0], first[0]) == ("began_at", "2026-11-24T13:00:00Z")
    heading, first, second = csv_rows(report(by="error"))
    rest = ("count", "within", "first_at", "last_at", "release", "is_new")
    assert heading == ("fingerprint", "kind", "type", "message", *rest)
    assert (first[4:7], first[9], second[4:6], second[9]) == (
        ("4210", "4210", "2026-11-27T13:40:00Z"),
        "true",
        ("183", "31"),
        "false",
    )
    assert BROKEN[0].isoformat().startswith("2026-11-27T13:40")


def test_csv_is_not_a_formula() -> None:
    rows = list(csv_rows(report(by="tenant", evil="")))
    assert rows[1][0] == "", "jobs without a tenant"
    formula = report(rows=[row("=cmd()", 5), row("@x", 4), row("-1", 3), row("plain=", 2)])
    assert [each[0] for each in csv_rows(formula)][1:] == ["'=cmd()", "'@x", "'-1", "plain="]
    written = io.StringIO()
    csv.writer(written).writerows(csv_rows(formula))
    assert next(iter(list(csv.DictReader(io.StringIO(written.getvalue())))))["kind"] == "'=cmd()"


# ── quantities ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0s"),
        (0.0004, "<1ms"),
        (0.25, "250ms"),
        (0.9996, "1s"),
        (1.44, "1.4s"),
        (9.96, "10s"),
        (3_700, "1h1m"),
    ],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert seconds_as_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "short", "words"),
    [
        (0, "0", "0"),
        (950, "950", "950"),
        (1_200, "1.2k", "1,200"),
        (999_999, "1000k", "999,999"),
        (1_230_000, "1.2M", "1.2 million"),
        (12_300_000_000, "12G", "12 billion"),
        (10**18, "1.0e+18", "1000000 trillion"),
    ],
)
def test_counts_are_short(count: int, short: str, words: str) -> None:
    assert (short_count(count), count_in_words(count)) == (short, words)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "–"),
        (0, 7, "0 %"),
        (7, 7, "100 %"),
        (1, 10**9, "<0.01 %"),
        (10**9 - 1, 10**9, ">99.9 %"),
        (1, 300, "0.33 %"),
        (1, 15, "6.7 %"),
        (1, 3, "33 %"),
    ],
)
def test_shares_are_nothing_or_everything_only_if_they_are(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(days=1), "day"),
        (timedelta(days=7), "7 days"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(seconds=61), "1m1s"),
    ],
)
def test_spans_read_well_after_the_last(span: timedelta, text: str) -> None:
    assert span_in_words(span) == text


def test_moments_have_a_year_if_it_could_be_another() -> None:
    january = datetime(2027, 1, 2, tzinfo=UTC)
    assert moment_near(datetime(2026, 12, 24, 8, tzinfo=UTC), january) == "24 Dec 08:00"
    assert moment_near(datetime(2026, 3, 24, 8, tzinfo=UTC), january) == "24 Mar 2026 08:00"
