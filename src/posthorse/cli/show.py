"""`posthorse show`: one job, from the order to the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

import click
import msgspec

from posthorse.app.client import Posthorse
from posthorse.app.job_logs import last_logs_of
from posthorse.app.reading import opened_json, texts_of
from posthorse.app.timeline import timeline_of
from posthorse.app.verbs import drive
from posthorse.cli.bad_items import first_bad_items, print_bad_items
from posthorse.cli.bars import bar
from posthorse.cli.exits import Exit
from posthorse.cli.job_lookup import JobLook, find_id, look_at, short
from posthorse.cli.logs import LinePrinter
from posthorse.cli.screen import clean, is_terminal, out, out_json, out_rich, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import again, json_option, open_store, target_options
from posthorse.cli.timeline_display import print_timeline
from posthorse.cli.why import read_why
from posthorse.cli.wording import (
    MARKS,
    amount,
    clock_time,
    duration_of,
    left,
    percent,
    span,
    speed,
)
from posthorse.errors import CodecError
from posthorse.rules.attempts import attempts_in
from posthorse.rules.events import Event
from posthorse.rules.job import Attempt, BadItem, JobError, State, Status
from posthorse.rules.job_logs import LogLine
from posthorse.rules.why.answer import Why, waits_for
from posthorse.store.operations import read
from posthorse.store.operations.bad_items_of_parts import count_bad_items
from posthorse.views.job import JobDetailView

MAX_VALUE = 2_000
"""Maximum characters of arguments and results on the screen; `--json` shows all."""

BAD_ITEMS_SHOWN = 20

LINES_SHOWN = 8
"""Lines that the last run of the job logged; `posthorse logs` shows all."""

_WAITING = (State.PENDING, State.BLOCKED, State.SCHEDULED)

_CAN_RETRY = (State.COMPLETED, State.FAILED)


class Story(NamedTuple):
    """All that is known about a job."""

    look: JobLook
    arguments: str
    result: str | None
    events: Sequence[Event]
    attempts: Sequence[Attempt]
    bad_items: int
    why: Why | None
    """Why it does not run; None if it runs, is paused or is over."""
    logged: Sequence[LogLine]
    """The last lines that its last run logged."""


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--bad-items", "with_bad_items", is_flag=True, help="Show also the first bad items that it tolerated.")
@click.option("--events", "with_all_events", is_flag=True, help="Show all events of a long timeline.")
@click.option("--graph", "with_graph", is_flag=True, help="Show the steps of a flow instead, and what needs what.")
@target_options
@json_option
def show(
    job_id: str,
    with_bad_items: bool,
    with_all_events: bool,
    with_graph: bool,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Show everything about one job.

    Its state and why, how far it is and when it will be done, its arguments and result, what happened when,
    and the evidence of every attempt that failed. Six characters of the id's beginning or end are enough.
    """
    app = open_store(target, url)
    if with_graph:
        from posthorse.cli.graph_display import show_graph  # here, because few jobs have graphs

        show_graph(app, find_id(app, job_id), as_json=as_json)
        return Exit.OK
    story = _read(app, find_id(app, job_id), target)
    found = first_bad_items(app, story.look.status.id, BAD_ITEMS_SHOWN) if with_bad_items else []
    if as_json:
        out_json(_view(story, found if with_bad_items else None))
        return Exit.OK
    _print(story, with_all_events=with_all_events)
    if found:
        out()
        out("Bad items")
        print_bad_items(found, story.look.now)
    if len(found) < story.bad_items and with_bad_items:
        say(f"{len(found):,} of {story.bad_items:,}; all with `{again(f'posthorse bad-items {story.look.status.id}')}`")
    return Exit.OK


def _read(app: Posthorse, job_id: str, target: str | None) -> Story:
    look = look_at(app, job_id)
    told = read_why(app, job_id, target) if look.status.state in _WAITING else None
    if told is not None and look.status.state is told.state is State.PENDING:
        look = JobLook(replace(look.status, waits_for=waits_for(told)), look.now)
    texts = drive(texts_of(app, job_id))
    outcome = app.store.read(read.outcome(job_id))
    _, events = drive(timeline_of(app, job_id, 0))
    arguments = opened_json(app.store.read(read.arguments(job_id)) or "{}", "arguments", texts)
    bad_items = app.store.read(count_bad_items(job_id))
    result = None if outcome is None or outcome.result is None else opened_json(outcome.result, "result", texts)
    attempts = attempts_in(events)
    return Story(look, arguments, result, events, attempts, bad_items, told, _logged(app, job_id))


def _logged(app: Posthorse, job_id: str) -> Sequence[LogLine]:
    try:
        lines = drive(last_logs_of(app, job_id, attempt=None, limit=LINES_SHOWN))
    except CodecError:  # `posthorse logs` says why
        return ()
    return [line for line in lines if line.run == lines[-1].run]


def _view(story: Story, first_bad_items: Sequence[BadItem] | None) -> JobDetailView:
    return JobDetailView.assemble(
        story.look.status,
        arguments=story.arguments,
        result=story.result,
        bad_items=story.bad_items,
        attempts=story.attempts,
        events=story.events,
        first_bad_items=first_bad_items,
    )


# ── the screen ───────────────────────────────────────────────────────────────────────────────────────


def _print(story: Story, *, with_all_events: bool) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    status = story.look.status
    mark, style = MARKS[status.state]
    head = Text(f"{mark} {status.state.value}", style=f"{style} bold")
    head.append(f"  {clean(status.kind)}", style="default bold")
    head.append(f"  {status.id}", style="default not bold")
    out_rich(head)
    for why in _why(story):
        out_rich(Padding(Text(why, overflow="fold"), (0, 0, 0, 2)))
    out()
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bright_black", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, fact in _facts(story):
        facts.add_row(name, fact)
    out_rich(facts)
    print_timeline(story.events, story.look.now, job=short(status.id), shows_all=with_all_events)
    _print_attempts(story)
    _print_evidence(story)
    _print_logged(story)


def _why(story: Story) -> Iterator[str]:
    status = story.look.status
    if story.why is not None:
        yield clean(story.why.leading.sentence)
        yield f"To do: {again(f'posthorse why {short(status.id)}')}"
    elif status.reason is not None and status.reason != status.state.value:
        yield clean(status.reason)
    if status.requested is not None:
        yield f"{status.requested} requested: it stops at its next checkpoint"
    if status.state is State.FAILED and status.error is not None:
        yield clean(str(status.error))


def _facts(story: Story) -> Iterator[tuple[str, str]]:
    status, now = story.look
    yield "queue", clean(status.queue) + (f", priority {status.priority}" if status.priority else "")
    if status.tenant is not None:
        yield "tenant", clean(status.tenant)
    if status.tags:
        yield "tags", clean(", ".join(status.tags))
    if status.metadata:
        yield from _values("metadata", msgspec.json.encode(status.metadata).decode())
    yield "attempt", _attempts(status)
    if status.worker is not None:
        yield "worker", clean(status.worker)
    yield from _times(story)
    if status.state is State.SCHEDULED and status.run_at is not None:
        yield "due", f"{clock_time(status.run_at, now)}, in {span(status.run_at - now)}"
    yield from _progress(status, now)
    if story.bad_items:
        retry = f"; `{again(f'posthorse retry {status.id} --bad-items')}` runs them again"
        listing = f"{story.bad_items:,}: `{again(f'posthorse bad-items {status.id}')}` lists them"
        yield "bad items", listing + (retry if status.state in _CAN_RETRY else "")
    yield from _values("arguments", story.arguments)
    if status.state is State.COMPLETED and story.result is not None:
        yield "result", _cut(story.result)


def _times(story: Story) -> Iterator[tuple[str, str]]:
    """Yield how long it took, or has run so far, and when it was first started, if that was not just now."""
    status, now = story.look
    if status.started_at is None:
        return
    if status.state.is_final:
        yield "took", duration_of(status, now)
        return
    begun = [attempt.started_at for attempt in story.attempts if attempt.outcome == "running" and attempt.started_at]
    if status.state is State.PROCESSING and begun:
        yield "running for", span(now - begun[-1])
        if begun[-1] - status.started_at < timedelta(seconds=1):
            return
    yield "started", f"{span(now - status.started_at)} ago for the first time"


def _attempts(status: Status) -> str:
    text = f"{status.attempt}"
    if status.max_attempts is not None:
        within = "of" if status.attempt <= status.max_attempts else "with at most"
        since = "" if status.attempt <= status.max_attempts else " without a committed slice"
        text += f" {within} {status.max_attempts}{since}"
    spent = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((status.crashes, "crash"), (status.interruptions, "interruption"))
        if count
    ]
    return f"{text} ({', '.join(spent).replace('crashs', 'crashes')})" if spent else text


def _progress(status: Status, now: datetime) -> Iterator[tuple[str, str]]:
    progress = status.progress
    if not progress.done and progress.total is None:
        return
    drawn = f"{''.join(bar(progress.fraction, 20))} " if progress.fraction is not None and is_terminal() else ""
    told = [part for part in (percent(progress), amount(progress), speed(progress)) if part]
    yield "progress", drawn + ", ".join(told)
    if progress.note is not None:
        yield "note", clean(progress.note)
    if status.state.is_final:
        return
    if left(progress) and progress.eta is not None and progress.eta_range is not None:
        earliest, latest = (clock_time(at, now) for at in progress.eta_range)
        between = "" if earliest == latest else f" ({earliest} to {latest})"
        yield "done at", f"{clock_time(progress.eta, now)}{between}, {left(progress)}"
    elif left(progress):
        yield "to do", f"{left(progress)} of work"


def _values(name: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield one line for each argument, by name."""
    try:
        stored = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        stored = {}
    if not stored:
        yield name, "none" if text == "{}" else _cut(text)
    for number, (key, value) in enumerate(stored.items()):
        yield "" if number else name, f"{clean(key)} = {_cut(bytes(value).decode())}"


def _cut(text: str) -> str:
    shown = clean(text[:MAX_VALUE])
    return shown if len(text) <= MAX_VALUE else f"{shown} … ({len(text):,} characters; --json shows all)"


# ── attempts and evidence ────────────────────────────────────────────────────────────────────────────


def _print_attempts(story: Story) -> None:
    """Print the attempts if there was more than one."""
    if len(story.attempts) < 2:
        return
    rows = [
        (
            str(attempt.number),
            attempt.outcome,
            clock_time(attempt.finished_at, story.look.now) if attempt.finished_at is not None else "",
            span(attempt.finished_at - attempt.started_at) if attempt.finished_at and attempt.started_at else "",
            attempt.worker or "",
            str(attempt.error or "").split("\n")[0],
        )
        for attempt in story.attempts
    ]
    out()
    out("Attempts")
    columns = (
        Column("NUMBER"),
        Column("OUTCOME"),
        Column("ENDED", rank=2),
        Column("TOOK", rank=3),
        Column("WORKER", least=8, rank=4),
        Column("ERROR", least=12, rank=1),
    )
    out_table(columns, rows, indent=2, has_headings=False)


def _print_logged(story: Story) -> None:
    if story.logged:
        last = story.logged[-1]
        out()
        command = again(f"posthorse logs {short(story.look.status.id)}")
        out(f"Logged last, in attempt {last.attempt}; all lines with `{command}`")
        LinePrinter(indent=2, has_headings=False).print(replace(line, left_out=0, error=None) for line in story.logged)


def _print_evidence(story: Story) -> None:
    """Print each error once, with its latest traceback, however many attempts it ended."""
    errors: dict[str, list[tuple[datetime, JobError]]] = {}
    for event in story.events:
        if event.error is not None and event.at is not None:
            errors.setdefault(str(event.error), []).append((event.at, event.error))
    for message, found in errors.items():
        times = f"{len(found)} times, last " if len(found) > 1 else ""
        at, error = found[-1]
        out()
        out(f"Error, {times}at {clock_time(at, story.look.now)}")
        for line in clean(error.traceback or message, keep_lines=True).rstrip().split("\n"):
            out(f"  {line}")
