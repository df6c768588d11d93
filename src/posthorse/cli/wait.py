"""`posthorse wait`: block a script until jobs are over."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from posthorse.app.client import Posthorse
from posthorse.app.reading import Finished, outcome_of
from posthorse.app.verbs import drive
from posthorse.cli.exits import Exit, exit_of_states
from posthorse.cli.lookup import find_id
from posthorse.cli.screen import clean, out, out_json, say
from posthorse.cli.target import be_patient, json_lines_option, open_store, target_options
from posthorse.rules.durations import as_timedelta
from posthorse.rules.job import State
from posthorse.views.job import OutcomeView

FIRST_PAUSE, MAX_PAUSE = 0.01, 0.25


@click.command()
@click.argument("job_ids", metavar="ID…", nargs=-1, required=True)
@click.option("--timeout", metavar="SPAN", help='Give up after this and end with 124: "30s", "10m".')
@click.option("--any", "first_only", is_flag=True, help="Until the first is over, not all.")
@target_options
@json_lines_option
def wait(
    job_ids: Sequence[str], timeout: str | None, first_only: bool, target: str | None, url: str | None, as_json: bool
) -> int:
    """Wait until jobs are over.

    Prints the state and the id of each as it ends; with --json its result too. Ends with 0 when all completed,
    1 when one failed, 6 when one was cancelled, 124 when time is up. The jobs are not affected.

    \b
      id=$(posthorse enqueue report week=2026-W47)
      posthorse wait "$id" --timeout 10m && send-mail
    """
    seconds = None if timeout is None else as_timedelta(timeout, name="--timeout").total_seconds()
    deadline = None if seconds is None else time.monotonic() + seconds
    app = open_store(target, url)
    pending = list(dict.fromkeys(find_id(app, typed) for typed in job_ids))
    ended: list[State] = []
    pause = FIRST_PAUSE
    while True:
        found = _finished(app, pending)
        be_patient(app)  # from now on, because the store was there
        for finished in found:
            _report(finished, as_json)
            pending.remove(finished.job)
            ended.append(finished.state)
        if not pending or (first_only and ended):
            return exit_of_states(ended)
        left = MAX_PAUSE if deadline is None else deadline - time.monotonic()
        if left <= 0:
            _report_overdue(pending, timeout)
            return Exit.TIMED_OUT
        time.sleep(min(pause, left))
        pause = min(MAX_PAUSE, pause * 1.3)


def _finished(app: Posthorse, pending: Sequence[str]) -> list[Finished]:
    found = [drive(outcome_of(app, job)) for job in pending]
    return [finished for finished in found if finished is not None]


def _report(finished: Finished, as_json: bool) -> None:
    if as_json:
        out_json(OutcomeView.of(finished))
        return
    out(f"{finished.state.value}  {finished.job}")
    if finished.state is State.FAILED and finished.error is not None:
        say(clean(str(finished.error)))


def _report_overdue(pending: Sequence[str], timeout: str | None) -> None:
    jobs = f"job {pending[0]} was" if len(pending) == 1 else f"{len(pending)} jobs were"
    say(
        f"After {timeout}, {jobs} not over; it goes on."
        if len(pending) == 1
        else f"After {timeout}, {jobs} not over; they go on."
    )
