"""`posthorse workers`: list workers."""

from __future__ import annotations

from datetime import timedelta

import click

from posthorse.app.client import Posthorse
from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, out_json, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import again, is_empty, json_option, open_store, target_options
from posthorse.cli.wording import short_span
from posthorse.store.operations import read
from posthorse.store.operations.queues import live_layers
from posthorse.store.operations.unserved import unserved
from posthorse.views.worker import WorkerView

STYLES = {"silent": "red", "draining": "yellow", "idle": "bright_black", "working": "cyan"}


@click.command()
@click.option("--strict", is_flag=True, help="End with 7 if jobs wait that no living worker would take.")
@target_options
@json_option
def workers(strict: bool, target: str | None, url: str | None, as_json: bool) -> int:
    """List workers and their runners.

    BEAT is the time since a runner's last heartbeat; if it is longer than the lease, other runners take its
    jobs. With --app, the labels that the code sets for queues count for --strict, too.
    """
    app = open_store(target, url)
    rows = [] if is_empty(app) else app.store.look(read.workers())
    views = [WorkerView.of(row, timedelta(seconds=app.settings.lease)) for row in rows]
    if as_json:
        out_json(views)
    elif views:
        _print_table(views)
    else:
        say(f"No worker is on the list. Start one: {again('posthorse worker --app module:app')}")
    return Exit.UNSERVED if strict and _tell_of_unserved_jobs(app) else Exit.OK


def _tell_of_unserved_jobs(app: Posthorse) -> bool:
    """Say which jobs no living worker would take; return whether there are any."""
    if is_empty(app):
        return False
    found = app.store.look(unserved(app.registry.queues.settings(app.store.read(live_layers()))))
    for jobs in found:
        wait = "1 job waits" if jobs.waiting == 1 else f"{jobs.waiting:,} jobs wait"
        say(f"{wait} in {clean(jobs.queue)} that no living worker would take, of the kind {clean(jobs.kind)}.")
    if found:
        say(f"`{again('posthorse doctor')}` says what to do.")
    return bool(found)


def _print_table(views: list[WorkerView]) -> None:
    from rich.text import Text

    rows_of_text = [
        (
            clean(view.worker),
            str(view.pid),
            Text(view.state, style=STYLES[view.state]),
            short_span(timedelta(seconds=view.silent_for)),
            f"{view.running}/{view.concurrency}",
            clean(", ".join(view.queues)) or "all",
            str(len(view.kinds)),
        )
        for view in views
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
