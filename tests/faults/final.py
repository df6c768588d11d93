"""The final state of the store: a frozen picture for the checker, read from the tables by plain SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from tests.crash.ledger import Ledger


class FinalJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job's row. `label`, `count` and `size` are arguments that the workloads pass; times are in microseconds."""

    id: str
    label: str = ""
    kind: str = "plain"
    tenant: str | None = None
    state: str = "completed"
    epoch: int = 1
    version: int = 3
    errors: int = 0
    crashes: int = 0
    interruptions: int = 0
    created_at: int = 0
    run_at: int | None = None
    finished_at: int | None = None
    result: str | None = None
    """The token of the run whose result was accepted."""
    count: int | None = None
    size: int | None = None
    done: int | None = None
    """The progress in its checkpoint."""
    schedule: str | None = None
    scheduled_at: int | None = None
    max_attempts: int | None = None
    places: Sequence[str] = ()
    """Where it is beside its row: ready, leased, parked:<state>."""


class FinalEvent(msgspec.Struct, frozen=True):
    """An event as the store has it."""

    job: str
    version: int
    at: int
    name: str


class FinalEffect(msgspec.Struct, frozen=True):
    """A row that a slice wrote in its own transaction, in the order of writing."""

    job: str
    item: int
    epoch: int


class Final(msgspec.Struct, frozen=True, kw_only=True):
    """The store after heal and drain."""

    jobs: Sequence[FinalJob] = ()
    events: Sequence[FinalEvent] = ()
    effects: Sequence[FinalEffect] = ()
    rows: Mapping[str, int] = {}
    """How many rows the tables with jobs' places have: ready, leases, parked."""
    complaints: Sequence[str] = ()
    """Errors that the database itself reports about its files."""


class _Arguments(msgspec.Struct):
    label: str = ""
    count: int | None = None
    size: int | None = None


class _Options(msgspec.Struct):
    schedule: str | None = None
    scheduled_at: int | None = None
    max_attempts: int | None = None


def read_final(url: str) -> Final:
    """Read a store that is at rest."""
    ledger = Ledger(url)
    prefix = "posthorse_" if ledger.dialect == "sqlite" else "posthorse."
    with ledger.connection() as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            found = cast("Any", connection).execute(query.replace("@", prefix)).fetchall()
            return [tuple(row) for row in found]

        places: dict[str, list[str]] = {}
        for (job,) in rows("SELECT job FROM @ready"):
            places.setdefault(str(job), []).append("ready")
        for (job,) in rows("SELECT job FROM @leases"):
            places.setdefault(str(job), []).append("leased")
        for job, state in rows("SELECT job, state FROM @parked"):
            places.setdefault(str(job), []).append(f"parked:{state}")
        done = {str(job): int(how_far) for job, how_far in rows("SELECT job, done FROM @checkpoints")}
        jobs = [
            _job(row, places.get(str(row[0]), []), done.get(str(row[0])))
            for row in rows(
                "SELECT j.id, lanes.kind, j.tenant, j.state, j.epoch, j.version, j.errors, j.crashes, j.losses, "
                "j.created_at, j.run_at, j.finished_at, j.result, j.arguments, j.options "
                "FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane"
            )
        ]
        return Final(
            jobs=jobs,
            events=[
                FinalEvent(str(job), version, at, name)
                for job, version, at, name in rows("SELECT job, version, at, name FROM @events ORDER BY job, version")
            ],
            effects=[
                FinalEffect(job, item, epoch)
                for job, item, epoch in rows("SELECT job, item, epoch FROM effects ORDER BY id")
            ],
            rows={name: int(rows(f"SELECT count(*) FROM @{name}")[0][0]) for name in ("ready", "leases", "parked")},
            complaints=_complaints(rows) if ledger.dialect == "sqlite" else (),
        )


def _complaints(rows: Any) -> list[str]:  # noqa: ANN401  # the reader above
    found = [str(row[0]) for row in rows("PRAGMA integrity_check") if row[0] != "ok"]
    return found + [f"foreign key: {row}" for row in rows("PRAGMA foreign_key_check")]


def _job(row: tuple[Any, ...], places: Sequence[str], done: int | None) -> FinalJob:
    (
        job,
        kind,
        tenant,
        state,
        epoch,
        version,
        errors,
        crashes,
        interruptions,
        created,
        run_at,
        finished,
        result,
        given,
        own,
    ) = row
    arguments = msgspec.json.decode(given, type=_Arguments)
    options = msgspec.json.decode(own, type=_Options) if own else _Options()
    token = msgspec.json.decode(result) if result else None
    return FinalJob(
        id=str(job),
        label=arguments.label,
        kind=kind,
        tenant=tenant,
        state=state,
        epoch=epoch,
        version=version,
        errors=errors,
        crashes=crashes,
        interruptions=interruptions,
        created_at=created,
        run_at=run_at,
        finished_at=finished,
        result=token if isinstance(token, str) else None,
        count=arguments.count,
        size=arguments.size,
        done=done,
        schedule=options.schedule,
        scheduled_at=options.scheduled_at,
        max_attempts=options.max_attempts,
        places=tuple(places),
    )
