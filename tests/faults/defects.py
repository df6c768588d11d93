"""Defects that tests plant, to see that the checker finds them. Only this module knows them; Posthorse does not.

no-fence              writes of a superseded attempt are accepted, as long as some runner holds the job
early-acknowledgement `enqueue` returns before its commit
cursor-first          a slice's cursor is saved before its effect
no-renewal            heartbeats do not renew the lease, and all processes believe that they do
no-key                a key is not looked up
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from posthorse.app import submitting
from posthorse.app.client import Posthorse
from posthorse.app.job import Job
from posthorse.app.verbs import Verb
from posthorse.rules.job import NewJob
from posthorse.store import queries
from posthorse.store.admission import Admission
from posthorse.store.base import QuerySteps
from posthorse.store.operations import submit
from posthorse.store.sqlite import statements
from posthorse.worker.checkpoints.batch import Batch
from posthorse.worker.checkpoints.slices import Slices
from posthorse.worker.running.running_job import RunningJob

DEFECT = "FAULTS_DEFECT"
"""The environment variable that names one; without the prefix POSTHORSE_, which is for settings."""

LATE = 0.3
"""Seconds by which an early acknowledgement is early."""


def plant(name: str | None) -> None:
    """Plant one defect in this process, or none."""
    if name is not None:
        _DEFECTS[name]()
        # Runners import their store before the application, so they hold the blocks from before the change.
        statements._queries = queries.Queries(statements.DIALECT)


def _no_fence() -> None:
    for file in ("shared", "sqlite", "postgres"):
        blocks = queries.shipped_blocks(file)
        for block in ("checkpoint", "complete", "end_leases"):
            if block in blocks:
                blocks[block] = _without(
                    blocks[block],
                    " AND epoch = :epoch::int AND runner = :runner",
                    " AND epoch = :epoch AND runner = :runner",
                    " AND l.epoch = :epoch AND l.runner = :runner",
                    " AND l.epoch = r.epoch AND l.runner = :runner",
                    " AND epoch = r.epoch AND runner = :runner",
                )
    # An attempt that learns that its lease is lost stops by itself; the fence is for those that have not learned it
    # yet.
    RunningJob.lose = lambda self: None  # type: ignore[method-assign]  # on purpose


def _early_acknowledgement() -> None:
    def enqueue(app: Posthorse, wanted: submitting.Submission) -> Verb[list[Job[object]]]:
        yield from ()

        def later() -> None:
            time.sleep(LATE)
            lanes = app.store.lanes({job.lane for job in wanted.jobs})
            app.store.run(submit.enqueue(wanted.jobs, lanes))

        threading.Thread(target=later, daemon=True).start()
        return [Job(app, job.id, True) for job in wanted.jobs]

    assert hasattr(submitting, "_enqueue"), "jobs are submitted somewhere else now"
    vars(submitting)["_enqueue"] = enqueue
    Admission.lets_in = lambda self, queue: False  # type: ignore[method-assign]  # so that none goes at once


def _cursor_first() -> None:
    def iterate(self: Slices[Any]) -> Iterator[Batch[Any]]:
        for batch in real(self):
            batch.commit()
            yield batch

    real = Slices.__iter__
    Slices.__iter__ = iterate  # type: ignore[method-assign]  # on purpose


def _no_renewal() -> None:
    _replace("shared", "beat", "expires_at = :lease_now + :lease", "expires_at = expires_at + 0 * :lease")


def _no_key() -> None:
    def take_keys(jobs: Sequence[NewJob]) -> QuerySteps[dict[str, str]]:
        yield from ()
        return {}

    assert hasattr(submit, "take_keys"), "keys are looked up somewhere else now"
    vars(submit)["take_keys"] = take_keys


def _replace(file: str, block: str, what: str, by: str) -> None:
    blocks = queries.shipped_blocks(file)
    assert what in blocks[block], f"{block} of {file} does not say {what!r} any more"
    blocks[block] = blocks[block].replace(what, by)


def _without(text: str, *parts: str) -> str:
    assert any(part in text for part in parts), f"no fence in {text}"
    for part in parts:
        text = text.replace(part, "")
    return text


_DEFECTS: dict[str, Callable[[], None]] = {
    "no-fence": _no_fence,
    "early-acknowledgement": _early_acknowledgement,
    "cursor-first": _cursor_first,
    "no-renewal": _no_renewal,
    "no-key": _no_key,
}
