"""`posthorse watch`: show jobs as live bars on a terminal and as lines everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import click

from posthorse.app.client import Posthorse
from posthorse.app.jobs import Jobs
from posthorse.cli.exits import Exit, exit_of_states
from posthorse.cli.job_lookup import JobLook, find_id, look_at, look_at_all
from posthorse.cli.live_display import Bars, Lines, LiveDisplay
from posthorse.cli.options import check_names
from posthorse.cli.screen import can_animate, say
from posthorse.cli.target import be_patient, is_empty, json_lines_option, open_store, raise_if_empty, target_options
from posthorse.rules.job import State
from posthorse.rules.search.keywords import Words

MAX_WATCHED = 1000
NEW_ONES_INTERVAL = 1.0

Selection = Callable[[], Iterable[str]]


@click.command()
@click.argument("job_ids", metavar="[ID…]", nargs=-1)
@click.option("-q", "--queue", metavar="NAME", help="The jobs of this queue that are not over.")
@click.option("-k", "--kind", metavar="NAME", help="The jobs of this kind that are not over.")
@click.option(
    "--state",
    metavar="STATE",
    type=click.Choice([state.value for state in State]),
    help=f"The jobs that are in this state now: {', '.join(State)}.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on for ever, with jobs that come later.")
@target_options
@json_lines_option
def watch(
    job_ids: Sequence[str],
    queue: str | None,
    kind: str | None,
    state: str | None,
    follow: bool,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Follow jobs with live bars.

    Without ids and filters, it follows all jobs that run now. It ends when they are over: with 0 if all completed, 1
    if one failed, 6 if one was cancelled. If stdout is not a terminal, it prints a line for each change of a job, once
    a second at most. It watches at most 1,000 jobs at once.

    \b
      posthorse watch -q reports
      posthorse watch --kind resize --follow
    """
    if job_ids and (queue or kind or state or follow):
        raise click.UsageError(
            "give ids, or say which with --queue, --kind, --state and --follow", click.get_current_context()
        )
    check_names(queue=queue, kind=kind)
    app = open_store(target, url)
    if follow:
        raise_if_empty(app)
    select = _selection(app, None if state is None else State(state), queue, kind, follow)
    chosen = [find_id(app, typed) for typed in job_ids] or list(select())
    if not chosen and not follow:
        say("No job runs." if queue is kind is state is None else "No job fits.")
        return Exit.OK
    follower = _follower(as_json)
    try:
        with follower:
            looks = _follow(app, chosen, follower, select if follow else None)
    except KeyboardInterrupt:
        say("The jobs go on.")
        return Exit.INTERRUPTED
    return exit_of_states([look.status.state for look in looks])


def _selection(app: Posthorse, state: State | None, queue: str | None, kind: str | None, follow: bool) -> Selection:
    """Return how to find the jobs to watch, the oldest or the next ones first."""
    if state is None and queue is kind is None and not follow:
        state = State.PROCESSING

    def select() -> Iterable[str]:
        if is_empty(app):
            return []
        chosen: Words = {}
        if queue is not None:
            chosen["queue"] = queue
        if kind is not None:
            chosen["kind"] = kind
        if state is not None:
            return reversed(_newest(app.jobs(f"state:{state.value}", **chosen), MAX_WATCHED))
        return unfinished_jobs(app, chosen)

    return select


def unfinished_jobs(app: Posthorse, chosen: Words) -> Sequence[str]:
    """Return jobs that are not over: running ones, then those that will start next, then those that are set aside."""
    found = _newest(app.jobs("state:processing", **chosen), MAX_WATCHED)
    waiting = app.jobs("state:pending", **chosen)
    found += [job.id for job in islice(waiting, MAX_WATCHED - len(found))]
    for state in (State.SCHEDULED, State.BLOCKED, State.PAUSED):
        found += _newest(app.jobs(f"state:{state.value}", **chosen), MAX_WATCHED - len(found))
    return list(dict.fromkeys(found))  # one may have moved on meanwhile


def _newest(jobs: Jobs, limit: int) -> list[str]:
    """Return the newest jobs that match, page after page, because each page searches for a moment alone."""
    found: list[str] = []
    cursor: str | None = None
    while len(found) < limit:
        page = jobs.page(limit - len(found), after=cursor)
        found += [job.id for job in page]
        cursor = page.next
        if cursor is None:
            break
    return found


def _follow(
    app: Posthorse, chosen: Sequence[str], follower: LiveDisplay, select: Selection | None
) -> Sequence[JobLook]:
    """Show the jobs until all are over; with a selection also later ones, until interrupted."""
    looks = {job: look_at(app, job) for job in chosen} if len(chosen) == 1 else look_at_all(app, chosen)
    be_patient(app)
    selected_at = time.monotonic()
    while True:
        follower.show(list(looks.values()))
        going = [job for job, look in looks.items() if not look.status.state.is_final]
        if not going and select is None:
            return list(looks.values())
        time.sleep(follower.pause)
        if select is not None and time.monotonic() - selected_at >= NEW_ONES_INTERVAL:
            selected_at = time.monotonic()
            going = list(dict.fromkeys([*going, *select()]))
            looks = _without_the_oldest(looks, going)
        looks.update(look_at_all(app, going))


def _without_the_oldest(looks: dict[str, JobLook], going: Sequence[str]) -> dict[str, JobLook]:
    """Forget jobs that are over if there are too many to watch."""
    over = [job for job, look in looks.items() if look.status.state.is_final]
    surplus = set(over[: max(0, len(over) + len(going) - MAX_WATCHED)])
    return {job: look for job, look in looks.items() if job not in surplus}


def _follower(as_json: bool) -> LiveDisplay:
    return Bars(sys.stdout) if can_animate(sys.stdout) and not as_json else Lines(as_json=as_json)
