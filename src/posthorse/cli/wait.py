"""`posthorse wait`: block a script until jobs are over."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from math import inf

import click

from posthorse.app.client import Posthorse
from posthorse.app.reading import Finished, end_of
from posthorse.app.verbs import drive
from posthorse.cli.exits import Exit, exit_of_states
from posthorse.cli.job_lookup import find_id
from posthorse.cli.screen import clean, out, out_json, say
from posthorse.cli.target import be_patient, json_lines_option, open_store, target_options
from posthorse.cli.why import MAX_EXPLAINED, Explainer
from posthorse.rules.durations import as_timedelta
from posthorse.rules.job import State
from posthorse.views.job import OutcomeView


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
    1 when one failed, 6 when one was cancelled, 124 when time is up. The jobs are not affected. If a job does
    not run, stderr says why after a few seconds.

    \b
      id=$(posthorse enqueue report week=2026-W47)
      posthorse wait "$id" --timeout 10m && send-mail
    """
    limit = TimeLimit(timeout)
    app = open_store(target, url)
    jobs = list(dict.fromkeys(find_id(app, typed) for typed in job_ids))
    return wait_for(app, jobs, limit, target=target, first_only=first_only, as_json=as_json)


class TimeLimit:
    """The time for which a command waits, from now on; for ever without a text. Raises InvalidOption."""

    def __init__(self, text: str | None) -> None:
        self.text = text
        seconds = inf if text is None else as_timedelta(text, name="--timeout").total_seconds()
        self._ends_at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """The seconds that are left; 0 or less when the time is over."""
        return self._ends_at - time.monotonic()


def wait_for(
    app: Posthorse, jobs: Sequence[str], limit: TimeLimit, *, target: str | None, first_only: bool, as_json: bool
) -> Exit:
    """Report jobs as they end, until all or the first are over, or the time is; meanwhile say why they do not run."""
    pending = list(jobs)
    ended: list[State] = []
    explainer = Explainer(app, target)
    ended_now: Collection[str] = pending
    while True:
        found = _finished(app, ended_now)
        be_patient(app)  # from now on, because the store was there
        for finished in found:
            _report(finished, as_json)
            pending.remove(finished.job)
            ended.append(finished.state)
        if not pending or (first_only and ended):
            return exit_of_states(ended)
        if (left := limit.left) <= 0:
            _report_overdue(pending, limit.text)
            for job in pending[:MAX_EXPLAINED]:
                explainer.tell_of(job, is_last_word=True)
            return Exit.TIMED_OUT
        explainer.tell(pending)
        ended_now = app.store.wait_for_end(pending, min(left, explainer.seconds_left))


def _finished(app: Posthorse, jobs: Collection[str]) -> list[Finished]:
    found = [drive(end_of(app, job)) for job in jobs]
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
