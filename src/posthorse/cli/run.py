"""`posthorse run`: run one job here and now, durably, as a line of a crontab does.

1. Store the job, or find the earlier one to continue (`cli/run_choice`). 2. A worker in this process that serves
only this job claims it, out of turn. 3. Follow it until it is over, or until this process is stopped; then it stops at
its next slice and waits for the next call.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TextIO

import click

from posthorse.app.client import Posthorse
from posthorse.app.reading import Finished, end_of
from posthorse.app.verbs import drive
from posthorse.cli.exits import Exit, StartFailed, exit_of_states
from posthorse.cli.job_lookup import JobLook, find_id, look_at
from posthorse.cli.live_display import Bars, LiveDisplay
from posthorse.cli.options import as_using, job_options
from posthorse.cli.run_choice import Neighbour, go_on, start
from posthorse.cli.run_messages import Milestones
from posthorse.cli.screen import can_animate, clean, complain, out_json, say
from posthorse.cli.stop_requests import Stop, stopped_by_signals
from posthorse.cli.target import again, be_patient, json_option, open_application, target_options
from posthorse.cli.wording import amount
from posthorse.rules.job import State, Status
from posthorse.rules.options.checks import checked_span
from posthorse.rules.options.option import OptionPlace
from posthorse.views.job import OutcomeView, UnfinishedView
from posthorse.worker.assembly import level_of_logs
from posthorse.worker.base.evidence import evidence_of
from posthorse.worker.base.process import end_gracefully
from posthorse.worker.claiming.one_job import OneJob
from posthorse.worker.embedded import EmbeddedWorker
from posthorse.worker.running.process_life import STOP_WITHIN

FIRST_PAUSE = 0.01
LAST_WORDS = 0.5
"""Seconds that a thread may need to end after its job."""

MAX_END = 10.0 + STOP_WITHIN
"""Seconds beyond the grace after which this process ends, whatever still runs."""

MAX_REPORT = 3.0
"""Seconds for the report of the job, once the worker has ended."""

MAX_URGENT_END = 1.0
"""Seconds until the end after a second signal, or once it is clear that the store does not respond."""

END_INTERVAL = 0.1
ENDED_WITHOUT_STORE = "Ended without the store, which does not respond; the job continues after its lease."


@click.command()
@click.argument("kind", required=False)
@click.argument("arguments", metavar="[ARGUMENT…] [NAME=VALUE…]", nargs=-1)
@job_options(OptionPlace.RUN)
@click.option("--key", metavar="TEXT", help="The name of the run, in place of kind and arguments.")
@click.option("--new", "is_new", is_flag=True, help="A run of its own, whatever else runs or was interrupted.")
@click.option("--resume", metavar="ID", help="Let this job go on here, whatever it is.")
@click.option("--wait", "waits", is_flag=True, help="When it runs elsewhere already: wait, and take over if need be.")
@click.option("--timeout", metavar="SPAN", help='Stop after this and end with 124; the next call goes on: "90m".')
@click.option("--quiet", is_flag=True, help="Tell nothing but errors, and drop what the job prints.")
@target_options
@json_option
def run(
    kind: str | None,
    arguments: Sequence[str],
    key: str | None,
    is_new: bool,
    resume: str | None,
    waits: bool,
    timeout: str | None,
    quiet: bool,
    target: str | None,
    url: str | None,
    as_json: bool,
    **options: object,
) -> int:
    """Run one job here and now, durably, and print its result.

    This needs no worker, and starts no other job. If the same command is given again, a run that was interrupted, even
    by kill -9, continues from its last committed slice; one that is over starts again; and one that is running is not
    started twice (exit code 4). Errors are retried here, with their backoff.

    Ctrl-C and SIGTERM stop the job at its next slice, a second one stops at once. Arguments are written as for
    `posthorse enqueue`.

    \b
      posthorse run nightly_report
      posthorse run expire_subscriptions 2026-11-30 --timeout 2h
      posthorse run --resume 0123abcd
    """
    ends_at = None if timeout is None else time.monotonic() + checked_span(timeout, name="--timeout")
    _check_usage(kind, resume, key, is_new)
    app = open_application(target, url)
    level = level_of_logs(app.registry, app.settings)
    click.get_current_context().with_resource(_heard(level))
    if quiet:
        click.get_current_context().with_resource(_silence(level))
    if resume is not None:
        job = go_on(app, find_id(app, resume))
    else:
        job = start(app, kind or "", arguments, key, is_new=is_new, options=as_using(options))
    be_patient(app)
    neighbour = None if waits or job.is_new else Neighbour(app, job.id)
    worker = EmbeddedWorker(
        app.store, app.registry, app.settings, queues=(), concurrency=1, only=OneJob(job.id, at_once=True)
    )
    with ExitStack() as whole, ExitStack() as opened:
        stop = opened.enter_context(stopped_by_signals(ends_at))
        follower = _shown(quiet, sys.stderr)
        whole.enter_context(_ended_in_time(stop, worker, follower, app.settings.grace))
        prints = opened.enter_context(open(os.devnull, "w", encoding="utf-8")) if quiet else sys.stderr
        with _start_failure_told(worker, job.id):
            look = _work(app, job.id, worker, follower, stop, neighbour, prints)
        opened.close()
        code = _report(app, look, stop, neighbour, timeout, as_json, tell=(lambda _: None) if quiet else say)
    _leave_at_once_if_stuck(code)
    return code


def _check_usage(kind: str | None, resume: str | None, key: str | None, is_new: bool) -> None:
    wrong = None
    if (kind is None) == (resume is None):
        wrong = "name a kind, or a job with --resume"
    elif resume is not None and (key is not None or is_new):
        wrong = "--resume names the job; --key and --new are for others"
    elif key is not None and is_new:
        wrong = "--key names a run to go on with, and --new is for one of its own; give one of them"
    if wrong is not None:
        raise click.UsageError(wrong, click.get_current_context())


def _shown(quiet: bool, stream: TextIO) -> LiveDisplay:
    if not quiet and can_animate(stream):
        return Bars(stream)
    return Milestones(is_silent=quiet)


@contextmanager
def _heard(level: int) -> Iterator[None]:
    """If the application did not configure logging, let records be made for the logs of jobs.

    They do not reach the screen: without a handler, Python prints warnings and errors alone.
    """
    root, ours, jobs = loggers = [logging.getLogger(name) for name in ("", "posthorse", "posthorse.job")]
    before = [logger.level for logger in loggers]
    if not root.handlers and root.level > level:
        root.setLevel(level)
        if ours.level == logging.NOTSET:
            ours.setLevel(logging.WARNING)
            jobs.setLevel(level)
    try:
        yield
    finally:
        for logger, earlier in zip(loggers, before, strict=True):
            logger.setLevel(earlier)


@contextmanager
def _silence(level: int) -> Iterator[None]:
    """If the application did not configure logging, show only errors of the job's own log.

    Errors that end it are reported in any case.
    """
    if logging.getLogger().handlers or logging.getLogger("posthorse").handlers:
        yield
        return
    jobs, errors = logging.getLogger("posthorse.job"), logging.StreamHandler()
    errors.setLevel(logging.ERROR)
    jobs.addHandler(errors)
    levels = {"posthorse": logging.CRITICAL, "posthorse.job": level}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        jobs.removeHandler(errors)


def _work(
    app: Posthorse,
    job: str,
    worker: EmbeddedWorker,
    follower: LiveDisplay,
    stop: Stop,
    neighbour: Neighbour | None,
    prints: TextIO,
) -> JobLook:
    """Run the job until it is over, until this process must stop, or until another process turns out to run it."""
    pause, is_stopping = FIRST_PAUSE, False
    with follower, redirect_stdout(prints), worker:  # what the job prints is not its result
        while True:
            look = look_at(app, job)
            if not _has_head_start(look.status):
                follower.show([look])
            if look.status.state.is_final:
                return look
            if stop.is_asked or (neighbour is not None and neighbour.is_at_work(look)):
                if not is_stopping and stop.is_asked and look.status.state is State.PROCESSING:
                    follower.tell("Stopping at the next slice; once more to stop at once.")
                is_stopping = True
                worker.stop()
                if worker.has_ended(pause):
                    look = look_at(app, job)
                    follower.show([look])
                    return look
            elif worker.has_ended():
                return look  # leaving the block reports why
            else:
                stop.wait(pause)
            if stop.is_urgent:
                follower.__exit__(None, None, None)
                _end(
                    Exit.INTERRUPTED, "Ended at once; the job continues after its lease, from its last committed slice."
                )
            pause = min(follower.pause, pause * 1.5)


@contextmanager
def _start_failure_told(worker: EmbeddedWorker, job: str) -> Iterator[None]:
    """Raises StartFailed if a function of `on_start` raised within the block."""
    try:
        yield
    except BaseException as error:
        if worker.start_failed_in is None:
            raise
        raise StartFailed(
            f"{worker.start_failed_in}, a function of on_start, raised {evidence_of(error, None)}; so the job did not "
            f"start, and waits. Go on with the same command, or --resume {job}; `posthorse --debug run …` shows the "
            "traceback"
        ) from error


@contextmanager
def _ended_in_time(stop: Stop, worker: EmbeddedWorker, follower: LiveDisplay, grace: float) -> Iterator[None]:
    """Limit how long a store that does not respond can delay the end of this process within the block."""
    has_ended = threading.Event()

    def end_in_time() -> None:
        stop.wait_until_asked()
        worker.stop()  # the main thread may wait for the store
        deadline = time.monotonic() + grace + MAX_END
        while not has_ended.wait(END_INTERVAL):
            now = time.monotonic()
            if worker.has_ended():
                deadline = min(deadline, now + (MAX_URGENT_END if worker.is_unanswered else MAX_REPORT))
            if stop.is_urgent:
                deadline = min(deadline, now + MAX_URGENT_END)
            if now >= deadline:
                follower.__exit__(None, None, None)
                code = Exit.TIMED_OUT if stop.is_timed_out else Exit.INTERRUPTED
                if stop.is_urgent:
                    _end(code, ENDED_WITHOUT_STORE)
                say(ENDED_WITHOUT_STORE)
                end_gracefully(code)

    threading.Thread(target=end_in_time, name="posthorse-end", daemon=True).start()
    try:
        yield
    finally:
        has_ended.set()


def _has_head_start(status: Status) -> bool:
    """Return whether the job is so new that only this process may claim it: then there is nothing to report."""
    return status.state is State.SCHEDULED and status.started_at is None


def _report(
    app: Posthorse,
    look: JobLook,
    stop: Stop,
    neighbour: Neighbour | None,
    timeout: str | None,
    as_json: bool,
    *,
    tell: Callable[[str], None],
) -> Exit:
    """Print data on stdout and messages on stderr; return the exit code."""
    status = look.status
    finished = drive(end_of(app, status.id))
    if finished is not None:
        _report_end(finished, as_json, tell)
        return exit_of_states([finished.state])
    if as_json:
        out_json(UnfinishedView.of(status))
    if neighbour is not None and neighbour.has_shown_life:
        complain(
            f"job {status.id} runs already, in {neighbour.name}, so it was not started again; follow it with "
            f"`{again(f'posthorse watch {status.id}')}`, or give --wait or --new"
        )
        return Exit.CONFLICT
    if status.state is State.PROCESSING:
        tell(f"Job {status.id} goes on in worker {clean(status.worker or 'unknown')}.")
    else:
        after = f" after {timeout}" if stop.is_timed_out else ""
        place = f" at {amount(status.progress)}" if status.progress.done else ""
        tell(f"Stopped{after}{place}. The job is {status.state.value}.")
        tell(f"Go on with the same command, or --resume {status.id}")
    return Exit.TIMED_OUT if stop.is_timed_out else Exit.INTERRUPTED


def _report_end(finished: Finished, as_json: bool, tell: Callable[[str], None]) -> None:
    shown = OutcomeView.of(finished)
    if as_json:
        out_json(shown)
    elif finished.state is State.COMPLETED and finished.result not in (None, "null"):
        out_json(shown.result)
    if finished.state is State.FAILED:
        complain(f"job {finished.job} {finished.reason}: {finished.error}")
        show, resume = (again(f"posthorse {verb} {finished.job}") for verb in ("show", "run --resume"))
        tell(f"See `{show}`; `{resume}` tries on where it stands.")
    elif finished.state is State.CANCELLED:
        complain(f"job {finished.job} was cancelled")


def _leave_at_once_if_stuck(code: int) -> None:
    """End the process although a job ignores the stop; whatever it still does has no effect."""
    for thread in threading.enumerate():
        if thread.name.startswith("posthorse-job"):
            thread.join(LAST_WORDS)
            if thread.is_alive():
                say("Its code does not stop; what it still did counts for nothing.")
                end_gracefully(code)


def _end(code: int, words: str) -> None:
    say(words)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
