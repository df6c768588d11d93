"""The few sentences at the top of a report: what a reader must know who reads nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from posthorse.views.figures import FigureRow
from posthorse.views.quantities import (
    count_in_words,
    counted,
    minute,
    moment_near,
    seconds_as_text,
    share,
    short_count,
    span_in_words,
)
from posthorse.views.report.content import MAX_DEPTH, Report, Totals, busy_seconds

NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")


def sentences(report: Report, kinds: Sequence[FigureRow]) -> list[str]:
    """Return what happened in words; `kinds` are the rows by kind."""
    if report.totals.is_empty:
        return [f"{_when(report)} no job ended.", *_errors(report), *_depth(report)]
    return [*_ends(report), *_slow(report, kinds), *_errors(report), *_lost(report), *_depth(report)]


def is_recent(report: Report) -> bool:
    """Return whether a report reaches to the present, whose figures are never complete."""
    return report.complete_until < report.until


def _when(report: Report) -> str:
    if is_recent(report):
        return f"In the last {span_in_words(report.until - report.since)}"
    return f"From {minute(report.since)} to {minute(report.until)}"


def _ends(report: Report) -> Iterator[str]:
    totals, before = report.totals, report.before
    yield f"{_when(report)} {counted(totals.ended, 'job')} ended, {_failed(totals)}."
    if before is not None and before.ended:
        yield f"{_compared(totals.ended, before.ended)} in the {_span(report)} before, when {_failed(before)}."


def _failed(totals: Totals) -> str:
    return f"{share(totals.failed, totals.ended)} failed" if totals.failed else "none failed"


def _compared(now: int, before: int) -> str:
    factor = now / before
    if 0.95 < factor < 1.05:
        return "That is about as many as"
    if factor >= 2:
        return f"That is {short_count(factor)} times as many as"
    if factor > 1:
        return f"That is {share(now - before, before)} more than"
    return f"That is {share(before - now, before)} fewer than"


def _span(report: Report) -> str:
    return span_in_words(report.until - report.since)


def _slow(report: Report, kinds: Sequence[FigureRow]) -> Iterator[str]:
    if len(kinds) < 2:
        return
    if report.slowest and (ran := report.slowest[0].ran) is not None:
        told = f"one attempt in a hundred runs longer than {seconds_as_text(ran.p99)}"
        yield f"The slowest kind is {report.slowest[0].key}: {told}."
    dearest = max(kinds, key=busy_seconds)
    if busy_seconds(dearest):
        part = share(busy_seconds(dearest), report.totals.busy)
        yield f"Most time goes into {dearest.key}: {part} of all that jobs ran."


def _errors(report: Report) -> Iterator[str]:
    new = [error for error in report.errors if report.is_new(error)]
    if not report.errors:
        return
    if not new:
        yield "No error is new."
        return
    first = max(new, key=lambda error: error.within)
    what = f"{first.type} in {first.kind}, {counted(first.within, 'time')}"
    if len(new) == 1:
        yield f"One error is new: {what}."
    else:
        yield f"{_number(len(new))} errors are new, most of all {what}."


def _lost(report: Report) -> Iterator[str]:
    lost = report.totals.lost
    if lost == 1:
        yield "One attempt was lost with its worker."
    elif lost:
        yield f"{_number(lost)} attempts were lost with their workers."


def _depth(report: Report) -> Iterator[str]:
    deepest = max(report.waiting, key=lambda each: each.most, default=None)
    if deepest is None or not deepest.most:
        return
    is_cut = any(point.at == deepest.at and point.waiting >= MAX_DEPTH for point in report.depths)
    jobs = f"{'at least ' if is_cut else ''}{counted(deepest.most, 'job')}"
    yield f"The longest line was on {moment_near(deepest.at, report.until)}, when {jobs} waited."


def _number(count: int) -> str:
    """Return a number that begins a sentence."""
    return NUMBERS[count] if count < len(NUMBERS) else count_in_words(count)
