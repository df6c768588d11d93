"""Submit jobs that were made: through middleware and the admission of their queues, in one commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from posthorse.app.client_base import ClientBase
from posthorse.app.enqueue_one import IN_WORDS
from posthorse.app.job import Job
from posthorse.app.queues import Patience
from posthorse.app.verbs import Verb, adrive, commit, drive, sleep, step
from posthorse.errors import QueueFull
from posthorse.rules.events import Submitted, SubmittedJob
from posthorse.rules.job import Lane, NewJob
from posthorse.rules.joins import Edge
from posthorse.store.admission import AdmissionTerms
from posthorse.store.base import Operation
from posthorse.store.blocking import warn_in_loop
from posthorse.store.connections import UserConnection
from posthorse.store.operations.submit import SubmitResult, enqueue
from posthorse.telemetry.tracing import is_traced

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.worker.checkpoints.children import Adding, StoreFamily


class Submission(NamedTuple):
    """Jobs to store, all or none.

    connection: that of the transaction which they become part of. block: tells the seconds to wait for room.
    edges: which of them need an end of another job. parents: those that have no code, and end with their children.
    store: makes the operation that stores them, if they are children of a running job, which enter however full their
    queues are.
    """

    jobs: Sequence[NewJob]
    connection: UserConnection | None = None
    block: Callable[[], float] = float
    edges: Sequence[Edge] = ()
    parents: frozenset[str] = frozenset()
    store: StoreFamily | None = None

    @property
    def is_family(self) -> bool:
        """Whether one of them waits for others, or is a child."""
        return bool(self.edges or self.parents or self.store)


def submit(app: Posthorse, wanted: Submission) -> list[Job[object]]:
    """Store jobs, and return their handles in the same order."""
    if wanted.connection is None:
        warn_in_loop(app.store, *IN_WORDS)
        return drive(_enqueue(app, wanted))
    if (postponed := _postponed(app, wanted, wanted.connection)) is not None:
        return postponed
    with app.store.joining(wanted.connection):
        return drive(_enqueue(app, wanted))


async def asubmit(app: Posthorse, wanted: Submission) -> list[Job[object]]:
    """Store jobs without blocking the event loop; see `submit`. The connection may be sync or async."""
    if wanted.connection is None:
        return await adrive(_enqueue(app, wanted))
    if (postponed := _postponed(app, wanted, wanted.connection)) is not None:
        return postponed
    async with app.store.ajoining(wanted.connection):
        return await adrive(_enqueue(app, wanted))


class AddsChildren(ClientBase):
    """An application: running jobs add children through it. This is not for users, who call `ctx.add`."""

    def _store_children(self, calls: Sequence[object], adding: Adding) -> None:
        """Store calls as children of a running job; see `worker/checkpoints/children`. Raises InvalidOption."""
        from posthorse.app.children import submission_of_children  # here, because few jobs add children

        drive(_enqueue(self._app, submission_of_children(self._app, calls, adding)))

    async def _astore_children(self, calls: Sequence[object], adding: Adding) -> None:
        """Do the same as `_store_children`, in a coroutine."""
        from posthorse.app.children import submission_of_children

        await adrive(_enqueue(self._app, submission_of_children(self._app, calls, adding)))


def _postponed(app: Posthorse, wanted: Submission, connection: UserConnection) -> list[Job[object]] | None:
    """Return the handles of jobs that a testing kit stores after the commit of the user; None if it does not."""
    if app.interception is None:
        return None

    def store() -> object:
        return drive(_enqueue(app, wanted))

    if not app.interception.postpones(connection, store):
        return None
    return [Job(app, job.id, True) for job in wanted.jobs]


def _enqueue(app: Posthorse, wanted: Submission) -> Verb[list[Job[object]]]:
    storing = _stored(app, wanted)
    return storing if app.interception is None else _intercepted(app, storing)


def _intercepted(app: Posthorse, storing: Verb[list[Job[object]]]) -> Verb[list[Job[object]]]:
    jobs = yield from storing
    if app.interception is not None:
        yield from app.interception.after_enqueue()
    return jobs


def _stored(app: Posthorse, wanted: Submission) -> Verb[list[Job[object]]]:
    jobs = wanted.jobs
    if not jobs or not is_traced():
        return _enqueue_around(app, wanted, jobs)
    from posthorse.telemetry.spans import sending  # here, because it needs OpenTelemetry

    return sending(jobs, lambda jobs: _enqueue_around(app, wanted, jobs))


def _enqueue_around(app: Posthorse, wanted: Submission, jobs: Sequence[NewJob]) -> Verb[list[Job[object]]]:
    around = app.registry.middleware.around_enqueue
    if not around or not jobs:
        return _submit(app, wanted, jobs)
    from posthorse.app.enqueue_middleware import enqueue_around  # here, because few applications have middleware

    return enqueue_around(around, jobs, lambda jobs: _submit(app, wanted, jobs))


def _submit(app: Posthorse, wanted: Submission, jobs: Sequence[NewJob]) -> Verb[list[Job[object]]]:
    if not jobs:
        return []
    patience = None
    while True:
        jobs, _, _ = terms = yield from step(app.gate.terms, app.gate.aterms, jobs)
        if wanted.store is None:
            terms.raise_if_closed()
        lanes = yield from step(app.store.lanes, app.store.alanes, {job.lane for job in jobs})
        try:
            made = yield from commit(app, _operation(app, wanted, terms, lanes))
        except QueueFull as full:
            # Inside a transaction, changes by other processes would neither make room nor be visible.
            patience = patience or Patience(0 if app.store.is_in_transaction else wanted.block())
            yield from sleep(patience.pause(full))
        else:
            if app.store.emitter.submitted:
                _tell(app, jobs, made)
            return [Job(app, one.id, one.created) for one in made]


def _operation(
    app: Posthorse, wanted: Submission, terms: AdmissionTerms, lanes: Mapping[Lane, int]
) -> Operation[list[SubmitResult]]:
    jobs, gauges, closed = terms
    packing, told = app.registry.packing, app.store.watched.submitted
    if not wanted.is_family:
        return enqueue(jobs, lanes, gauges=gauges, closed=closed, packing=packing, told=told)
    # Here, because few jobs wait for others.
    from posthorse.store.operations.families import NewFamily, submit_family
    from posthorse.store.operations.submit import EntryTerms

    family = NewFamily(jobs, wanted.edges, wanted.parents)
    if wanted.store is not None:
        return wanted.store(family, EntryTerms(lanes, packing=packing, told=told))
    return submit_family(family, EntryTerms(lanes, gauges, closed, packing, told))


def _tell(app: Posthorse, jobs: Sequence[NewJob], submitted: Sequence[SubmitResult]) -> None:
    created = [
        SubmittedJob(job=job.id, kind=job.lane.kind, queue=job.lane.queue, tenant=job.tenant)
        for job, (_, is_created) in zip(jobs, submitted, strict=True)
        if is_created
    ]
    if created:
        app.store.emit_once_committed(Submitted(jobs=created))
