"""`posthorse workers`: who is at work."""

from __future__ import annotations

from datetime import timedelta

import click

from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, out_json, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import is_empty, json_option, open_store, target_options
from posthorse.cli.words import short_span
from posthorse.clock import moment
from posthorse.store.operations import read
from posthorse.store.operations.read import WorkerRow

STYLES = {"silent": "red", "draining": "yellow", "idle": "bright_black", "working": "cyan"}


@click.command()
@target_options
@json_option
def workers(target: str | None, url: str | None, as_json: bool) -> int:
    """List workers and their runners.

    BEAT is how long ago a runner gave a sign of life; one that is silent for longer than the lease loses its
    jobs to others.
    """
    app = open_store(target, url)
    rows = [] if is_empty(app) else app.store.read(read.workers())
    lease = timedelta(seconds=app.settings.lease)
    if as_json:
        out_json([_as_json(row, lease) for row in rows])
    elif rows:
        _print_table(rows, lease)
    else:
        say("No worker is on the list. Start one: posthorse worker --app module:app")
    return Exit.OK


def _print_table(rows: list[WorkerRow], lease: timedelta) -> None:
    from rich.text import Text

    rows_of_text = [
        (
            clean(row.worker),
            str(row.pid),
            Text(_word(row, lease), style=STYLES[_word(row, lease)]),
            short_span(_silence(row)),
            f"{row.running}/{row.concurrency}",
            clean(", ".join(row.queues)) or "all",
            str(len(row.kinds)),
        )
        for row in rows
    ]
    out_table(
        (
            Column("WORKER", least=8),
            Column("PID", rank=4, is_number=True),
            Column("STATE"),
            Column("BEAT", rank=3, is_number=True),
            Column("RUNNING", is_number=True),
            Column("QUEUES", least=8, rank=2),
            Column("KINDS", rank=5, is_number=True),
        ),
        rows_of_text,
    )


def _word(row: WorkerRow, lease: timedelta) -> str:
    if _silence(row) > lease:
        return "silent"
    if row.is_draining:
        return "draining"
    return "working" if row.running else "idle"


def _silence(row: WorkerRow) -> timedelta:
    return timedelta(microseconds=row.silent_for)


def _as_json(row: WorkerRow, lease: timedelta) -> dict[str, object]:
    return {
        "id": row.id,
        "worker": row.worker,
        "host": row.host,
        "pid": row.pid,
        "version": row.version,
        "state": _word(row, lease),
        "started_at": moment(row.started_at),
        "beat_at": moment(row.beat_at),
        "silent_for": row.silent_for / 1_000_000,
        "running": row.running,
        "concurrency": row.concurrency,
        "queues": row.queues,
        "kinds": row.kinds,
    }
