"""Sending events to jobs that wait for them: `app.send_event(…)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from posthorse.app.client_base import ClientBase
from posthorse.app.verbs import Verb, commit, look_up, twin, verb
from posthorse.clock import microseconds
from posthorse.errors import InvalidArgument, InvalidOption, TooLarge
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import checked_name
from posthorse.rules.topics import topic_of
from posthorse.rules.values.kept import encode_kept
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations.one_job import why_missing
from posthorse.store.operations.signals import send, tenant_of

if TYPE_CHECKING:
    from posthorse.app.job import Job

MAX_PAYLOAD = 1024 * 1024
"""Bytes of the payload of an event."""


class SendsEvents(ClientBase):
    """The calls of an application that let waiting jobs go on."""

    @verb
    def send_event(
        self,
        name: str,
        payload: object = None,
        *,
        job: Job[object] | str | None = None,
        topic: str | None = None,
        tenant: str | None = None,
        again: bool = False,
        expires: Duration = "30d",
    ) -> Verb[bool]:
        """Send an event to the job that waits for it with `ctx.wait_event(name)`, now or later::

            app.send_event("approved", {"by": "eva"}, job=job)

        payload: what `wait_event` returns: plain data.
        job: the job, or its id. topic: send it to a topic instead, for all jobs that wait for it there, as
            `ctx.wait_event("paid", topic="order-7")` does. One of the two must be given.
        tenant: with a topic, whose jobs get it: those of this tenant, or those without one.
        again: replace an earlier event of this name. Otherwise the first one counts, and False is returned.
        expires: for how long the event stays for jobs that come to wait for it.

        Inside a transaction, the event is sent if that commits. Raises JobNotFound, InvalidOption, InvalidArgument for
        a payload that is not plain data, TooLarge.
        """
        if (job is None) == (topic is None):
            raise InvalidOption("send_event needs job= or topic=, one of them: who is the event for?")
        if tenant is not None and job is not None:
            raise InvalidOption("send_event: tenant= is for a topic; an event for a job is for the tenant of the job")
        text, span = _encoded(name, payload), microseconds(as_timedelta(expires, name="expires"))
        job_id = None if job is None else self._app.get_job(job if isinstance(job, str) else job.id).id
        owner = tenant if tenant is None else checked_name(tenant, what="tenant")
        if job_id is not None:
            found = yield from look_up(self._app, tenant_of(job_id))
            if found is None:
                raise (yield from look_up(self._app, why_missing(job_id)))
            [owner] = found
        to = topic_of(name, str(topic) if job_id is None else job_id, owner)
        packed = self.registry.packing.of(job_id or "", owner).pack(text, "event")
        return (yield from commit(self._app, send(to, packed, span=span, again=bool(again), job=job_id)))

    asend_event = twin(send_event)


def _encoded(name: str, payload: object) -> str:
    try:
        text = encode_kept(payload)
    except ValueError as error:
        why = str(error).removeprefix("the value cannot be kept: ")
        raise InvalidArgument(f"the payload of the event {short(name)} must be plain data: {why}") from None
    if (size := len(text.encode())) > MAX_PAYLOAD:
        raise TooLarge(
            f"the payload of the event {short(name)} takes {size:,} bytes and may take {MAX_PAYLOAD:,}; send the key "
            "of what it is about"
        )
    return text
