"""`posthorse why`: the exact reason for which a job does not run now, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast

import click

from posthorse.app.client import Posthorse
from posthorse.app.loading import find_target
from posthorse.app.verbs import drive
from posthorse.app.why import why_of
from posthorse.cli.exits import Exit
from posthorse.cli.job_lookup import find_id, short
from posthorse.cli.screen import clean, out, out_json, out_rich, say
from posthorse.cli.target import again, json_option, open_store, target_options
from posthorse.cli.wording import MARKS, clock_time, span
from posthorse.errors import PosthorseError
from posthorse.rules.why.answer import AT_WORK, Estimate, Reason, Why
from posthorse.views.why import WhyView

MAX_EXPLAINED = 3


@click.command()
@click.argument("job_id", metavar="ID")
@target_options
@json_option
def why(job_id: str, target: str | None, url: str | None, as_json: bool) -> int:
    """Say why a job does not run, what to do, and when it will start.

    The first reason has to go first; the others would hold the job as well. A start is told only if something
    that was measured or decided gives it. With --app, limits and settings in the application's code count, too.

    \b
      posthorse why 0123abcd
      posthorse why 0123abcd --json | jq -r '.reasons[0].code'
    """
    app = open_store(target, url)
    told = read_why(app, find_id(app, job_id), target)
    if as_json:
        out_json(WhyView.of(told))
    else:
        _print(told)
    return Exit.OK


def read_why(app: Posthorse, job_id: str, target: str | None) -> Why:
    """Return why a job does not run now; commands in it name application and store as the user did.

    Raises JobNotFound.
    """
    named = target
    if named is None and (found := find_target()) is not None and len(app.registry):
        named = found[0]
    told = drive(why_of(app, job_id, target=named))
    return replace(told, reasons=[_for_this_store(reason) for reason in told.reasons])


def _for_this_store(reason: Reason) -> Reason:
    return reason if reason.command is None else replace(reason, command=again(reason.command))


class Explainer:
    """Says on stderr why jobs do not run while a command waits for them: after a few seconds, and when it changes."""

    def __init__(self, app: Posthorse, target: str | None) -> None:
        self._app = app
        self._target = target
        self._looks_at = time.monotonic() + app.store.tuning.first_words
        self._told: dict[str, str] = {}

    @property
    def seconds_left(self) -> float:
        """The seconds until it is time to say it."""
        return max(0.0, self._looks_at - time.monotonic())

    def tell(self, jobs: Sequence[str]) -> None:
        """Say it of the first few jobs, if it is time."""
        if time.monotonic() < self._looks_at:
            return
        self._looks_at = time.monotonic() + self._app.store.tuning.words_interval
        for job in jobs[:MAX_EXPLAINED]:
            self.tell_of(job, is_last_word=False)

    def tell_of(self, job: str, *, is_last_word: bool) -> None:
        """Say it of one job unless it was said before; the last word is said also of a job that is at work."""
        try:
            told = read_why(self._app, job, self._target)
        except PosthorseError:
            return  # the command itself reports what is wrong
        leading = told.leading
        if self._told.get(job) == leading.code or (leading.code in AT_WORK and not is_last_word):
            return
        self._told[job] = leading.code
        say(f"{told.kind} {short(job)}: {leading.sentence}{_to_do(leading)}")


def _to_do(reason: Reason) -> str:
    if reason.advice is None:
        return ""
    advice = f" {reason.advice[:1].upper()}{reason.advice[1:]}"
    return f"{advice}: {reason.command}" if reason.command is not None else f"{advice}."


# ── the screen ───────────────────────────────────────────────────────────────────────────────────────


def _print(told: Why) -> None:
    from rich.padding import Padding
    from rich.text import Text

    mark, style = MARKS[told.state]
    head = Text(f"{mark} {told.state.value}", style=f"{style} bold")
    head.append(f"  {clean(told.kind)}", style="default bold")
    head.append(f"  {told.job}", style="default not bold")
    out_rich(head)
    out()
    leading, *others = told.reasons
    out_rich(Padding(Text(clean(leading.sentence), style="bold", overflow="fold"), (0, 0, 0, 2)))
    out()
    _print_facts(leading, told.start, told.at)
    if others:
        out()
        out("Also in the way:")
        for reason in others:
            out()
            out_rich(Padding(Text(clean(reason.sentence), overflow="fold"), (0, 0, 0, 2)))
            _print_facts(reason, None, told.at)


def _print_facts(reason: Reason, start: Estimate | None, now: datetime) -> None:
    from rich.padding import Padding
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bright_black", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in _facts(reason, start, now):
        table.add_row(name, fact)
    if table.row_count:
        out_rich(Padding(table, (0, 0, 0, 2)))


def _facts(reason: Reason, start: Estimate | None, now: datetime) -> Iterator[tuple[str, str]]:
    holders = reason.facts.get("holders")
    for number, holder in enumerate(cast("list[dict[str, object]]", holders or [])):
        yield "" if number else "held by", clean(_holder(holder, now))
    if reason.advice is not None:
        yield "to do", f"{clean(reason.advice)}{':' if reason.command is not None else ''}"
    if reason.command is not None:
        yield "" if reason.advice is not None else "to do", f"  {clean(reason.command)}"
    if start is not None:
        yield "starts", clean(_starts(start, now))


def _holder(holder: dict[str, object], now: datetime) -> str:
    where = f" in worker {holder['worker']}" if holder["worker"] is not None else ""
    started = holder["started_at"]
    since = f", first started {span(now - started)} ago" if isinstance(started, datetime) else ""
    return f"{holder['id']}  {holder['state']}{where}{since}"


def _starts(start: Estimate, now: datetime) -> str:
    if start.earliest is None:
        return f"unknown: {start.basis}"
    if start.latest is None:
        when = "at any moment" if start.earliest <= now else f"not before {_moment(start.earliest, now)}"
    else:
        when = f"{clock_time(start.earliest, now)} to {clock_time(start.latest, now)}, in {span(start.earliest - now)} "
        when += f"to {span(start.latest - now)}"
    return f"{when}; basis: {start.basis}"


def _moment(at: datetime, now: datetime) -> str:
    return f"{clock_time(at, now)}, in {span(at - now)}"
