"""`posthorse prune`: remove old jobs now, as retention says, or show which would leave."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import click

from posthorse.app.client import Posthorse
from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, out, out_json, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import is_empty, json_option, open_store, target_options
from posthorse.clock import SECOND, microseconds, moment
from posthorse.maintenance.chores.retention import ToForget, choose, removal
from posthorse.rules.durations import as_timedelta
from posthorse.store.operations.read import workers
from posthorse.store.operations.retention import (
    FIRST,
    JobsByAge,
    forget_identities,
    identities,
    old_jobs,
)


class Leaving(NamedTuple):
    """The jobs of one kind and state that would leave."""

    kind: str
    state: str
    jobs: int
    oldest: datetime


@click.command()
@click.option("--dry-run", "is_dry", is_flag=True, help="Show which jobs would leave, and change nothing.")
@click.option("--older-than", metavar="SPAN", help="Only jobs that ended longer ago than this, such as 60d.")
@click.option(
    "--compact",
    is_flag=True,
    help="SQLite: then give the free space of the file back to the disk. It needs as much free space as the file has, "
    "and no worker may run.",
)
@target_options
@json_option
def prune(
    is_dry: bool, older_than: str | None, compact: bool, target: str | None, url: str | None, as_json: bool
) -> int:
    """Remove old jobs now, as retention says, or show which.

    Workers do this by themselves, slowly. How long jobs stay is said with `keep`: for the application (30d, dead
    letters 90d), a kind or a queue.

    \b
      posthorse prune --dry-run
      posthorse queues set mail keep=3d
      posthorse prune --older-than 60d
    """
    if is_dry and compact:
        raise click.UsageError("--dry-run changes nothing, so it cannot go with --compact")
    older = 0 if older_than is None else microseconds(as_timedelta(older_than, name="--older-than"))
    app = open_store(target, url)
    has_jobs = not is_empty(app)
    if is_dry:
        _show(_leaving(app, older) if has_jobs else [], as_json)
        return Exit.OK
    if compact:
        _refuse_beside_workers(app)
    left, emptied = _prune(app, older) if has_jobs else (0, 0)
    freed = app.store.compact() if compact else None
    if as_json:
        out_json({"removed": left, "results_removed": emptied, "bytes_freed": freed})
        return Exit.OK
    out(f"{left:,} jobs removed" + (f", and the results of {emptied:,} others" if emptied else ""))
    if compact:
        told = "uses the space again by itself" if freed is None else f"gave {freed:,} bytes back to the disk"
        say(f"{clean(app.store.where)} {told}.")
    return Exit.OK


def _prune(app: Posthorse, older: int) -> tuple[int, int]:
    """Remove what may go; return how many jobs left, and how many results of others."""
    left = emptied = 0
    for page, chosen in _pages(app, older):
        left += sum(app.store.run(commit) or 0 for commit in removal(page, chosen))
        emptied += len(chosen.emptied)
    after, at_once = None, app.store.tuning.retention_page
    while True:
        found = app.store.look(identities(after, at_once))
        if orphaned := [identity for identity, is_orphaned in found if is_orphaned]:
            app.store.run(forget_identities(orphaned))
        if len(found) < at_once:
            return left, emptied
        after = found[-1][0]


def _leaving(app: Posthorse, older: int) -> list[Leaving]:
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for page, chosen in _pages(app, older):
        jobs = {job.id: job for job in page.jobs}
        for going in chosen.going:
            job = jobs[going.job]
            count, oldest = counts.get((job.kind, job.state), (0, going.finished_at))
            counts[job.kind, job.state] = (count + 1, min(oldest, going.finished_at))
    return [Leaving(kind, state, count, moment(oldest)) for (kind, state), (count, oldest) in sorted(counts.items())]


def _pages(app: Posthorse, older: int) -> Iterator[tuple[JobsByAge, ToForget]]:
    after, at_once = FIRST, app.store.tuning.retention_page
    while True:
        page = app.store.look(old_jobs(after=after, limit=at_once, older_than=older))
        yield page, choose(page, older_than=older)
        if len(page.jobs) < at_once:
            return
        after = page.jobs[-1].id


def _show(leaving: list[Leaving], as_json: bool) -> None:
    if as_json:
        out_json([one._asdict() for one in leaving])
    elif leaving:
        out_table(
            [Column("KIND", least=8), Column("STATE"), Column("JOBS", is_number=True), Column("OLDEST")],
            [[one.kind, one.state, f"{one.jobs:,}", f"{one.oldest.astimezone(UTC):%Y-%m-%d}"] for one in leaving],
        )
    else:
        say("No job is old enough to leave.")


def _refuse_beside_workers(app: Posthorse) -> None:
    lease = app.settings.lease * SECOND
    living = sorted({row.worker for row in app.store.look(workers()) if row.silent_for <= lease})
    if living:
        raise click.UsageError(f"--compact locks the file while it works; stop the workers first: {', '.join(living)}")
