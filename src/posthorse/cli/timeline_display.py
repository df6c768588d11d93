"""The timeline of a job on the screen: when, how long after the event before, and what happened, in a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from posthorse.cli.screen import clean, out, out_rich
from posthorse.cli.target import again
from posthorse.cli.wording import clock_time, span
from posthorse.rules.event_names import EventName
from posthorse.rules.events import Event

if TYPE_CHECKING:
    from rich.text import Text

MAX_SHOWN, FIRST_SHOWN, LAST_SHOWN = 25, 5, 15
"""How many events are shown unless all are asked for; of more, so many of the first and of the last."""

MAX_TEXT = 200
"""Maximum characters of a message or a reason; the evidence of errors is printed in full below the timeline."""

_BAD, _GOOD, _QUIET = "red", "green", "bright_black"
_STYLES: Mapping[EventName, str] = {
    "completed": _GOOD,
    "failed": _BAD,
    "attempt_failed": _BAD,
    "lost": _BAD,
    "crashed": _BAD,
    "unfit": "yellow",
    "queued": _QUIET,
    "claimed": _QUIET,
}

_WORDS: Mapping[EventName, Callable[[Event], str]] = {
    "submitted": lambda event: "enqueued",
    "superseded": lambda event: "superseded by a newer job",
    "queued": lambda event: "lined up",
    "claimed": lambda event: f"taken{_on(event)}",
    "started": lambda event: f"attempt {event.attempt} started{_on(event)}",
    "completed": lambda event: "completed",
    "attempt_failed": lambda event: f"attempt {event.attempt} failed",
    "failed": lambda event: "failed for good",
    "snoozed": lambda event: "put off by its own code",
    "waiting": lambda event: "waits for an event",
    "split": lambda event: "cut into parts",
    "released": lambda event: "released by its worker",
    "lost": lambda event: "its worker was lost",
    "crashed": lambda event: "its process died",
    "unfit": lambda event: "did not fit the code of the worker",
    "expired": lambda event: "expired before it was started",
    "paused": lambda event: f"paused{_by_force(event)}",
    "resumed": lambda event: "resumed",
    "cancelled": lambda event: f"cancelled{_by_force(event)}",
    "retried": lambda event: "retried",
    "discarded": lambda event: "discarded",
}


def print_timeline(events: Sequence[Event], now: datetime, *, job: str, shows_all: bool) -> None:
    """Print events with their numbers; of many, the first and the last."""
    from rich.table import Table

    left_out = 0 if shows_all or len(events) <= MAX_SHOWN else len(events) - FIRST_SHOWN - LAST_SHOWN
    numbers = [_numbers(event) for event in events]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", style=_QUIET, no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", style=_QUIET, no_wrap=True)
    table.add_column(overflow="fold")
    before: datetime | None = None
    for place, event in enumerate(events):
        since = "" if before is None or event.at is None else f"+{span(event.at - before)}"
        before = event.at or before
        if FIRST_SHOWN <= place < FIRST_SHOWN + left_out:
            if place == FIRST_SHOWN:
                table.add_row("  …", "", "", f"{left_out:,} more: {again(f'posthorse show {job} --events')}")
            continue
        table.add_row(
            f"  {numbers[place]}", "" if event.at is None else clock_time(event.at, now), since, _worded(event)
        )
    out()
    out("Timeline")
    out_rich(table)


def _numbers(event: Event) -> str:
    return f"{event.number}" if event.covers == 1 else f"{event.number - event.covers + 1}–{event.number}"


def _worded(event: Event) -> Text:
    from rich.text import Text

    text = _WORDS[event.name](event)
    if event.error is not None:
        text += f": {str(event.error).partition(chr(10))[0]}"
    if event.reason is not None and event.reason.startswith(f"{event.name}: "):
        text = event.reason
    elif event.reason is not None:
        text += f": {event.reason}" if event.error is None else f" ({event.reason})"
    text = clean(text)
    text = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …"
    if event.covers > 1:
        text += ", again and again"
    elif isinstance(times := event.detail.get("times"), int):
        text += f", {times:,} times in a row"
    return Text(text, style=_STYLES.get(event.name, "default"))


def _on(event: Event) -> str:
    return "" if event.worker is None else f" on {event.worker}"


def _by_force(event: Event) -> str:
    return " by force" if event.detail.get("forced") else ""
