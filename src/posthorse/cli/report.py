"""`posthorse report`: what happened in the last days, as a table, CSV, JSON, or one page."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import click

from posthorse.app.client import Posthorse
from posthorse.app.report import empty_report, report_of
from posthorse.cli.exits import Exit
from posthorse.cli.report_screen import print_report
from posthorse.cli.screen import clean, out, out_as_is, out_json, say
from posthorse.cli.target import is_empty, json_option, open_store, say_no_store, target_options
from posthorse.errors import InvalidOption
from posthorse.rules.durations import as_timedelta
from posthorse.rules.values.type_mismatch import short
from posthorse.rules.wall_time import checked_instant
from posthorse.views.quantities import minute
from posthorse.views.report.content import Report, ReportBy
from posthorse.views.report.page import report_page
from posthorse.views.report.tables import csv_rows

GROUPS = ("kind", "queue", "day", "hour", "tenant", "error")


@click.command()
@click.option(
    "--since", metavar="TIME", default="7d", help="From when: a span ago such as 7d, a date or a moment; else 7d."
)
@click.option("--until", metavar="TIME", help="Until when, written in the same way; else now.")
@click.option(
    "--by",
    metavar="GROUP",
    type=click.Choice(GROUPS),
    default="kind",
    help=f"A row for each of these: {', '.join(GROUPS)}; else kind.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV.")
@click.option("--html", metavar="FILE", help="Write a page with pictures that needs no other file.")
@target_options
@json_option
def report(
    since: str,
    until: str | None,
    by: str,
    as_csv: bool,
    html: str | None,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Say what happened in the last days, as a table, a file or a page.

    It tells what ran, how long, how often it failed, where time goes and what is new. Times are in UTC. Workers count
    in memory and write every ten seconds, so a crash may lose ten seconds of figures, never a job.

    \b
      posthorse report
      posthorse report --since 24h --by hour
      posthorse report --since 2026-11-01 --until 2026-12-01 --html november.html
      posthorse report --by error --csv > errors.csv
    """
    if as_csv + as_json + (html is not None) > 1:
        raise click.UsageError("--csv, --json and --html are three forms of one report; give one of them")
    now = datetime.now(UTC)
    begin, end = _moment("--since", since, now), now if until is None else _moment("--until", until, now)
    if begin >= end:
        raise InvalidOption(f"--since is {short(since)}, which is not before --until; a report needs some time between")
    app = open_store(target, url)
    has_store = not is_empty(app)
    group = cast("ReportBy", by)
    made = report_of(app, since=begin, until=end, by=group, now=now) if has_store else empty_report(begin, end, group)
    if as_json:
        out_json(made)
    elif as_csv:
        _print_csv(made)
    elif html is not None:
        text = report_page(made, store=_name(app), made_at=now)
        if html == "-":
            out_as_is(text.rstrip("\n"))
        else:
            _write(html, text)
            say(f"The report is in {clean(html)}.")
    elif made.has_figures:
        print_report(made)
    if not has_store:
        say_no_store(app)
    elif not made.has_figures:
        say(f"There are no figures from {minute(begin)} to {minute(end)} UTC. Workers count what happens to jobs.")
    elif not as_json and not as_csv and html is None:
        _say_how_complete(made)
        if by == "tenant" and {row.key for row in made.rows} == {""}:
            say("Tenants are not told apart; the setting tenant_figures lets workers count for each.")
    return Exit.OK


def _moment(name: str, text: str, now: datetime) -> datetime:
    """Read a date, a moment, or how long ago it was; what is to come is now. Raises InvalidOption."""
    try:
        is_date = text[:4].isdecimal() and text[4:5] == "-"
        at = _in_utc(datetime.fromisoformat(text)) if is_date else now - as_timedelta(text, name=name)
    except (OverflowError, ValueError) as error:  # InvalidOption is a ValueError
        raise InvalidOption(
            f"{name} is {short(text)}; write how long ago (7d, 12h), a date (2026-11-24) or a moment "
            "(2026-11-24T08:30Z, in UTC if it has no zone)"
        ) from error
    checked_instant(at, name=name)
    return min(at, now)


def _in_utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _name(app: Posthorse) -> str:
    """Return what the page calls the store: its file without folders, or its address without a password."""
    return Path(app.store.where).name if app.store.backend.capabilities.is_file else app.store.where


def _print_csv(made: Report) -> None:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for row in csv_rows(made):
        writer.writerow([clean(cell) for cell in row])
    for line in lines.getvalue().splitlines():
        out(line)


def _say_how_complete(made: Report) -> None:
    if made.complete_until < made.until:
        say(
            f"Figures after {made.complete_until:%H:%M:%S} UTC may be on their way; "
            "a crash may lose ten seconds of figures, never a job."
        )


def _write(name: str, text: str) -> None:
    """Write a file as a whole or not at all; write into what is not a file, such as a pipe. Raises InvalidOption."""
    path = Path(os.path.realpath(name))
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_text(text, encoding="utf-8")
        else:
            _replace(path, text)
    except OSError as error:
        raise InvalidOption(f"{short(name)} cannot be written: {error.strerror or error}; name another file") from error


def _replace(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}-", suffix=".tmp")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
