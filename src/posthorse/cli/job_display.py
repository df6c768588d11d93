"""Render a job at one moment: as two lines with a bar, as one line, as a sentence. Knows no terminal and no store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from posthorse.cli.bars import bar
from posthorse.cli.job_lookup import JobLook, short
from posthorse.cli.screen import clean
from posthorse.cli.wording import MARKS, amount, clock_time, duration_of, gist, left, percent, speed, why_it_left
from posthorse.rules.job import State

if TYPE_CHECKING:
    from rich.text import Text


def head_line(look: JobLook, columns: int) -> Text:
    """Return state, kind and id, and what is special about a job."""
    from rich.text import Text

    status = look.status
    mark, style = MARKS[status.state]
    head = Text.assemble((f"{mark} {status.state.value}", style), "  ", (clean(status.kind), "bold"))
    head.append(f"  {short(status.id)}", style="bright_black")
    if status.attempt > 1:
        head.append(f"  attempt {status.attempt}", style="yellow")
    if status.requested is not None:
        head.append(f"  {status.requested} requested", style="yellow")
    if why := why_it_left(status):
        head.append(f"  {why}", style="yellow")
    if status.progress.note:
        head.append(f"  {clean(status.progress.note)}", style="bright_black")
    head.truncate(columns, overflow="ellipsis")
    return head


def bar_line(look: JobLook, beside: str, length: int, columns: int) -> Text:
    """Return the bar of a job with what fits beside it, or how it ended."""
    from rich.text import Text

    status, now = look
    if status.state.is_final or status.progress.fraction is None:
        line = Text("  " + (told(look) or gist(status, now) or _so_far(look)))
    else:
        done, open_ = bar(status.progress.fraction, length)
        line = Text.assemble("  ", (done, MARKS[status.state][1]), (open_, "bright_black"), " ", beside)
    line.truncate(columns, overflow="ellipsis")
    return line


def _so_far(look: JobLook) -> str:
    status, now = look
    if status.started_at is None:
        return "has not begun"
    return f"for {duration_of(status, now)}" if status.state is State.PROCESSING else "waits"


def one_line(look: JobLook, columns: int, *, kind_columns: int) -> Text:
    """Return a job in one line, if there are many."""
    from rich.cells import set_cell_size
    from rich.text import Text

    status, now = look
    mark, style = MARKS[status.state]
    line = Text.assemble(
        (mark, style), " ", (short(status.id), "bright_black"), f" {set_cell_size(clean(status.kind), kind_columns)} "
    )
    progress = status.progress
    told_shortly = ""
    if progress.fraction is not None and not status.state.is_final:
        done, open_ = bar(progress.fraction, 16)
        line.append(done, style=style).append(open_, style="bright_black").append(" ")
        choices = [(percent(progress), left(progress, with_range=True)), (percent(progress), left(progress))]
        told_shortly = _first_that_fits(choices, columns - line.cell_len)
    line.append(told_shortly or gist(status, now) or status.state.value)
    line.truncate(columns, overflow="ellipsis")
    return line


def fitting(look: JobLook, columns: int) -> str:
    """Return as much of the progress as fits; the finish time is dropped last. Empty without a bar."""
    progress = look.status.progress
    if look.status.state.is_final or progress.fraction is None:
        return ""
    range_, plain = left(progress, with_range=True), left(progress)
    told = (
        (percent(progress), amount(progress), speed(progress), range_),
        (percent(progress), amount(progress), range_),
        (percent(progress), amount(progress), plain),
        (percent(progress), plain),
    )
    return _first_that_fits(told, columns) or percent(progress)


def told(look: JobLook) -> str:
    """Return all of the progress, or how it ended."""
    status, now = look
    progress = status.progress
    if status.state.is_final or not (progress.done or progress.total):
        return gist(status, now)
    why = why_it_left(status)
    parts = (percent(progress), amount(progress), speed(progress), left(progress, with_range=True), why)
    return ", ".join(part for part in parts if part)


def sentence(look: JobLook) -> str:
    """Return a line for a log: when, which job, and its state."""
    status, now = look
    said = told(look) or gist(status, now)
    return f"{clock_time(now, now)} {status.id} {clean(status.kind)} {status.state.value} {said}".rstrip()


def _first_that_fits(choices: Iterable[Sequence[str]], columns: int) -> str:
    """Return the first choice whose joined parts fit into so many columns; else nothing."""
    texts = (", ".join(part for part in parts if part) for parts in choices)
    return next((text for text in texts if len(text) <= columns), "")
