"""`posthorse watch`: jobs on their way, as live bars on a terminal and as lines everywhere else."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import click

from posthorse.app.client import Posthorse
from posthorse.cli.bars import bar
from posthorse.cli.exits import Exit, exit_of_states
from posthorse.cli.lookup import Look, find_id, look_at, look_at_many, short
from posthorse.cli.screen import clean, console, is_terminal, out, out_json, say
from posthorse.cli.target import be_patient, is_empty, json_lines_option, open_store, target_options
from posthorse.cli.words import MARKS, amount, clock_time, duration_of, gist, left, percent, speed, status_as_json
from posthorse.rules.job import State

if TYPE_CHECKING:
    from rich.text import Text

BARS_EVERY, LINES_EVERY = 0.25, 1.0
MOST_WATCHED = 1000
WIDEST_BAR, NARROWEST_BAR = 40, 8


@click.command()
@click.argument("job_ids", metavar="[ID…]", nargs=-1)
@target_options
@json_lines_option
def watch(job_ids: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Follow running jobs with live bars.

    Without ids, all jobs that run now. Ends when they are over: with 0 when all completed, 1 when one failed,
    6 when one was cancelled. Where stdout is no terminal it prints a line for a job when something changed,
    once a second at most.
    """
    app = open_store(target, url)
    chosen = list(dict.fromkeys(find_id(app, typed) for typed in job_ids)) or _running(app)
    if not chosen:
        say("No job runs.")
        return Exit.OK
    follower = _follower(as_json)
    try:
        with follower:
            looks = _follow(app, chosen, follower)
    except KeyboardInterrupt:
        say("The jobs go on.")
        return Exit.INTERRUPTED
    return exit_of_states([look.status.state for look in looks])


def _running(app: Posthorse) -> list[str]:
    if is_empty(app):
        return []
    looks = look_at_many(app, state=State.PROCESSING, limit=MOST_WATCHED)
    return [look.status.id for look in reversed(looks)]


def _follow(app: Posthorse, chosen: Sequence[str], follower: Follower) -> Sequence[Look]:
    looks = {job: look_at(app, job) for job in chosen}
    be_patient(app)
    while True:
        follower.show(list(looks.values()))
        going = [job for job, look in looks.items() if not look.status.state.is_final]
        if not going:
            return list(looks.values())
        time.sleep(follower.pause)
        for job in going:
            looks[job] = look_at(app, job)


class Follower(Protocol):
    """Shows jobs again and again."""

    pause: float

    def show(self, looks: Sequence[Look]) -> None:
        """Shows how the jobs stand now."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def _follower(as_json: bool) -> Follower:
    animated = is_terminal() and not as_json and os.environ.get("TERM") != "dumb"
    return Bars() if animated else Lines(as_json=as_json)


class Lines:
    """A line for a job when something changed."""

    pause = LINES_EVERY

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._shown: dict[str, tuple[object, ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, looks: Sequence[Look]) -> None:
        """Prints the jobs that are not as they were."""
        for look in looks:
            status = look.status
            progress = status.progress
            facts = (status.state, status.attempt, status.requested, progress.done, progress.total, progress.note)
            if self._shown.get(status.id) != facts:
                self._shown[status.id] = facts
                self._print(look)

    def _print(self, look: Look) -> None:
        status, now = look
        if self._as_json:
            out_json(status_as_json(status))
        else:
            told = _told(look) or gist(status, now)
            out(f"{clock_time(now, now)} {status.id} {clean(status.kind)} {status.state.value} {told}".rstrip())


class Bars:
    """A bar for each job, redrawn in place."""

    pause = BARS_EVERY

    def __init__(self) -> None:
        from rich.live import Live

        self._console = console()
        self._longest_told = 0
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, looks: Sequence[Look]) -> None:
        """Draws all bars, shorter ones when there are many; those that do not fit are counted."""
        from rich.console import Group
        from rich.text import Text

        columns, height = shutil.get_terminal_size()
        self._console.width = columns
        room = height - 2
        if 2 * len(looks) <= room:
            lines = self._pairs(looks, columns)
        else:
            shown = _most_telling(looks, room)
            lines = [_one_line(look, columns) for look in shown]
            if hidden := len(looks) - len(shown):
                over = sum(look.status.state.is_final for look in looks)
                lines.append(Text(f"… and {hidden} more; {over} of {len(looks)} are over", style="bright_black"))
        self._live.update(Group(*lines), refresh=True)

    def _pairs(self, looks: Sequence[Look], columns: int) -> list[Text]:
        """Two lines for each job. The bars are equally long, and never grow: text that comes and goes moves nothing."""
        told = [_fitting(look, columns - NARROWEST_BAR - 4) for look in looks]
        self._longest_told = max(self._longest_told, *map(len, told))
        length = max(NARROWEST_BAR, min(WIDEST_BAR, columns - self._longest_told - 4))
        return [
            line
            for look, text in zip(looks, told, strict=True)
            for line in (_head_line(look, columns), _bar_line(look, text, length, columns))
        ]


def _most_telling(looks: Sequence[Look], room: int) -> Sequence[Look]:
    """Those that still go on before those that are over, in the order in which they were named."""
    chosen = {look.status.id for look in sorted(looks, key=lambda look: look.status.state.is_final)[:room]}
    return [look for look in looks if look.status.id in chosen]


def _head_line(look: Look, columns: int) -> Text:
    from rich.text import Text

    status = look.status
    mark, style = MARKS[status.state]
    head = Text.assemble((f"{mark} {status.state.value}", style), "  ", (clean(status.kind), "bold"))
    head.append(f"  {short(status.id)}", style="bright_black")
    if status.attempt > 1:
        head.append(f"  attempt {status.attempt}", style="yellow")
    if status.requested is not None:
        head.append(f"  {status.requested} requested", style="yellow")
    if status.progress.note:
        head.append(f"  {clean(status.progress.note)}", style="bright_black")
    head.truncate(columns, overflow="ellipsis")
    return head


def _bar_line(look: Look, told: str, length: int, columns: int) -> Text:
    from rich.text import Text

    status, now = look
    if status.state.is_final or status.progress.fraction is None:
        so_far = duration_of(status, now)
        line = Text("  " + (_told(look) or gist(status, now) or (f"for {so_far}" if so_far else "has not begun")))
    else:
        done, open_ = bar(status.progress.fraction, length)
        line = Text.assemble("  ", (done, MARKS[status.state][1]), (open_, "bright_black"), " ", told)
    line.truncate(columns, overflow="ellipsis")
    return line


def _one_line(look: Look, columns: int) -> Text:
    from rich.cells import set_cell_size
    from rich.text import Text

    status, now = look
    mark, style = MARKS[status.state]
    line = Text.assemble(
        (mark, style), " ", (short(status.id), "bright_black"), f" {set_cell_size(clean(status.kind), 20)} "
    )
    if status.progress.fraction is not None and not status.state.is_final:
        done, open_ = bar(status.progress.fraction, 16)
        line.append(done, style=style).append(open_, style="bright_black").append(" ")
    line.append(gist(status, now))
    line.truncate(columns, overflow="ellipsis")
    return line


def _fitting(look: Look, columns: int) -> str:
    """As much about the progress as fits; the finish time last to go. Empty where there is no bar."""
    progress = look.status.progress
    if look.status.state.is_final or progress.fraction is None:
        return ""
    range_, plain = left(progress, with_range=True), left(progress)
    for parts in (
        (percent(progress), amount(progress), speed(progress), range_),
        (percent(progress), amount(progress), range_),
        (percent(progress), amount(progress), plain),
        (percent(progress), plain),
    ):
        text = ", ".join(part for part in parts if part)
        if len(text) <= columns:
            return text
    return percent(progress)


def _told(look: Look) -> str:
    """Everything about the progress, or how it ended."""
    status, now = look
    progress = status.progress
    if status.state.is_final or not (progress.done or progress.total):
        return gist(status, now)
    parts = (percent(progress), amount(progress), speed(progress), left(progress, with_range=True))
    return ", ".join(part for part in parts if part)
