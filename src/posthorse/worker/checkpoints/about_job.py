"""What a running job knows about itself: its names, its options, its place among other jobs, and its logger."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from copy import deepcopy
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from posthorse import ids
from posthorse.clock import moment
from posthorse.rules.job import Lane, Options
from posthorse.rules.registry import Registered
from posthorse.worker.checkpoints.journal import Journal

if TYPE_CHECKING:
    from posthorse.worker.checkpoints.flow_step import FlowStep


class AboutJob(NamedTuple):
    """What a worker knows about a job from its claim and its code, without another look into the store."""

    job: str
    attempt: int
    lane: Lane
    options: Options
    kind: Registered


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger bound to a job: what a call gives as `extra=` is added to what names the job."""

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        """Add the fields of the job to those of the call; the base class would replace them."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class ContextAboutJob:
    """The part of a context that tells the job about itself."""

    job_id: str
    kind: str
    """The name of the kind, as the code of this worker declares it."""
    queue: str
    attempt: int
    """Counts from 1; only errors count, not lost workers or deploys."""
    log: JobLogger
    """The logger `posthorse.job`; its records have `job_id`, `kind` and `attempt`, beside what `extra=` gives."""
    _about: AboutJob
    _journal: Journal

    @property
    def max_attempts(self) -> int:
        """How many errors end the job."""
        return self._about.options.max_attempts or self._about.kind.options.max_attempts

    @property
    def tenant(self) -> str | None:
        """Whose job it is."""
        return self._about.options.tenant or self._about.lane.tenant or None

    @property
    def tags(self) -> tuple[str, ...]:
        """The names to find it by."""
        given = self._about.options.tags
        return self._about.kind.options.tags if given is None else given

    @property
    def key(self) -> str | None:
        """The key that it was enqueued with; None without one."""
        return self._about.options.key

    @property
    def metadata(self) -> dict[str, Any]:
        """What travels with the job: a copy, whose changes are not stored."""
        return deepcopy(self._about.options.metadata or {})

    @property
    def flow(self) -> FlowStep | None:
        """Its place in the flow that it is a step of, with what the steps before it left; None outside of flows."""
        place = self._about.options.flow
        if place is None or place.id is None:
            return None
        from posthorse.worker.checkpoints.flow_step import FlowStep  # here, because few jobs are steps of flows

        return FlowStep(self._journal, self.job_id, place)

    @property
    def enqueued_at(self) -> datetime:
        """When it was enqueued, in UTC, by the clock of the process that did so."""
        return moment(ids.milliseconds_of(self.job_id) * 1000)

    @property
    def scheduled_at(self) -> datetime | None:
        """The scheduled time that the job is for, in UTC; None if no schedule enqueued it."""
        at = self._about.options.scheduled_at
        return None if at is None else moment(at)

    @property
    def shard(self) -> int | None:
        """The number of the part of a job that was cut into parts, from 0; None in a job that was not."""
        part = self._about.options.part
        return None if part is None else part.number
