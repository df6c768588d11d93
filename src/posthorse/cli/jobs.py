"""`posthorse jobs`: a page of the list of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import click

from posthorse.cli.exits import Exit
from posthorse.cli.lookup import Look, find_id, look_at_all, look_at_many, short
from posthorse.cli.options import check_names
from posthorse.cli.screen import clean, is_terminal, out_json, say, width
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import is_empty, json_option, open_store, target_options
from posthorse.cli.words import MARKS, gist, short_span
from posthorse.rules.job import State
from posthorse.views.job import JobView

WIDE = 120
"""From this many columns on, whole ids fit."""

NARROW = 50
"""Below this many columns, a state is only its mark."""


@click.command()
@click.option(
    "--state",
    metavar="STATE",
    type=click.Choice([state.value for state in State]),
    help=f"Only jobs in this state: {', '.join(State)}.",
)
@click.option("-q", "--queue", metavar="NAME", help="Only jobs of this queue.")
@click.option("-k", "--kind", metavar="NAME", help="Only jobs of this kind.")
@click.option(
    "--filter", "wanted", metavar="FILTER", help="Only jobs that fit, oldest first: 'error:ValueError older:7d'."
)
@click.option("-n", "--limit", metavar="N", type=click.IntRange(1, 1000), default=20, help="At most so many; else 20.")
@click.option("--before", metavar="ID", help="Only jobs older than this one: the next page after its last.")
@target_options
@json_option
def jobs(
    state: str | None,
    queue: str | None,
    kind: str | None,
    wanted: str | None,
    limit: int,
    before: str | None,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """List jobs, newest first.

    If ids are shortened, the eight characters shown are enough to name a job in every other command.

    \b
      posthorse jobs --state failed
      posthorse jobs -q mail -n 100
      posthorse jobs --filter 'state:failed reason:crashed newer:1d'
      posthorse jobs --json | jq -r '.[].id'
    """
    if wanted is not None and not state is queue is kind is before is None:
        raise click.UsageError(
            "--filter goes alone: write state:, queue: and kind: into it", click.get_current_context()
        )
    check_names(queue=queue, kind=kind)
    app = open_store(target, url)
    fitting = None if wanted is None else app.jobs(wanted)
    missing = is_empty(app)
    looks: Sequence[Look] = []
    if not missing and fitting is not None:
        looks = list(look_at_all(app, [job.id for job in islice(fitting, limit)]).values())
    elif not missing:
        looks = look_at_many(
            app,
            state=None if state is None else State(state),
            queue=queue,
            kind=kind,
            before=None if before is None else find_id(app, before),
            limit=limit,
        )
    if as_json:
        out_json([JobView.of(look.status) for look in looks])
    elif looks:
        _print_table(looks)
        if len(looks) == limit and fitting is not None:
            say(f"The {limit} oldest of {fitting.count():,}; more with -n")
        elif len(looks) == limit:
            say(f"The {limit} newest; older ones follow with --before {short(looks[-1].status.id)}")
    elif missing:
        say(
            f"There is no store at {app.store.where} yet; the first `posthorse enqueue` or `posthorse worker` makes it."
        )
    elif state is queue is kind is before is wanted is None:
        say("There are no jobs yet. Store one: posthorse enqueue KIND [ARGUMENT…]")
    else:
        say("No job fits.")
    return Exit.OK


def _print_table(looks: Sequence[Look]) -> None:
    from rich.text import Text

    whole_ids = not is_terminal() or width() >= WIDE
    is_narrow = width() < NARROW
    rows = [
        (
            Text(MARKS[status.state][0] + (f" {status.state.value}" * (not is_narrow)), style=MARKS[status.state][1]),
            clean(status.kind),
            clean(status.queue),
            short_span(now - status.created_at),
            gist(status, now),
            status.id if whole_ids else short(status.id),
        )
        for status, now in looks
    ]
    out_table(
        (
            Column("" if is_narrow else "STATE"),
            Column("KIND", least=10),
            Column("QUEUE", least=8, rank=3),
            Column("AGE", rank=2),
            Column("PROGRESS", least=16, rank=1),
            Column("ID"),
        ),
        rows,
    )
