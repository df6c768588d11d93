"""`posthorse logs`: what a job logged, also while it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import click
import msgspec

from posthorse.app.client import Posthorse
from posthorse.app.job_logs import MAX_LINES, last_logs_of
from posthorse.app.verbs import drive
from posthorse.cli.exits import Exit
from posthorse.cli.job_lookup import find_id
from posthorse.cli.screen import clean, console, has_color, is_terminal, out, out_as_is, out_json, say, width
from posthorse.cli.target import be_patient, json_lines_of, open_store, target_options
from posthorse.cli.wording import clock_time
from posthorse.rules.job_logs import LogLine
from posthorse.views.job_logs import LogLineView

PAGE = 5_000
"""Lines that are read at once."""

COLORS = {"DEBUG": "bright_black", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}

LEVEL_WIDTH = 7


@click.command()
@click.argument("job_id", metavar="ID")
@click.option(
    "-f", "--follow", is_flag=True, help="Print all lines, then new ones as they come, until the job is over."
)
@click.option("--attempt", metavar="N", type=click.IntRange(1), help="Only this attempt.")
@click.option("-n", "--lines", metavar="N", type=click.IntRange(1, MAX_LINES), help="Only the last N lines; else all.")
@target_options
@json_lines_of("line")
def logs(
    job_id: str,
    follow: bool,
    attempt: int | None,
    lines: int | None,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Show what a job logged.

    All that its code, and the libraries that it calls, passed to `logging`, run after run. Lines arrive after about a
    second while the job runs. Of a run that logged very many, the first and the last lines are kept.

    \b
      posthorse logs 0123abcd
      posthorse logs 0123abcd --follow
      posthorse logs 0123abcd --json | jq -r 'select(.level == "ERROR").message'
    """
    app = open_store(target, url)
    job = find_id(app, job_id)
    found = iter(_chosen(app, job, attempt, lines, follow=follow))
    if follow:
        be_patient(app)
    printed = _print_json(found) if as_json else LinePrinter().print(found)
    if not printed:
        say("It logged nothing that is kept." if attempt is None else f"No lines of attempt {attempt} are kept.")
    return Exit.OK


def _chosen(app: Posthorse, job: str, attempt: int | None, last: int | None, *, follow: bool) -> Iterator[LogLine]:
    """Yield the lines that were asked for."""
    after: LogLine | None = None
    if last is not None:
        found = drive(last_logs_of(app, job, attempt=attempt, limit=last))
        yield from found
        after = found[-1] if found else None
    if follow:
        try:
            yield from app.get_job(job).logs(attempt=attempt, after=after, follow=True)
        except KeyboardInterrupt:
            say("The job goes on.")
        return
    while last is None:
        page = app.get_job(job).logs(attempt=attempt, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1]


def _print_json(found: Iterable[LogLine]) -> int:
    printed = 0
    for line in found:
        out_json(LogLineView.of(line))
        printed += 1
    return printed


class LinePrinter:
    """Prints lines for people: long ones are set in, and each run of the job's code has a heading."""

    def __init__(self, *, indent: int = 0, has_headings: bool = True) -> None:
        self._indent = " " * indent
        self._has_headings = has_headings
        self._run: int | None = None
        self._color = has_color(sys.stdout)
        self._width = width() if is_terminal() else None

    def print(self, found: Iterable[LogLine]) -> int:
        """Print lines; return how many."""
        printed = 0
        for line in found:
            printed += 1
            if self._run != line.run and self._has_headings:
                again = "" if line.attempt == line.run else f", run {line.run}"
                out(f"{self._indent}Attempt {line.attempt}{again}")
            self._run = line.run
            self._print(line)
        return printed

    def _print(self, line: LogLine) -> None:
        if line.left_out:
            out(f"{self._indent}… {line.left_out:,} lines left out …")
        now = datetime.now(UTC)
        head = f"{clock_time(line.at, now)}.{line.at.microsecond // 1000:03} "
        level = clean(line.level)[:LEVEL_WIDTH].ljust(LEVEL_WIDTH)
        first, *others = self._folded(_words(line), len(self._indent) + len(head) + LEVEL_WIDTH + 1)
        shown = click.style(level, fg=COLORS.get(line.level)) if self._color else level
        dimmed = click.style(head, fg="bright_black") if self._color else head
        out_as_is(f"{self._indent}{dimmed}{shown} {first}".rstrip())
        space = self._indent + " " * (len(head) + LEVEL_WIDTH + 1)
        for other in others:
            out_as_is(f"{space}{other}")
        for told in clean(line.error or "", keep_lines=True).rstrip().split("\n"):
            if told:
                out_as_is(f"{self._indent}    {told}")

    def _folded(self, text: str, before: int) -> list[str]:
        """Return the parts of a text that fit beside what is before it."""
        room = None if self._width is None else self._width - before
        if room is None or room < 20 or (len(text) <= room and text.isascii()):
            return [text]
        from rich.text import Text

        return [part.plain.rstrip() for part in Text(text).wrap(console(), room)] or [""]


def _words(line: LogLine) -> str:
    """Return logger, message and fields as one line."""
    fields = "".join(f"  {name}={_value(value)}" for name, value in line.fields.items())
    return clean(f"{line.logger}: {line.message}{fields}")


def _value(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and " " not in value:
        return value
    return msgspec.json.encode(value).decode()
