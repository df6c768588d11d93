"""The facts about a job that does not run, and about what is around it, as they were read at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from posthorse.rules.gates import Requirement, demands_of
from posthorse.rules.job import State, Status
from posthorse.rules.queues import DEFAULTS, QueueSettings
from posthorse.rules.registry import KindOptions

MAX_COUNTED = 10_000
"""Jobs ahead are counted up to this number."""

MAX_NAMED = 5
"""How many jobs or workers a reason names."""

SILENT_SHARE = 0.6
"""A worker is called silent after this share of its lease without a heartbeat: a lease holds at least two."""

START = "posthorse worker --app MODULE:APP"
"""The command that starts a worker of an application whose name is not known."""


class ServingRunner(msgspec.Struct, frozen=True):
    """A registered runner: what it serves, and how busy it is, or was at its last heartbeat."""

    id: str
    worker: str
    queues: Sequence[str]
    kinds: Sequence[str]
    labels: Mapping[str, str]
    running: int = 0
    concurrency: int = 1
    is_alive: bool = True
    """Whether its lease holds."""
    is_draining: bool = False

    @property
    def is_full(self) -> bool:
        """Whether all its slots were taken."""
        return self.running >= self.concurrency


class Holding(msgspec.Struct, frozen=True):
    """The lease on a running job. The fields after `since` are None if its runner is no longer registered.

    lease_left, silent_for: in microseconds. held: how many jobs the runner holds, started or not.
    """

    since: datetime
    worker: str | None = None
    host: str | None = None
    pid: int | None = None
    concurrency: int | None = None
    lease_left: int | None = None
    silent_for: int | None = None
    held: int = 1

    @property
    def is_lost(self) -> bool:
        """Whether its lease is over, so that the sweep rescues the job."""
        return self.lease_left is None or self.lease_left <= 0

    @property
    def is_silent(self) -> bool:
        """Whether heartbeats are missing although the lease still holds."""
        if self.is_lost or self.silent_for is None or self.lease_left is None:
            return False
        return self.silent_for > SILENT_SHARE * (self.silent_for + self.lease_left)


class GateFacts(msgspec.Struct, frozen=True):
    """A gate that a job must pass.

    inside: how many jobs hold a slot of it, this one left out. ahead: how many wait before it with an earlier position.
    holders: some of the jobs inside, or of a sequence the first one ahead.
    """

    requirement: Requirement
    through: int = 0
    inside: int = 0
    ahead: int = 0
    holders: Sequence[Status] = ()


class Ahead(msgspec.Struct, frozen=True):
    """The jobs that are ahead in the lanes of a queue, counted up to MAX_COUNTED.

    starts: when jobs of the queue started lately, oldest first; tenants: among how many tenants the queue takes turns.
    """

    count: int
    starts: Sequence[datetime] = ()
    tenants: int = 0


class Needed(msgspec.Struct, frozen=True):
    """A job of which another one needs an end (`completed`, `failed` or `over`), and its state."""

    job: str
    needs: str
    state: State


class WaitsForOthers(msgspec.Struct, frozen=True):
    """What a job waits for: how many needs are not met, some of these, and how many of its children are not over."""

    missing: int = 0
    needed: Sequence[Needed] = ()
    open: int = 0
    total: int = 0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was read about a job and what is around it, at one moment.

    since, due: since when it is parked, and until when. gate: before which gate it is held. topic: what it
    listens to, with the name of the event behind a slash. event: its last event.
    ahead: None if nothing was counted. others: jobs that it waits for. start: the command that starts a worker of the
    application.
    """

    job: Status
    now: datetime
    settings: QueueSettings = DEFAULTS
    servers: Sequence[ServingRunner] = ()
    gates: Sequence[GateFacts] = ()
    ahead: Ahead | None = None
    holding: Holding | None = None
    since: datetime | None = None
    due: datetime | None = None
    gate: str | None = None
    topic: str | None = None
    event: str | None = None
    is_suspect: bool = False
    others: WaitsForOthers | None = None
    start: str = START


def lane_wide(kind: str, options: KindOptions | None, queue: str, settings: QueueSettings) -> list[Requirement]:
    """Return the gates that all jobs of a queue and kind pass. `options` is None for a kind that is unknown here."""
    of_kind = () if options is None else (options.rate, options.concurrency)
    demands = demands_of(queue, (settings.rate, settings.concurrency), kind, of_kind)
    return [demand.requirement() for demand in demands if demand.per is None]
