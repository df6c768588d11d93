"""Choose the job of a `posthorse run`: a new one, or an earlier one to continue.

A run has a key, made of its kind and arguments or given by name. While the job of that key is not over, it is the run,
however often the command is given; then the key passes on to the next job. So calls of cron never overlap, and an
interrupted run continues.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

from posthorse import ids
from posthorse.app.call import Call
from posthorse.app.client import Posthorse
from posthorse.app.kind import Kind
from posthorse.cli.job_lookup import JobLook, look_at
from posthorse.cli.screen import clean
from posthorse.cli.target import again
from posthorse.cli.typed_arguments import read_words
from posthorse.errors import InvalidTransition
from posthorse.rules.job import NewJob, State, Status
from posthorse.rules.keys import as_key
from posthorse.rules.unique import fingerprint
from posthorse.store.operations import read
from posthorse.store.operations.runs import enqueue_anew
from posthorse.store.operations.submit import enqueue

HEAD_START = 2_000_000
"""Microseconds for which a new job waits for this process before others may claim it."""


class RunChoice(NamedTuple):
    """The job to run here, and whether it was made for this run."""

    id: str
    is_new: bool


def start(
    app: Posthorse,
    kind: str,
    words: Sequence[str],
    key: str | None,
    *,
    is_new: bool,
    options: Mapping[str, object],
) -> RunChoice:
    """Return a new job, or the one under the same key that is not over.

    Raises KeyConflict, InvalidTransition for a paused job, and errors of the arguments.
    """
    registered = app.registry[kind]
    chosen = cast("Kind[..., object]", Kind(app, registered)).using(**options)  # type: ignore[arg-type]  # checked there
    arguments = read_words(registered, words)
    bound = chosen.bind(*arguments.by_position, **arguments.by_name)
    if not is_new:
        name = as_key(key).text if key is not None else _digest(bound)
        bound = chosen.using(key=f"run {name}").bind(*arguments.by_position, **arguments.by_name)
    run = _stored(app, msgspec.structs.replace(bound.template, id=ids.new_id(), delay=HEAD_START))
    if not run.is_new:
        status = look_at(app, run.id).status
        _check_can_run(app, status)
        if status.state is State.PAUSED:
            command = again(f"posthorse run --resume {run.id}")
            raise InvalidTransition(f"job {run.id} is paused; `{command}` lets it go on here")
    return run


def go_on(app: Posthorse, job: str) -> RunChoice:
    """Prepare an earlier job to run: resume it, or retry it if it failed or was cancelled.

    Raises InvalidTransition for a completed job, JobNotFound.
    """
    status = look_at(app, job).status
    _check_can_run(app, status)
    if status.state is State.PAUSED or status.requested == "pause":
        app.get_job(job).resume()
    elif status.state is State.COMPLETED:
        raise InvalidTransition(f"job {job} is completed: nothing is left of it to run")
    elif status.state.is_final:
        app.get_job(job).retry()
    return RunChoice(job, is_new=False)


class Neighbour:
    """The process that already runs the job: alive, as a heartbeat shows, or dead, until its lease ends."""

    def __init__(self, app: Posthorse, job: str) -> None:
        self._app = app
        self._job = job
        self._first: tuple[str, int, object] | None = None
        self._is_ours = False
        self.name = ""
        self.has_shown_life = False

    def is_at_work(self, look: JobLook) -> bool:
        """Return whether another process is known to run the job; once this process had it, there is no search."""
        if self._is_ours or self.has_shown_life or look.status.state is not State.PROCESSING:
            return self.has_shown_life
        holder = self._app.store.read(read.holder(self._job))
        if holder is None:
            return False
        if (holder.host, holder.pid) == (socket.gethostname(), os.getpid()):
            self._is_ours = True
            return False
        self.name = f"process {holder.pid} of {clean(holder.host)}"
        sign = (holder.worker, holder.beat_at, look.status.progress.done)
        self._first = self._first or sign
        self.has_shown_life = sign != self._first
        return self.has_shown_life


def _stored(app: Posthorse, job: NewJob) -> RunChoice:
    [job], _, closed = terms = app.gate.terms([job])  # its queue's depth does not matter, because the job runs here
    terms.raise_if_closed()
    lanes = app.store.lanes({job.lane})
    if job.key is None:
        [submitted] = app.store.run(
            enqueue([job], lanes, closed=closed, packing=app.registry.packing, told=app.store.watched.submitted)
        )
    else:
        submitted = app.store.run(
            enqueue_anew(job, lanes, closed=closed, packing=app.registry.packing, told=app.store.watched.submitted)
        )
    return RunChoice(submitted.id, submitted.created)


def _digest(call: Call[object]) -> str:
    return fingerprint(call.template.arguments)


def _check_can_run(app: Posthorse, status: Status) -> None:
    _ = app.registry[status.kind]  # raises UnknownKind, which names the nearest
