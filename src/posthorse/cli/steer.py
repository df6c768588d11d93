"""`posthorse pause`, `resume`, `cancel` and `retry`: what may be asked of jobs, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from posthorse.app.client import Posthorse
from posthorse.cli.exits import Exit, exit_of
from posthorse.cli.lookup import find_id
from posthorse.cli.screen import complain, out, out_json, say
from posthorse.cli.target import json_lines_option, open_store, target_options
from posthorse.errors import JobNotFound, NotAllowed, UsageError
from posthorse.rules.job import State

_ids = click.argument("job_ids", metavar="ID…", nargs=-1, required=True)
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
@_ids
@click.option("--bad-items", is_flag=True, help="Run completed or failed jobs over the bad items that they tolerated.")
@target_options
@json_lines_option
def retry(job_ids: Sequence[str], bad_items: bool, target: str | None, url: str | None, as_json: bool) -> int:
    """Start failed or cancelled jobs again.

    Their budgets are fresh; a long job goes on from its last committed slice. With --bad-items a job meets again what
    it tolerated, and nothing else that it has done. Prints the state of each job and its id.

    \b
      posthorse jobs --state failed --json | jq -r '.[].id' | xargs posthorse retry
    """

    def again(app: Posthorse, job: str) -> State:
        return app.get_job(job).retry_bad_items() if bad_items else app.get_job(job).retry()

    return _steer(job_ids, "retry", again, target, url, as_json)


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
