"""Enqueue many calls in one commit, through middleware and the admission of their queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from posthorse import ids
from posthorse.app.enqueue_one import IN_WORDS
from posthorse.app.job import Job
from posthorse.app.kind import Call
from posthorse.app.parts import Parts
from posthorse.app.queues import Patience
from posthorse.app.verbs import Verb, adrive, commit, drive, sleep, step
from posthorse.errors import InvalidOption, QueueFull
from posthorse.rules.events import Submitted, SubmittedJob
from posthorse.rules.job import NewJob
from posthorse.rules.values.type_mismatch import short
from posthorse.store.blocking import warn_in_loop
from posthorse.store.connections import UserConnection
from posthorse.store.operations.submit import SubmitResult, enqueue
from posthorse.telemetry.tracing import is_traced

R = TypeVar("R")


class EnqueuesMany(Parts):
    """An application: calls on its kinds are enqueued through it."""

    def enqueue_many(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """Store many jobs in one commit, all or none, and return their handles in the same order::

            app.enqueue_many([welcome.bind(user_id) for user_id in new_users])

        The jobs are durable when this returns. Calls made with `using(connection=…)` become part of that connection's
        transaction; all of them must then have the same one. Raises the errors of `Kind.enqueue`, but InvalidArgument
        and TooLarge are raised earlier, by `bind`.
        """
        connection = _connection_of(calls)
        if connection is None:
            warn_in_loop(self.store, *IN_WORDS)
            return drive(self._enqueue(calls))
        if (postponed := self._postponed(calls, connection)) is not None:
            return postponed
        with self.store.joining(connection):
            return drive(self._enqueue(calls))

    async def aenqueue_many(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """Store many jobs without blocking the event loop; see `enqueue_many`. The connection may be sync or async."""
        connection = _connection_of(calls)
        if connection is None:
            return await adrive(self._enqueue(calls))
        if (postponed := self._postponed(calls, connection)) is not None:
            return postponed
        async with self.store.ajoining(connection):
            return await adrive(self._enqueue(calls))

    def _postponed(self, calls: Sequence[Call[R]], connection: UserConnection) -> list[Job[R]] | None:
        """Return the handles of jobs that a testing kit stores after the commit of the user; None if it does not."""
        if self.interception is None:
            return None
        jobs = self._new_jobs(calls)

        def store() -> object:
            return drive(self._intercepted(self._stored(calls, jobs)))

        if not self.interception.postpones(connection, store):
            return None
        return [Job(self._app, job.id, True) for job in jobs]

    def _enqueue(self, calls: Sequence[Call[R]]) -> Verb[list[Job[R]]]:
        storing = self._stored(calls, self._new_jobs(calls))
        return storing if self.interception is None else self._intercepted(storing)

    def _intercepted(self, storing: Verb[list[Job[R]]]) -> Verb[list[Job[R]]]:
        jobs = yield from storing
        if self.interception is not None:
            yield from self.interception.after_enqueue()
        return jobs

    def _stored(self, calls: Sequence[Call[R]], jobs: Sequence[NewJob]) -> Verb[list[Job[R]]]:
        if not jobs or not is_traced():
            return self._enqueue_around(calls, jobs)
        from posthorse.telemetry.spans import sending  # here, because it needs OpenTelemetry

        return sending(jobs, lambda jobs: self._enqueue_around(calls, jobs))

    def _enqueue_around(self, calls: Sequence[Call[R]], jobs: Sequence[NewJob]) -> Verb[list[Job[R]]]:
        around = self.registry.middleware.around_enqueue
        if not around or not jobs:
            return self._submit(calls, jobs)
        from posthorse.app.enqueue_middleware import enqueue_around  # here, because few applications have middleware

        return enqueue_around(around, jobs, lambda jobs: self._submit(calls, jobs))

    def _submit(self, calls: Sequence[Call[R]], jobs: Sequence[NewJob]) -> Verb[list[Job[R]]]:
        if not jobs:
            return []
        patience = None
        while True:
            jobs, gauges, closed = terms = yield from step(self.gate.terms, self.gate.aterms, jobs)
            terms.raise_if_closed()
            lanes = yield from step(self.store.lanes, self.store.alanes, {job.lane for job in jobs})
            try:
                made = yield from commit(
                    self._app,
                    enqueue(
                        jobs,
                        lanes,
                        gauges=gauges,
                        closed=closed,
                        packing=self.registry.packing,
                        told=self.store.watched.submitted,
                    ),
                )
            except QueueFull as full:
                patience = patience or self._patience(calls)
                yield from sleep(patience.pause(full))
            else:
                if self.store.emitter.submitted:
                    self._tell(jobs, made)
                return self._handles(calls, made)

    def _patience(self, calls: Sequence[Call[R]]) -> Patience:
        # Inside a transaction, changes by other processes would neither make room nor be visible.
        return Patience(0 if self.store.is_in_transaction else max(call.block for call in calls))

    def _new_jobs(self, calls: Sequence[Call[R]]) -> Sequence[NewJob]:
        for call in calls:
            if call.app is not self._app:
                raise InvalidOption(f"{call.template.lane.kind!r} belongs to another application")
        fresh = ids.new_ids(len(calls))
        return [msgspec.structs.replace(call.template, id=job_id) for call, job_id in zip(calls, fresh, strict=True)]

    def _handles(self, calls: Sequence[Call[R]], submitted: Sequence[SubmitResult]) -> list[Job[R]]:
        return [Job(self._app, one.id, one.created) for _, one in zip(calls, submitted, strict=True)]

    def _tell(self, jobs: Sequence[NewJob], submitted: Sequence[SubmitResult]) -> None:
        created = [
            SubmittedJob(job=job.id, kind=job.lane.kind, queue=job.lane.queue, tenant=job.tenant)
            for job, (_, is_created) in zip(jobs, submitted, strict=True)
            if is_created
        ]
        if created:
            self.store.emit_once_committed(Submitted(jobs=created))


def _connection_of(calls: Sequence[Call[R]]) -> UserConnection | None:
    if not isinstance(calls, list | tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            f"enqueue_many takes a list of calls, not {short(calls)}; bind the arguments: [report.bind(…)]"
        )
    for call in calls:
        if not isinstance(call, Call):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"enqueue_many takes calls, not {short(call)}; bind the arguments: report.bind(…)")
    first = calls[0].connection if calls else None
    if any(call.connection is not first for call in calls):
        raise InvalidOption(
            "these calls name different connections, but are stored all or none; give each the same connection, or "
            "enqueue them apart"
        )
    return first
