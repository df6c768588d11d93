"""What is different from the span before: kinds that are new or gone, slower or quicker, and that fail more or less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from posthorse.views.figures import FigureRow, Spread
from posthorse.views.quantities import counted, seconds_as_text, share
from posthorse.views.report.content import ended

MAX_CHANGES = 12
FEWEST = 20
"""Of fewer jobs in either span, nothing is said but that a kind is new or gone: their figures are chance."""

NOTABLE = 1.5
"""What grew or fell by this factor is told."""

LEAST_FAILED = 5
LEAST_SECONDS = 0.1


class _Change(NamedTuple):
    weight: float
    sentence: str


def changes(now: Sequence[FigureRow], before: Sequence[FigureRow]) -> list[str]:
    """Return a sentence for each notable change of a kind, the most important first."""
    earlier = {row.key: row for row in before}
    later = {row.key: row for row in now}
    found: list[_Change] = []
    for key, row in later.items():
        found += _of_kind(row, earlier[key]) if key in earlier else _new(row)
    found += [
        _Change(1, f"{key} did not run; {counted(ended(row), 'job')} of it ended in the time before.")
        for key, row in earlier.items()
        if key not in later and ended(row)
    ]
    found.sort(key=lambda change: (-change.weight, change.sentence))
    return [change.sentence for change in found[:MAX_CHANGES]]


def _new(row: FigureRow) -> list[_Change]:
    told = f"{row.key} is new: {counted(ended(row), 'job')} ended"
    return [_Change(3, f"{told}, {counted(row.failed, 'job')} failed." if row.failed else f"{told}.")]


def _of_kind(row: FigureRow, before: FigureRow) -> Iterable[_Change]:
    if min(ended(row), ended(before)) < FEWEST:
        return []
    return [*_failures(row, before), *_times(row.key, "runs", row.ran, before.ran, 4), *_waits(row, before)]


def _failures(row: FigureRow, before: FigureRow) -> Iterator[_Change]:
    is_, was = row.failed / ended(row), before.failed / ended(before)
    told = f"{share(row.failed, ended(row))} of its jobs, before {share(before.failed, ended(before))}"
    if row.failed >= LEAST_FAILED and is_ > NOTABLE * was:
        yield _Change(6 + is_, f"{row.key} fails more: {told}.")
    elif before.failed >= LEAST_FAILED and was > NOTABLE * is_:
        yield _Change(2, f"{row.key} fails less: {told}.")


def _times(key: str, verb: str, now: Spread | None, before: Spread | None, weight: float) -> Iterator[_Change]:
    if now is None or before is None or abs(now.p99 - before.p99) < LEAST_SECONDS:
        return
    told = f"the slowest of 100 takes {seconds_as_text(now.p99)}, before {seconds_as_text(before.p99)}"
    if now.p99 > NOTABLE * before.p99:
        yield _Change(weight, f"{key} {verb} longer: {told}.")
    elif before.p99 > NOTABLE * now.p99:
        yield _Change(1.5, f"{key} {verb} shorter: {told}.")


def _waits(row: FigureRow, before: FigureRow) -> Iterator[_Change]:
    yield from _times(row.key, "waits", row.waited, before.waited, 3.5)
