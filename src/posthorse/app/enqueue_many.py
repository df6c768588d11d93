"""Enqueue many calls in one commit, through middleware and the admission of their queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from posthorse import ids
from posthorse.app.call import Call, CallWithOutputs
from posthorse.app.client_base import ClientBase
from posthorse.app.job import Job
from posthorse.app.submitting import Submission, asubmit, submit
from posthorse.errors import InvalidOption, PosthorseError
from posthorse.rules.values.type_mismatch import short
from posthorse.store.connections import UserConnection

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

R = TypeVar("R")


class EnqueuesMany(ClientBase):
    """An application: calls on its kinds are enqueued through it."""

    def enqueue_many(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """Store many jobs in one commit, all or none, and return their handles in the same order::

            app.enqueue_many([welcome.bind(user_id) for user_id in new_users])

        The jobs are durable when this returns. Calls made with `using(connection=…)` become part of that connection's
        transaction; all of them must then have the same one. Raises the errors of `Kind.enqueue`, but InvalidArgument
        and TooLarge are raised earlier, by `bind`.
        """
        return cast("list[Job[R]]", submit(self._app, _wanted(self._app, calls))[: len(calls)])

    async def aenqueue_many(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """Store many jobs without blocking the event loop; see `enqueue_many`. The connection may be sync or async."""
        return cast("list[Job[R]]", (await asubmit(self._app, _wanted(self._app, calls)))[: len(calls)])


def _wanted(app: Posthorse, calls: Sequence[Call[object]]) -> Submission:
    connection = _connection_of(calls)
    for call in calls:
        if call.app is not app:
            raise InvalidOption(f"{call.template.lane.kind!r} belongs to another application")
    if any(type(call) is not Call for call in calls):
        from posthorse.app.callbacks import with_callbacks  # here, because few jobs have callbacks

        return with_callbacks(calls)
    fresh = ids.new_ids(len(calls))
    jobs = [msgspec.structs.replace(call.template, id=job_id) for call, job_id in zip(calls, fresh, strict=True)]
    return Submission(jobs, connection, lambda: max(call.block for call in calls))


def _connection_of(calls: Sequence[Call[R]]) -> UserConnection | None:
    if not isinstance(calls, list | tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            f"enqueue_many takes a list of calls, not {short(calls)}; bind the arguments: [report.bind(…)]"
        )
    for call in calls:
        if type(call) is not Call and (refusal := _refusal_of(call)) is not None:
            raise refusal
    first = calls[0].connection if calls else None
    if any(call.connection is not first for call in calls):
        raise InvalidOption(
            "these calls name different connections, but are stored all or none; give each the same connection, or "
            "enqueue them apart"
        )
    return first


def _refusal_of(given: object) -> PosthorseError | None:
    if isinstance(given, CallWithOutputs):
        return given.outside_of_flow()
    if isinstance(given, Call):
        return None
    return InvalidOption(f"enqueue_many takes calls, not {short(given)}; bind the arguments: report.bind(…)")
