"""`posthorse schedules`: list schedules, and steer them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from shlex import quote
from typing import NamedTuple, TypeVar

import click

from posthorse.app.client import Posthorse
from posthorse.app.schedules import (
    Known,
    Schedule,
    find_schedule,
    forget_schedule,
    known_schedules,
    next_times,
    schedule_status,
)
from posthorse.cli.exits import Exit, exit_of
from posthorse.cli.screen import clean, complain, out, out_json, say, width
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import again, hand_down, is_empty, json_lines_of, json_option, open_store, target_options
from posthorse.cli.wording import clock_time, span
from posthorse.clock import moment
from posthorse.errors import InvalidTransition, QueueClosed, QueueFull, ScheduleNotFound, UsageError
from posthorse.rules.cron import cron_in_words
from posthorse.rules.schedules import ScheduleState, ScheduleStatus
from posthorse.views.schedule import ScheduleView

F = TypeVar("F", bound=Callable[..., object])

STYLES = {
    ScheduleState.ACTIVE: "green",
    ScheduleState.PAUSED: "yellow",
    ScheduleState.ENDED: "bright_black",
    ScheduleState.UNATTENDED: "red",
}


class Done(NamedTuple):
    """What an action led to: the schedule's state after it, and the job that it made."""

    state: str
    job: str | None = None


NARROW = 70
"""Below this many columns, the next time is shown as a distance."""

_names = click.argument("names", metavar="NAME…", nargs=-1, required=True)


@click.group(invoke_without_command=True)
@target_options
@json_option
@click.pass_context
def schedules(context: click.Context, target: str | None, url: str | None, as_json: bool) -> int:
    """List schedules, or steer one.

    NEXT and LAST are times of the schedule, on this machine's clock. A schedule is unattended if no worker runs
    whose code declares it: all are stopped, or the declaration was removed.

    \b
      posthorse schedules next report
      posthorse schedules pause report
      posthorse schedules trigger report
      posthorse schedules forget old-report
    """
    if context.invoked_subcommand is not None:
        hand_down(context, target=target, url=url, as_json=as_json)
        return Exit.OK
    app = open_store(target, url)
    statuses = [schedule_status(known, _now(app, known)) for known in known_schedules(app, is_stored=not is_empty(app))]
    if as_json:
        out_json([ScheduleView.of(status) for status in statuses])
    elif statuses:
        _print_table(statuses, moment(app.store.clock.now()))
    else:
        say('There are no schedules. Declare one: app.schedule(report.bind(), name="report", cron="0 3 * * *")')
    return Exit.OK


@schedules.command("next")
@click.argument("name", metavar="NAME")
@click.option("-n", "--count", metavar="N", type=click.IntRange(1, 1000), default=10, help="How many; else 10.")
@target_options
@json_option
def next_(name: str, count: int, target: str | None, url: str | None, as_json: bool) -> int:
    """Show the next times of a schedule, in its time zone.

    Jitter is not included: each run starts up to so much later.
    """
    app = open_store(target, url)
    known = _known(app, name)
    timing = known.declared.timing
    times = next_times(timing, _now(app, known), count)
    if as_json:
        out_json([time.isoformat() for time in times])
        return Exit.OK
    if timing.cron is not None:
        say(cron_in_words(timing.cron))
    for time in times:
        out(f"{time:%a %Y-%m-%d %H:%M:%S} {time:%Z} ({time.isoformat()})")
    if known.row is not None and known.row.is_paused:
        say(f"It is paused, so none of them runs: {again(f'posthorse schedules resume {quote(name)}')}")
    elif len(times) < count:
        say("Then it ends.")
    return Exit.OK


@schedules.command()
@_names
@target_options
@json_lines_of("schedule")
def pause(names: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Stop schedules until they are resumed.

    Jobs that they made keep running. A pause outlives deploys; times that come meanwhile are skipped.
    """
    return _each(names, target, url, as_json, lambda schedule: schedule.pause())


@schedules.command()
@_names
@target_options
@json_lines_of("schedule")
def resume(names: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Resume paused schedules, with the next time after now."""
    return _each(names, target, url, as_json, lambda schedule: schedule.resume())


@schedules.command()
@_names
@target_options
@json_lines_of("schedule")
def trigger(names: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Enqueue a job of schedules now, and print its id.

    This also works while a schedule is paused or an earlier run is not over. Its times do not change.
    """
    return _each(names, target, url, as_json, lambda schedule: schedule.trigger().id)


@schedules.command()
@_names
@target_options
@json_lines_of("schedule")
def forget(names: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Remove schedules that left the code, with the times that they ran for.

    Their jobs stay. It is refused while a living worker declares the schedule. One that is declared again later is
    new: it is not paused, and makes up for no times.
    """
    return _each_known(names, target, url, as_json, _forget)


def _forget(app: Posthorse, known: Known) -> Done:
    forget_schedule(app, known)
    return Done("forgotten")


def _each(
    names: Sequence[str],
    target: str | None,
    url: str | None,
    as_json: bool,
    action: Callable[[Schedule[object]], str | None],
) -> int:
    """Steer every schedule; return the exit code of the first failure."""

    def steer(app: Posthorse, known: Known) -> Done:
        schedule: Schedule[object] = Schedule(app, known.declared)
        job = action(schedule)
        return Done(schedule.status().state.value, job)

    return _each_known(names, target, url, as_json, steer)


def _each_known(
    names: Sequence[str], target: str | None, url: str | None, as_json: bool, action: Callable[[Posthorse, Known], Done]
) -> int:
    """Do something with every schedule, even if others fail; return the exit code of the first failure."""
    app = open_store(target, url)
    code = Exit.OK
    for name in names:
        try:
            state, job = action(app, _known(app, name))
        except (ScheduleNotFound, InvalidTransition, UsageError, QueueClosed, QueueFull) as error:
            code = code or exit_of(error)
            complain(str(error))
            if as_json:
                out_json({"name": name, "state": None, "job": None, "error": str(error)})
            continue
        if as_json:
            out_json({"name": name, "state": state, "job": job, "error": None})
        else:
            out(job or f"{state}  {name}")
    return code


def _known(app: Posthorse, name: str) -> Known:
    return find_schedule(app, name, is_stored=not is_empty(app))


def _now(app: Posthorse, known: Known) -> int:
    return app.store.clock.now() if known.row is None else known.row.now


def _print_table(statuses: Sequence[ScheduleStatus], now: datetime) -> None:
    from rich.text import Text

    is_narrow = width() < NARROW
    rows = [
        (
            clean(status.name),
            Text(status.state.value, style=STYLES[status.state]),
            clean(status.when),
            _next(status, now, is_short=is_narrow),
            "" if status.last_at is None else clock_time(status.last_at, now),
            clean(status.kind),
        )
        for status in statuses
    ]
    out_table(
        (
            Column("NAME", least=10),
            Column("STATE"),
            Column("WHEN", least=9, rank=2),
            Column("NEXT"),
            Column("LAST", rank=3),
            Column("KIND", least=8, rank=4),
        ),
        rows,
    )


def _next(status: ScheduleStatus, now: datetime, *, is_short: bool) -> str:
    if status.next_at is None:
        return ""
    wait = f"in {span(status.next_at - now)}"
    return wait if is_short else f"{clock_time(status.next_at, now)}, {wait}"
