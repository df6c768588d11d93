"""`posthorse pause`, `resume`, `cancel`, `retry` and `discard`: requests for jobs, by id or by filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict, TypeVar, Unpack

import click

from posthorse.app.client import Posthorse
from posthorse.app.jobs import affected, steer
from posthorse.cli.exits import Exit
from posthorse.cli.job_lookup import for_each_job
from posthorse.cli.screen import clean, out, out_json, say
from posthorse.cli.target import again, is_empty, json_lines_option, open_store, target_options
from posthorse.rules.job import State
from posthorse.rules.limits import as_rate
from posthorse.rules.requests import Request
from posthorse.rules.search.aims import aims
from posthorse.rules.search.text import parse_filter
from posthorse.store.operations.bulk import Steered

F = TypeVar("F", bound=Callable[..., object])

DONE: dict[Request, str] = {
    "pause": "paused",
    "resume": "resumed",
    "cancel": "cancelled",
    "retry": "retried",
    "discard": "discarded",
}


class SelectedJobs(TypedDict):
    """Which jobs are selected, by their ids or by a filter, in which store, and how the result looks."""

    job_ids: Sequence[str]
    wanted: str | None
    is_dry: bool
    target: str | None
    url: str | None
    as_json: bool


def choosing(command: F) -> F:
    """Give a command ids or `--all FILTER`, and the options of every command."""
    for option in (
        target_options,
        json_lines_option,
        click.option("--dry-run", "is_dry", is_flag=True, help="With --all: count the jobs and change nothing."),
        click.option("--all", "wanted", metavar="FILTER", help="All jobs that fit, such as 'kind:welcome older:7d'."),
        click.argument("job_ids", metavar="[ID…]", nargs=-1),
    ):
        command = option(command)
    return command


_force = click.option(
    "--force",
    is_flag=True,
    help="Do not wait for the job's code: from now on, what it still does counts for nothing.",
)


@click.command()
@choosing
@_force
def pause(force: bool, **chosen: Unpack[SelectedJobs]) -> int:
    """Stop jobs so that they can continue later.

    A waiting job is paused at once. A running one stops at its next slice or checkpoint; `posthorse show`
    shows when it has. Prints the state of each job and its id; with --all, how many.

    \b
      posthorse pause --all 'kind:resize state:pending'
    """
    if _means_all(chosen, force=force):
        return _steer_all(chosen, "pause")
    return _steer(chosen, "pause", lambda app, job: app.get_job(job).pause(force=force))


@click.command()
@choosing
def resume(**chosen: Unpack[SelectedJobs]) -> int:
    """Resume paused jobs.

    A long job continues from its last committed slice. Prints the state of each job and its id; with --all, how many.

    \b
      posthorse resume --all kind:resize
    """
    if _means_all(chosen):
        return _steer_all(chosen, "resume")
    return _steer(chosen, "resume", lambda app, job: app.get_job(job).resume())


@click.command()
@choosing
@_force
def cancel(force: bool, **chosen: Unpack[SelectedJobs]) -> int:
    """End jobs for good.

    A waiting job is cancelled at once. A running one ends at its next checkpoint, an async one at its next
    await. Only `posthorse retry` brings a cancelled job back. Prints the state of each job and its id; with --all,
    how many.

    \b
      posthorse cancel --all 'kind:welcome tag:november' --dry-run
    """
    if _means_all(chosen, force=force):
        return _steer_all(chosen, "cancel")
    return _steer(chosen, "cancel", lambda app, job: app.get_job(job).cancel(force=force))


@click.command()
@choosing
@click.option("--rate", metavar="RATE", help="With --all, let so many start in a time: 10/s, 500/15m.")
@click.option("--bad-items", is_flag=True, help="Run completed or failed jobs over the bad items that they tolerated.")
def retry(rate: str | None, bad_items: bool, **chosen: Unpack[SelectedJobs]) -> int:
    """Start failed or cancelled jobs again.

    Their budgets are reset; a long job continues from its last committed slice. With --bad-items a job runs only for
    the items that it tolerated. Prints the state of each job and its id; with --all, how many.

    \b
      posthorse retry --all 'kind:welcome error:ConnectionError' --rate 10/s
    """
    if _means_all(chosen, rate=rate, bad_items=bad_items):
        return _steer_all(chosen, "retry", rate=rate)

    def again(app: Posthorse, job: str) -> State:
        return app.get_job(job).retry_bad_items() if bad_items else app.get_job(job).retry()

    return _steer(chosen, "retry", again)


@click.command()
@choosing
def discard(**chosen: Unpack[SelectedJobs]) -> int:
    """Remove dead letters from the list.

    They stay readable, as cancelled, and can still be retried. Prints the state of each job and its id; with --all, how
    many.

    \b
      posthorse discard --all 'kind:welcome older:30d'
    """
    if _means_all(chosen):
        return _steer_all(chosen, "discard")
    return _steer(chosen, "discard", lambda app, job: app.get_job(job).discard())


def _means_all(chosen: SelectedJobs, *, force: bool = False, rate: str | None = None, bad_items: bool = False) -> bool:
    """Return whether a filter selects the jobs. Raises click.UsageError for options that exclude each other."""
    context = click.get_current_context()
    wanted = chosen["wanted"]
    if (wanted is None) is (not chosen["job_ids"]):
        example = "failed means every dead letter" if context.info_name in ("retry", "discard") else "pending"
        raise click.UsageError(f"give the ids of jobs, or --all FILTER (such as --all state:{example})", context)
    if wanted is None and (chosen["is_dry"] or rate is not None):
        option = "--dry-run" if chosen["is_dry"] else "--rate"
        raise click.UsageError(f"{option} is for many jobs; it goes with --all FILTER", context)
    if wanted is not None and (bad_items or force):
        raise click.UsageError(f"{'--bad-items' if bad_items else '--force'} takes ids, not --all", context)
    return wanted is not None


def _steer_all(chosen: SelectedJobs, verb: Request, *, rate: str | None = None) -> int:
    wanted = parse_filter(chosen["wanted"] or "")
    aims(wanted, verb)  # refuses invalid filters even if there is no store yet
    if rate is not None:
        as_rate(rate)
    app = open_store(chosen["target"], chosen["url"])
    jobs = app.jobs(chosen["wanted"] or "")
    done = DONE[verb]
    if chosen["is_dry"]:
        count = 0 if is_empty(app) else affected(jobs, verb)
        if chosen["as_json"]:
            out_json({done: 0, f"would_be_{done}": count})
        else:
            out(f"{count:,} would be {done}")
        return Exit.OK
    steered = Steered(0, 0) if is_empty(app) else steer(jobs, verb, rate=rate)
    if chosen["as_json"]:
        out_json({done: steered.done, **({"running": steered.running} if verb in ("pause", "cancel") else {})})
        return Exit.OK
    out(f"{steered.done:,} {done}")
    if steered.running:
        stop = "runs, and stops at its" if steered.running == 1 else "run, and stop at their"
        say(f"{steered.running:,} of them {stop} next checkpoint.")
    return Exit.OK


def _steer(chosen: SelectedJobs, verb: Request, action: Callable[[Posthorse, str], State]) -> int:
    app, as_json = open_store(chosen["target"], chosen["url"]), chosen["as_json"]

    def request(job: str) -> None:
        state = action(app, job)
        requested = verb if state is State.PROCESSING and verb in ("pause", "cancel") else None
        if as_json:
            out_json({"id": job, "state": state.value, "requested": requested, "error": None})
            return
        out(f"{state.value}  {job}")
        if requested:
            command = again(f"posthorse watch {clean(job)}")
            say(f"It runs, and stops at its next checkpoint; wait for that with `{command}`.")

    return for_each_job(app, chosen["job_ids"], request, failed={"state": None, "requested": None} if as_json else None)
