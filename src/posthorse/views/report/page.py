"""The page of a report: one HTML text that stands alone, without scripts, fonts or anything that is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files

from posthorse.version import VERSION
from posthorse.views.figures import ErrorGroup, FigureRow
from posthorse.views.pictures.sparklines import sparkline, thin
from posthorse.views.pictures.svg import element, plain
from posthorse.views.quantities import count_in_words, minute, moment_near, seconds_as_text, share, span_in_words
from posthorse.views.report.content import Report, Totals, busy_seconds, ended, merged_rows
from posthorse.views.report.pictures import Picture, pictures
from posthorse.views.report.tables import FIGURES, cells, error_text, row_name

MAX_ROWS = 100
MAX_ERRORS = 50
SPARKS = 48
"""Points of a sparkline."""


def report_page(report: Report, *, store: str, made_at: datetime) -> str:
    """Return the page. `store` names what the figures are of."""
    title = f"Posthorse: {minute(report.since)} to {minute(report.until)}"
    body = element(
        "main",
        element("h1", plain(f"What happened in {store}")),
        element("p", plain(f"{minute(report.since)} to {minute(report.until)}, all times in UTC"), class_="when"),
        element("p", plain(report.sentences[0]), class_="lead"),
        element("p", plain(" ".join(report.sentences[1:])), class_="rest"),
        *(_figures(report) if report.has_figures else _empty()),
        _footer(report, made_at),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content_="width=device-width, initial-scale=1"),
        element("meta", name_="color-scheme", content_="light dark"),
        element("title", plain(title)),
        element("style", _css()),
    )
    return f"<!doctype html>\n{element('html', head, element('body', body), lang='en')}\n"


@cache
def _css() -> str:
    return files("posthorse.views.report").joinpath("page.css").read_text(encoding="utf-8")


def _empty() -> Iterator[str]:
    yield element(
        "p",
        "Workers count what happens to jobs. There are no figures of this time, so no worker ran, or it ran before "
        "figures were counted.",
        class_="note",
    )


def _figures(report: Report) -> Iterator[str]:
    yield _tiles(report)
    drawn = "".join(map(_figure, pictures(report)))
    if drawn:
        yield element("div", drawn, class_="pictures")
    if report.changes:
        yield element("h2", plain(f"Different from the {span_in_words(report.until - report.since)} before"))
        yield element("ul", *(element("li", plain(change)) for change in report.changes), class_="changes")
    if report.rows:
        yield element("h2", f"By {report.by}")
        yield _table(f"By {report.by}", report, report.by, report.rows)
    if report.slowest and (report.by != "kind" or len(report.rows) > 1):
        yield element("h2", "Slowest kinds")
        yield _slowest(report)
    yield element("h2", "Errors")
    yield _errors(report)
    if report.depths:
        yield element("h2", "Queues over time")
        yield _queues(report)
    if report.over_time and report.by != report.over_time_by:
        yield element(
            "details",
            element("summary", f"The figures behind the pictures, by {report.over_time_by}"),
            _table(
                "Over time", report, report.over_time_by, [row for row in report.over_time if row.started or ended(row)]
            ),
        )


# ── tiles ────────────────────────────────────────────────────────────────────────────────────────────


def _tiles(report: Report) -> str:
    totals = report.totals
    headings = {
        "ended": "Jobs ended",
        "failed": f"Jobs failed, {share(totals.failed, totals.ended)}",
        "retried": "Attempts retried",
        "lost": "Attempts lost",
        "busy": "Time that jobs ran",
    }
    return element("dl", *(_tile(report, name, heading) for name, heading in headings.items()), class_="tiles")


def _tile(report: Report, name: str, heading: str) -> str:
    values = [_value(row, name) for row in report.over_time]
    spark = ""
    if len(values) > 1:
        spark = sparkline(f"tile-{name}", heading, f"By {report.over_time_by}.", thin(values, SPARKS))
    before = "not known" if report.before is None else _shown(report.before, name)
    return element(
        "div",
        element("dt", plain(heading)),
        element("dd", plain(_shown(report.totals, name)), class_="value"),
        element("dd", spark),
        element("dd", plain(f"before: {before}"), class_="before"),
        class_="tile",
    )


def _shown(totals: Totals, name: str) -> str:
    return seconds_as_text(totals.busy) if name == "busy" else count_in_words(int(getattr(totals, name)))


def _value(row: FigureRow, name: str) -> float:
    match name:
        case "ended":
            return ended(row)
        case "busy":
            return busy_seconds(row)
        case _:
            return float(getattr(row, name))


def _figure(picture: Picture) -> str:
    caption = element("figcaption", plain(picture.heading), element("span", plain(picture.question)))
    legend = "".join(element("li", plain(sort), class_=sort) for sort in picture.legend)
    return element(
        "figure", caption, picture.svg, element("ul", legend, class_="legend") if len(picture.legend) > 1 else ""
    )


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────


def _table(name: str, report: Report, by: str, rows: Sequence[FigureRow]) -> str:
    is_time = by in ("day", "hour")
    headings = [
        _heading(by),
        *(_heading(figure.heading, is_number=True, explanation=figure.explanation) for figure in FIGURES),
    ]
    shown = rows if is_time else merged_rows(rows, MAX_ROWS)
    return _as_table(name, headings, [_row(row, report.totals) for row in shown])


def _row(row: FigureRow, totals: Totals) -> list[str]:
    *figures, time = cells(row, totals)
    return [
        element("th", plain(row_name(row)), scope="row"),
        *map(_number, figures),
        _number(time, _meter(busy_seconds(row), totals.busy)),
    ]


def _slowest(report: Report) -> str:
    headings = [
        _heading("kind"),
        *(_heading(name, is_number=True) for name in ("p50", "p90", "p99", "longest", "mean")),
    ]
    lines = [
        [
            element("th", plain(row.key), scope="row"),
            *(_number(seconds_as_text(time)) for time in (ran.p50, ran.p90, ran.p99, ran.longest, ran.mean)),
        ]
        for row in report.slowest
        if (ran := row.ran) is not None
    ]
    return _as_table("Slowest kinds", headings, lines)


def _errors(report: Report) -> str:
    if not report.errors:
        return element("p", "No attempt failed.", class_="note")
    headings = [
        _heading("count", is_number=True, explanation="in this time"),
        *map(_heading, ("over time", "error", "kind", "first seen", "last seen", "release")),
        _heading("cause", explanation="finds its dead letters: posthorse jobs --filter cause:…"),
    ]
    lines = [_error(report, number, error) for number, error in enumerate(report.errors[:MAX_ERRORS])]
    left_out = len(report.errors) - len(lines)
    more = element("p", f"{left_out:,} more are not shown.", class_="note") if left_out else ""
    return _as_table("Errors", headings, lines) + more


def _error(report: Report, number: int, error: ErrorGroup) -> list[str]:
    counts = report.errors_over_time(error)
    spark = ""
    if len(counts) > 1:
        about = f"By {report.over_time_by}; {error.count:,} in all, since it was first seen."
        spark = sparkline(f"error-{number}", error_text(error), about, thin(counts, SPARKS))
    new = element("span", "new", class_="new") + " " if report.is_new(error) else ""
    return [
        _number(f"{error.within:,}"),
        element("td", spark),
        element("td", new, plain(error_text(error)), class_="text"),
        element("td", plain(error.kind)),
        element("td", moment_near(error.first_at, report.until), class_="when"),
        element("td", moment_near(error.last_at, report.until), class_="when"),
        element("td", plain(error.release or "")),
        element("td", element("code", plain(error.fingerprint))),
    ]


def _queues(report: Report) -> str:
    headings = [
        *map(_heading, ("queue", "waiting, over time")),
        *(_heading(name, is_number=True) for name in ("most waiting", "most set aside", "longest wait")),
    ]
    lines: list[list[str]] = []
    for number, queue in enumerate(sorted({point.queue for point in report.depths})[:MAX_ROWS]):
        points = [point for point in report.depths if point.queue == queue]
        waiting = [float(point.waiting) for point in points]
        oldest = max((point.oldest for point in points if point.oldest is not None), default=None)
        spark = sparkline(f"queue-{number}", queue, "Jobs that waited.", thin(waiting, SPARKS))
        lines.append(
            [
                element("th", plain(queue), scope="row"),
                element("td", spark),
                _number(f"{max(waiting):,.0f}"),
                _number(f"{max(point.set_aside for point in points):,}"),
                _number(seconds_as_text(oldest)),
            ]
        )
    return _as_table("Queues over time", headings, lines)


def _as_table(name: str, headings: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    head = element("thead", element("tr", *headings))
    body = element("tbody", *(element("tr", *line) for line in lines))
    return element("div", element("table", head, body), class_="scroll", tabindex="0", role="region", aria_label=name)


def _heading(text: str, *, is_number: bool = False, explanation: str | None = None) -> str:
    return element("th", plain(text), scope="col", class_="number" if is_number else None, title=explanation)


def _number(text: str, *behind: str) -> str:
    return element("td", plain(text), *behind, class_="number quiet" if text in ("0", "–") else "number")


def _meter(part: float, whole: float) -> str:
    wide = 0.0 if not whole else min(40.0, 40 * part / whole)
    return element(
        "svg",
        element("rect", width=40, height=8, rx=2, class_="ground"),
        element("rect", width=wide, height=8, rx=2, class_="part"),
        viewBox="0 0 40 8",
        class_="meter",
        aria_hidden="true",
    )


def _footer(report: Report, made_at: datetime) -> str:
    complete = (
        f"Figures are complete up to {minute(report.complete_until)}; later ones may be on their way. "
        if report.complete_until < report.until
        else ""
    )
    return element(
        "footer",
        element(
            "p",
            plain(
                f"{complete}Workers count in memory and write every ten seconds: a crash may lose ten seconds of "
                "figures, never a job. Percentiles are within 10 percent. "
                f"Made by Posthorse {VERSION} on {minute(made_at)} UTC."
            ),
            class_="note",
        ),
    )
