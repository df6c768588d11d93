"""`posthorse events`: print what happened to jobs, and follow what happens."""

from __future__ import annotations

from collections.abc import Sequence

import click

from posthorse.app.client import Posthorse
from posthorse.cli.exits import Exit
from posthorse.cli.job_lookup import short
from posthorse.cli.options import check_names
from posthorse.cli.screen import clean, is_terminal, out, out_json, out_rich, say, width
from posthorse.cli.target import (
    be_patient,
    is_empty,
    json_lines_of,
    open_store,
    raise_if_empty,
    say_no_store,
    target_options,
)
from posthorse.cli.wording import clock_time
from posthorse.rules.job_events import JobEvent, Missed, StreamEvent
from posthorse.rules.store_events import QueueChanged, SchedulePaused, ScheduleResumed, StoreEvent, WorkerLost
from posthorse.views.quantities import counted

STYLES = {
    "completed": "green",
    "failed": "red",
    "attempt_failed": "yellow",
    "lost": "yellow",
    "crashed": "red",
    "started": "cyan",
    "cancelled": "bright_black",
    "discarded": "bright_black",
    "expired": "bright_black",
    "paused": "yellow",
    "worker_lost": "red",
}
NAME_COLUMNS = 16
"""The longest name."""


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on for ever, with what happens from now on.")
@click.option("--after", metavar="CURSOR", help="Only what came after the event with this cursor.")
@click.option("-n", "--name", "names", metavar="NAME", multiple=True, help="Only events of this name; may be repeated.")
@click.option("-k", "--kind", metavar="NAME", help="Only jobs of this kind.")
@click.option("-q", "--queue", metavar="NAME", help="Only jobs of this queue.")
@click.option("--tenant", metavar="NAME", help="Only jobs of this tenant.")
@target_options
@json_lines_of("event")
def events(
    follow: bool,
    after: str | None,
    names: Sequence[str],
    kind: str | None,
    queue: str | None,
    tenant: str | None,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Print what happened to jobs, queues, schedules and workers, and follow it.

    Events are written only while something watches: this command with --follow, `app.events(follow=True)`, or an
    observer (`@app.on`). They are kept for a day. With --json each has a cursor: --after reads on from there.

    \b
      posthorse events -f
      posthorse events -f -n failed -n crashed -k render
      posthorse events --json --after CURSOR
    """
    check_names(kind=kind, queue=queue)
    app = open_store(target, url)
    if follow:
        raise_if_empty(app)
    elif is_empty(app):
        say_no_store(app)
        return Exit.OK
    found = app.events(after=after, names=names or None, kind=kind, queue=queue, tenant=tenant, follow=follow)
    count = 0
    try:
        with found:
            if follow:
                be_patient(app)
                if is_terminal():
                    say("Events from now on; Ctrl-C ends this." if after is None else "Events; Ctrl-C ends this.")
            for event in found:
                _print(event, app, as_json=as_json)
                count += 1
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    if not count:
        say("There are no such events. They are written only while something watches: use --follow, or an observer.")
    return Exit.OK


def _print(event: StreamEvent, app: Posthorse, *, as_json: bool) -> None:
    if as_json:
        out_json(event)
    elif isinstance(event, Missed):
        what = "the stream was" if event.why == "not watched" else "the place to read on from is"
        say(f"Events were missed: {what} {event.why}.")
    elif isinstance(event, StoreEvent):
        _print_of_store(event)
    elif is_terminal():
        from rich.text import Text

        line = Text.assemble(
            (clock_time(event.at, event.at), "bright_black"),
            "  ",
            (event.name.ljust(NAME_COLUMNS), STYLES.get(event.name, "default")),
            " ",
            (short(event.job), "bright_black"),
            "  ",
            (clean(event.kind), "bold"),
        )
        line.append(_beside(event))
        line.truncate(width(), overflow="ellipsis")
        out_rich(line)
    else:
        out(f"{_moment(event)}  {event.name.ljust(NAME_COLUMNS)} {event.job}  {event.kind}{_beside(event)}")


def _print_of_store(event: StoreEvent) -> None:
    """Print what concerns no job."""
    subject, beside = _subject(event)
    if is_terminal():
        from rich.text import Text

        line = Text.assemble(
            (clock_time(event.at, event.at), "bright_black"),
            "  ",
            (event.name.ljust(NAME_COLUMNS), STYLES.get(event.name, "default")),
            " ",
            (clean(subject), "bold"),
            f"  {clean(beside)}" if beside else "",
        )
        line.truncate(width(), overflow="ellipsis")
        out_rich(line)
    else:
        out(f"{_moment(event)}  {event.name.ljust(NAME_COLUMNS)} {subject}{f'  {beside}' if beside else ''}")


def _subject(event: StoreEvent) -> tuple[str, str]:
    """Return what an event is about, and what is special about it."""
    match event:
        case QueueChanged():
            return event.queue, ", ".join(
                f"{name} reset" if value is None else f"{name}={value}" for name, value in event.settings.items()
            )
        case WorkerLost():
            return event.worker, counted(event.jobs, "job")
        case SchedulePaused() | ScheduleResumed():
            return event.schedule, ""
        case _:
            return "", ""


def _moment(event: JobEvent | StoreEvent) -> str:
    return event.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _beside(event: JobEvent) -> str:
    """Return what is special about an event."""
    parts: list[str] = []
    if event.attempt is not None and event.attempt > 1:
        parts.append(f"attempt {event.attempt}")
    if event.error is not None:
        parts.append(clean(str(event.error)))
    return "".join(f"  {part}" for part in parts)
