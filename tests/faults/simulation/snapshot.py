"""A snapshot of all that a store knows of its jobs at one moment, read at once. It judges nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, cast

import msgspec

from posthorse.rules.job import Options


class Job(NamedTuple):
    """A row of the jobs, with its lane."""

    id: str
    state: str
    epoch: int
    version: int
    errors: int
    crashes: int
    interruptions: int
    seq: int
    run_at: int | None
    started_at: int | None
    result: str | None
    arguments: str
    options_text: str | None
    queue: str
    kind: str
    priority: int
    tenant: str | None

    @property
    def options(self) -> Options:
        return _options(self.options_text)

    @property
    def given(self) -> Mapping[str, object]:
        """Its arguments by name."""
        return _arguments(self.arguments)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in ("completed", "failed", "cancelled")


class Lease(NamedTuple):
    """The lease of a job."""

    epoch: int
    runner: str


class Parked(NamedTuple):
    """The parked entry of a job."""

    state: str
    due_at: int | None
    gate: str | None
    rank: int | None
    place: int | None


class Checkpoint(NamedTuple):
    """The checkpoint of a long job."""

    epoch: int
    slices: int
    done: int
    cursors: str


class Standing(NamedTuple):
    """Everything that the store has about one job."""

    job: Job
    waits: int
    """How many times it waits in a lane."""
    lease: Lease | None
    parked: Parked | None
    checkpoint: Checkpoint | None
    events: tuple[int, ...]
    """The versions of its events."""

    @property
    def shown(self) -> str:
        """The state that a user sees."""
        return self.job.state if self.lease is None else "processing"

    @property
    def fence(self) -> int:
        """The highest epoch that was ever given out."""
        return self.job.epoch if self.lease is None else self.lease.epoch


class Snapshot(NamedTuple):
    """A store at one moment."""

    jobs: Mapping[str, Standing]
    strange: frozenset[str] = frozenset()
    """Ids that are waiting, held or parked, and have no job."""
    effects: Mapping[str, tuple[int, ...]] = {}
    """The items that a long job has done, in that order."""
    schedules: Mapping[str, int] = {}
    """The moment up to which each schedule's times are handled."""

    def changed(self, before: Snapshot) -> list[Standing]:
        """Return the jobs that are new or have changed."""
        earlier = before.jobs
        return [standing for job, standing in self.jobs.items() if earlier.get(job) != standing]


EMPTY = Snapshot({})

_JOBS = """
    SELECT j.id, j.state, j.epoch, j.version, j.errors, j.crashes, j.losses, j.seq, j.run_at, j.started_at, j.result,
        j.arguments, j.options, l.queue, l.kind, l.priority, j.tenant
    FROM posthorse_jobs j JOIN posthorse_lanes l ON l.id = j.lane ORDER BY j.id
"""


def look(connection: sqlite3.Connection) -> Snapshot:
    """Return the current state of the store."""

    def ask(sql: str) -> list[Any]:
        return connection.execute(sql).fetchall()

    waits: dict[str, int] = {}
    for (job,) in ask("SELECT job FROM posthorse_ready"):
        waits[job] = waits.get(job, 0) + 1
    events: dict[str, tuple[int, ...]] = {}
    for job, version in ask("SELECT job, version FROM posthorse_events ORDER BY job, version"):
        events[job] = (*events.get(job, ()), version)
    leases = {row[0]: Lease._make(row[1:]) for row in ask("SELECT job, epoch, runner FROM posthorse_leases")}
    parked = {
        row[0]: Parked._make(row[1:])
        for row in ask("SELECT job, state, due_at, gate, rank, place FROM posthorse_parked")
    }
    saved = {
        row[0]: Checkpoint._make(row[1:])
        for row in ask("SELECT job, epoch, slices, done, cursors FROM posthorse_checkpoints")
    }
    effects: dict[str, tuple[int, ...]] = {}
    for job, item in ask("SELECT job, item FROM effects ORDER BY rowid"):
        effects[job] = (*effects.get(job, ()), item)
    schedules: dict[str, int] = dict(ask("SELECT name, through FROM posthorse_schedules"))
    jobs = {
        row[0]: Standing(
            Job._make(row),
            waits.get(row[0], 0),
            leases.get(row[0]),
            parked.get(row[0]),
            saved.get(row[0]),
            events.get(row[0], ()),
        )
        for row in ask(_JOBS)
    }
    strange = frozenset((waits.keys() | leases.keys() | parked.keys()) - jobs.keys())
    return Snapshot(jobs, strange, effects, schedules)


@lru_cache(maxsize=4096)
def _options(text: str | None) -> Options:
    return Options.decode(text)


@lru_cache(maxsize=4096)
def _arguments(text: str) -> Mapping[str, object]:
    return cast("Mapping[str, object]", msgspec.json.decode(text))
