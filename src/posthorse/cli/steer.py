"""`posthorse pause`, `resume`, `cancel`, `retry` and `discard`: what may be asked of jobs, by id or by filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from posthorse.app.client import Posthorse
from posthorse.app.jobs import Jobs
from posthorse.cli.exits import Exit, exit_of
from posthorse.cli.lookup import find_id
from posthorse.cli.screen import complain, out, out_json, say
from posthorse.cli.target import is_empty, json_lines_option, open_store, target_options
from posthorse.errors import JobNotFound, NotAllowed, UsageError
from posthorse.rules.job import State

_ids = click.argument("job_ids", metavar="ID…", nargs=-1, required=True)
_ids_or_all = click.argument("job_ids", metavar="[ID…]", nargs=-1)
_all = click.option("--all", "wanted", metavar="FILTER", help="All jobs that fit, such as 'kind:welcome older:7d'.")
_force = click.option(
    "--force",
    is_flag=True,
    help="Do not wait for the job's code: from now on, what it still does counts for nothing.",
)


@click.command()
@_ids
@_force
@target_options
@json_lines_option
def pause(job_ids: Sequence[str], force: bool, target: str | None, url: str | None, as_json: bool) -> int:
    """Stop jobs where they can go on later.

    A waiting job is paused at once. A running one stops at its next slice or checkpoint; `posthorse show` tells
    when it has. Prints the state of each job and its id.
    """
    return _steer(job_ids, "pause", lambda app, job: app.get_job(job).pause(force=force), target, url, as_json)


@click.command()
@_ids
@target_options
@json_lines_option
def resume(job_ids: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Let paused jobs go on.

    A long job goes on from its last committed slice. Prints the state of each job and its id.
    """
    return _steer(job_ids, "resume", lambda app, job: app.get_job(job).resume(), target, url, as_json)


@click.command()
@_ids
@_force
@target_options
@json_lines_option
def cancel(job_ids: Sequence[str], force: bool, target: str | None, url: str | None, as_json: bool) -> int:
    """End jobs for good.

    A waiting job is cancelled at once. A running one ends at its next checkpoint, an async one at its next
    await. Only `posthorse retry` brings a cancelled job back. Prints the state of each job and its id.
    """
    return _steer(job_ids, "cancel", lambda app, job: app.get_job(job).cancel(force=force), target, url, as_json)


@click.command()
@_ids_or_all
@_all
@click.option("--rate", metavar="RATE", help="With --all, let so many start in a time: 10/s, 500/15m.")
@click.option("--bad-items", is_flag=True, help="Run completed or failed jobs over the bad items that they tolerated.")
@target_options
@json_lines_option
def retry(
    job_ids: Sequence[str],
    wanted: str | None,
    rate: str | None,
    bad_items: bool,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Start failed or cancelled jobs again.

    Their budgets are fresh; a long job goes on from its last committed slice. With --bad-items a job meets again what
    it tolerated, and nothing else that it has done. Prints the state of each job and its id; with --all, how many.

    \b
      posthorse retry --all 'kind:welcome error:ConnectionError' --rate 10/s
    """
    if _means_all(job_ids, wanted, rate, bad_items):
        return _steer_all(wanted or "", "retried", lambda jobs: jobs.retry(rate=rate), target, url, as_json)

    def again(app: Posthorse, job: str) -> State:
        return app.get_job(job).retry_bad_items() if bad_items else app.get_job(job).retry()

    return _steer(job_ids, "retry", again, target, url, as_json)


@click.command()
@_ids_or_all
@_all
@target_options
@json_lines_option
def discard(job_ids: Sequence[str], wanted: str | None, target: str | None, url: str | None, as_json: bool) -> int:
    """Take dead letters off the list.

    They stay readable, as cancelled, and can still be retried. Prints the state of each job and its id; with --all, how
    many.

    \b
      posthorse discard --all 'kind:welcome older:30d'
    """
    if _means_all(job_ids, wanted):
        return _steer_all(wanted or "", "discarded", lambda jobs: jobs.discard(), target, url, as_json)
    return _steer(job_ids, "discard", lambda app, job: app.get_job(job).discard(), target, url, as_json)


def _means_all(job_ids: Sequence[str], wanted: str | None, rate: str | None = None, bad_items: bool = False) -> bool:
    """Whether jobs are named by a filter. Raises click.UsageError for what does not go together."""
    context = click.get_current_context()
    if (wanted is None) is (not job_ids):
        raise click.UsageError(
            "give the ids of jobs, or --all FILTER (--all state:failed means every dead letter)", context
        )
    if rate is not None and wanted is None:
        raise click.UsageError("--rate is for many jobs; it goes with --all FILTER", context)
    if bad_items and wanted is not None:
        raise click.UsageError("--bad-items takes ids, not --all", context)
    return wanted is not None


def _steer_all(
    wanted: str, done: str, action: Callable[[Jobs], int], target: str | None, url: str | None, as_json: bool
) -> int:
    app = open_store(target, url)
    jobs = app.jobs(wanted)
    count = 0 if is_empty(app) else action(jobs)
    if as_json:
        out_json({done: count})
    else:
        out(f"{count:,} {done}")
    return Exit.OK


def _steer(
    job_ids: Sequence[str],
    verb: str,
    action: Callable[[Posthorse, str], State],
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Asks every job, whatever becomes of the others; ends as the first that could not be asked."""
    app = open_store(target, url)
    code = Exit.OK
    for typed in job_ids:
        try:
            job = find_id(app, typed)
            state = action(app, job)
        except (JobNotFound, NotAllowed, UsageError) as error:
            code = code or exit_of(error)
            complain(str(error))
            if as_json:
                out_json({"id": typed, "state": None, "requested": None, "error": str(error)})
            continue
        requested = verb if state is State.PROCESSING and verb in ("pause", "cancel") else None
        if as_json:
            out_json({"id": job, "state": state.value, "requested": requested, "error": None})
        else:
            out(f"{state.value}  {job}")
            if requested:
                say(f"It runs, and stops at its next checkpoint; wait for that with `posthorse watch {job}`.")
    return code
