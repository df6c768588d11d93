"""`posthorse jobs`: a page of the list of jobs."""

from __future__ import annotations

from collections.abc import Sequence

import click

from posthorse.app.client import Posthorse
from posthorse.app.jobs import Jobs
from posthorse.cli.exits import Exit
from posthorse.cli.job_lookup import JobLook, find_id, look_at_those_left, short
from posthorse.cli.options import check_names
from posthorse.cli.screen import clean, is_terminal, out_json, say, width
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import again, is_empty, json_option, open_store, say_no_store, target_options
from posthorse.cli.wording import MARKS, gist, short_span
from posthorse.rules.job import State
from posthorse.rules.search.budget import MAX_COUNT
from posthorse.rules.search.keywords import Words, make_filter
from posthorse.views.job import JobView
from posthorse.views.page import PageView, SearchedView

WIDE = 120
"""From this many columns on, whole ids fit."""

NARROW = 50
"""Below this many columns, a state is only its mark."""


@click.command()
@click.argument("words", metavar="[FILTER…]", nargs=-1)
@click.option(
    "--state",
    metavar="STATE",
    type=click.Choice([state.value for state in State]),
    help=f"Only jobs in this state: {', '.join(State)}.",
)
@click.option("-q", "--queue", metavar="NAME", help="Only jobs of this queue.")
@click.option("-k", "--kind", metavar="NAME", help="Only jobs of this kind.")
@click.option("--filter", "wanted", metavar="FILTER", help="The same as FILTER, for one that begins with a dash.")
@click.option("-n", "--limit", metavar="N", type=click.IntRange(1, 1000), default=20, help="At most so many; else 20.")
@click.option("--before", metavar="ID", help="Only jobs that were enqueued before this one.")
@click.option("--within", metavar="TIME", default="150ms", help="Search so long if few jobs fit; else 150ms.")
@click.option("--more", metavar="CURSOR", help="Go on where a page ended; it prints the cursor.")
@target_options
@json_option
def jobs(
    words: Sequence[str],
    state: str | None,
    queue: str | None,
    kind: str | None,
    wanted: str | None,
    limit: int,
    before: str | None,
    within: str,
    more: str | None,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """List jobs, newest first.

    FILTER chooses some of them, such as 'kind:mail* age:>2h'. If ids are shortened, the eight characters shown are
    enough to name a job in every other command. Where few jobs fit, it searches for a moment, says how far back it
    came, and goes on with --more.

    \b
      posthorse jobs --state failed
      posthorse jobs -q mail -n 100
      posthorse jobs state:failed reason:crashed newer:1d
      posthorse jobs --json | jq -r '.jobs[].id'
    """
    check_names(queue=queue, kind=kind)
    chosen: Words = {}
    if state is not None:
        chosen["state"] = state
    if queue is not None:
        chosen["queue"] = queue
    if kind is not None:
        chosen["kind"] = kind
    text = " ".join([*words, *filter(None, [wanted])])
    is_filtered = bool(chosen or text or before)
    make_filter(text, chosen)  # refuses invalid filters even if there is no store yet
    app = open_store(target, url)
    if is_empty(app):
        return _print_no_store(app, as_json=as_json)
    if before is not None:
        chosen["until"] = find_id(app, before)
    fitting = app.jobs(text, **chosen)
    page = fitting.page(limit, after=more, within=within)
    looks = list(look_at_those_left(app, [job.id for job in page]).values())
    if as_json:
        searched = SearchedView(back_to=page.searched.back_to, complete=page.searched.complete)
        shown = [JobView.of(look.status) for look in looks]
        out_json(PageView(jobs=shown, next=page.next, searched=searched))
        return Exit.OK
    if looks:
        _print_table(looks)
        if len(looks) == limit and page.next is not None:
            total = _of_all(fitting) if is_filtered else ""
            say(f"The {limit} newest{total}; older ones follow with --more {page.next}")
            return Exit.OK
    if page.next is not None and page.searched.back_to is not None:
        seen = "Nothing" if not looks else "No more"
        back_to = page.searched.back_to.astimezone()
        say(f"{seen} yet back to {back_to:%-d %B %Y, %H:%M:%S}; search on with --more {page.next}")
    elif not looks and more is not None:
        say("No more jobs fit.")
    elif not looks:
        first = again("posthorse enqueue KIND [ARGUMENT…]")
        say("No job fits." if is_filtered else f"There are no jobs yet. Store one: {first}")
    return Exit.OK


def _print_no_store(app: Posthorse, *, as_json: bool) -> int:
    if as_json:
        out_json(PageView(jobs=(), next=None, searched=SearchedView(back_to=None, complete=True)))
    else:
        say_no_store(app)
    return Exit.OK


def _of_all(fitting: Jobs) -> str:
    """Return of how many jobs these are, if that can be counted in a moment."""
    counted = fitting.counted()
    return f" of {counted}" if counted.is_exact or counted.number >= MAX_COUNT else ""


def _print_table(looks: Sequence[JobLook]) -> None:
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
