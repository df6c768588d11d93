"""A report on the terminal: sentences, lines of blocks, and tables that fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from posthorse.cli.screen import clean, out, out_rich, width
from posthorse.cli.tables import Column, out_table
from posthorse.views.figures import FigureRow
from posthorse.views.pictures.sparklines import spark_text
from posthorse.views.quantities import (
    NOTHING,
    count_in_words,
    counted,
    minute,
    moment_near,
    seconds_as_text,
    span_in_words,
)
from posthorse.views.report.content import Report, Totals, ended, merged_rows
from posthorse.views.report.tables import FIGURES, cells, error_text, row_name

if TYPE_CHECKING:
    from rich.text import Text

MAX_ROWS = 20
MAX_ERRORS = 10
SPARKS = 12
"""Blocks of the line of an error."""

WIDEST_LINE = 72
"""Blocks of a line, and the width of text, however wide the terminal is."""


def print_report(report: Report) -> None:
    """Print everything but the pictures."""
    _print_head(report)
    _print_lines(report)
    if report.rows:
        out()
        _print_rows(report)
    _print_slowest(report)
    _print_errors(report)
    _print_changes(report)


def _print_head(report: Report) -> None:
    from rich.text import Text

    out_rich(Text(f"{minute(report.since)} to {minute(report.until)} UTC", style="bright_black"))
    out()
    for number, sentence in enumerate(report.sentences):
        _print_text(sentence, "bold" if number == 0 else "")


def _print_text(text: str, style: str = "", *, first: str = "", indent: int = 0) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid()
    if first:
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold", max_width=min(width() - indent - len(first), 100))
    line = Text(clean(text), style=style)
    grid.add_row(*((first,) if first else ()), line)
    out_rich(Padding(grid, (0, 0, 0, indent)))


def _print_lines(report: Report) -> None:
    from rich.text import Text

    rows = report.over_time
    series = [
        ("ended", [float(ended(row)) for row in rows], report.totals.ended, "cyan"),
        ("failed", [float(row.failed) for row in rows], report.totals.failed, "red"),
        ("retried", [float(row.retried) for row in rows], report.totals.retried, "yellow"),
    ]
    room = min(WIDEST_LINE, width() - 10 - 24)
    if len(rows) < 2 or room < 8:
        return
    out()
    for name, values, total, style in series:
        if total:
            most = f"  most {count_in_words(int(max(values)))}/{report.over_time_by}"
            out_rich(Text.assemble((f"{name:<9} ", "bright_black"), (spark_text(values, room), style), most))
    waiting = [float(each.most) for each in report.waiting]
    if len(waiting) > 1 and any(waiting):
        most = f"  most {count_in_words(int(max(waiting)))}"
        out_rich(Text.assemble(("waiting   ", "bright_black"), (spark_text(waiting, room), "magenta"), most))


def _print_rows(report: Report) -> None:
    rows = report.rows if report.by in ("day", "hour") else merged_rows(report.rows, MAX_ROWS)
    is_time = report.by in ("day", "hour")
    columns = [
        Column(report.by.upper(), least=None if is_time else 10),
        *(Column(figure.heading.upper(), rank=figure.rank, is_number=True) for figure in FIGURES),
    ]

    out_table(columns, [[row_name(row), *_colored(row, report.totals)] for row in rows])


def _colored(row: FigureRow, totals: Totals) -> Iterator[Text]:
    from rich.text import Text

    for figure, text in zip(FIGURES, cells(row, totals), strict=True):
        is_bad = figure.heading in ("failed", "lost") and text != "0"
        yield Text(text, style="red" if is_bad else "bright_black" if text in ("0", "0 %", NOTHING) else "")


def _print_slowest(report: Report) -> None:
    if len(report.slowest) < 2:
        return
    _heading("Slowest kinds")
    columns = [
        Column("KIND", least=10),
        *(Column(f"RUN {name}", rank=rank, is_number=True) for name, rank in (("P50", 2), ("P90", 3), ("P99", 0))),
        Column("LONGEST", rank=1, is_number=True),
    ]
    out_table(
        columns,
        [
            [row.key, *map(seconds_as_text, (ran.p50, ran.p90, ran.p99, ran.longest))]
            for row in report.slowest[:5]
            if (ran := row.ran) is not None
        ],
    )


def _print_errors(report: Report) -> None:
    if not report.errors:
        return
    from rich.text import Text

    most = len(report.errors) if report.by == "error" else MAX_ERRORS
    has_line = len(report.over_time) > 1
    _heading("Errors")
    out_table(
        [
            Column("COUNT", is_number=True),
            *((Column("OVER TIME", rank=4),) if has_line else ()),
            Column(""),
            Column("ERROR", least=24),
            Column("KIND", least=8, rank=1),
            Column("FIRST SEEN", rank=3),
            Column("LAST SEEN", rank=5),
            Column("RELEASE", least=6, rank=6),
            *((Column("CAUSE", rank=2),) if report.by == "error" else ()),
        ],
        [
            [
                f"{error.within:,}",
                *((Text(spark_text(report.errors_over_time(error), SPARKS), style="red"),) if has_line else ()),
                _new(report.is_new(error)),
                error_text(error),
                error.kind,
                moment_near(error.first_at, report.until),
                moment_near(error.last_at, report.until),
                error.release or "–",
                *((error.fingerprint,) if report.by == "error" else ()),
            ]
            for error in report.errors[:most]
        ],
    )
    if len(report.errors) > most:
        out(f"and {counted(len(report.errors) - most, 'other')}: --by error")


def _new(is_new: bool) -> Text:
    from rich.text import Text

    return Text("new" if is_new else "", style="red")


def _print_changes(report: Report) -> None:
    if not report.changes:
        return
    _heading(f"Different from the {span_in_words(report.until - report.since)} before")
    for change in report.changes:
        _print_text(change, first="- ")


def _heading(text: str) -> None:
    from rich.text import Text

    out()
    out_rich(Text(text, style="bold"))
