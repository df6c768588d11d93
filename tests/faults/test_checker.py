"""The checker: for each invariant, the smallest histories that break it, and sound ones that come close."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.faults.case import Case
from tests.faults.checker import ELSEWHERE, INVARIANTS, MAX_TOLD, violations
from tests.faults.final import Final, FinalEffect, FinalEvent, FinalJob
from tests.faults.history import Event, Phase, Recorder, Value, read_history

S = 1_000_000
"""Times of the examples are in seconds."""


class Example(NamedTuple):
    """A history and the final state of the store."""

    history: list[Event]
    final: Final


# ── words of which histories are made ────────────────────────────────────────────────────────────────


def at(
    t: float,
    process: str,
    op: str,
    phase: Phase = "ok",
    *,
    job: str | None = None,
    epoch: int | None = None,
    token: str | None = None,
    tenant: str | None = None,
    value: Value = Value(),  # noqa: B008  # frozen
) -> Event:
    return Event(round(t * S), process, op, phase, job, tenant, epoch, 1, token, value)


def submit(
    t: float,
    job: str | None,
    *,
    label: str = "a",
    phase: Phase = "ok",
    client: str = "client1",
    kind: str = "plain",
    key: str | None = None,
    unique: str | None = None,
    delay: float | None = None,
    limit: str | None = None,
) -> list[Event]:
    """Return a submit that takes a tenth of a second."""
    micros = None if delay is None else round(delay * S)
    asked = Value(labels=[label], kind=kind, key=key, unique=unique, delay=micros, limit=limit)
    answer = Value(jobs=[job]) if job is not None and phase == "ok" else Value()
    return [at(t, client, "submit", "invoke", value=asked), at(t + 0.1, client, "submit", phase, value=answer)]


def ask(
    t: float,
    op: str,
    job: str,
    state: str,
    *,
    client: str = "client1",
    result: str | None = None,
    done: int | None = None,
    attempt: int | None = None,
    force: bool = False,
) -> list[Event]:
    answer = Value(state=state, result=result, done=done, code=attempt)
    return [
        at(t, client, op, "invoke", job=job, value=Value(force=force)),
        at(t + 0.1, client, op, job=job, value=answer),
    ]


def run(
    t: float,
    job: str,
    token: str,
    *,
    epoch: int = 1,
    end: float | None = None,
    process: str = "100",
    attempt: int = 1,
    has_effect: bool = True,
    value: Value = Value(),  # noqa: B008  # frozen
) -> list[Event]:
    """Return a run with its effect, including its end if that is given."""
    start = at(t, process, "start", job=job, epoch=epoch, token=token, value=value)
    told = [Event(**{name: getattr(start, name) for name in Event.__struct_fields__} | {"attempt": attempt})]
    if end is not None:
        told += [at(end, process, "effect", job=job, epoch=epoch, token=token)] * has_effect
        told.append(at(end, process, "end", job=job, epoch=epoch, token=token))
    return told


def slice_of(t: float, job: str, token: str, item: int, *, epoch: int = 1, is_effect: bool = False) -> list[Event]:
    value = Value(item=item, size=5)
    told = [at(t, "100", "effect", job=job, epoch=epoch, token=token, value=value)] * is_effect
    return [
        *told,
        at(t, "100", "slice", "invoke", job=job, epoch=epoch, token=token, value=value),
        at(t + 0.01, "100", "slice", job=job, epoch=epoch, token=token, value=value),
    ]


def fault(
    t: float, op: str, *pids: int, until: float | None = None, code: int | None = None, grace: float = 4.0
) -> list[Event]:
    value = Value(pids=pids, grace=grace)
    over = Value(pids=pids, grace=grace, code=code)
    return [
        at(t, "nemesis", op, "invoke", value=value),
        at(t + 0.1 if until is None else until, "nemesis", op, value=over),
    ]


def stored(job: str, *names: str, t: float = 1, steps: int = 2) -> list[FinalEvent]:
    """Return events of a job, each after a claim."""
    return [FinalEvent(job, 1 + steps * (number + 1), round(t * S), name) for number, name in enumerate(names)]


def row(
    job: str = "j1",
    label: str = "a",
    *,
    kind: str = "plain",
    state: str = "completed",
    token: str | None = None,
    epoch: int = 1,
    version: int | None = None,
    errors: int = 0,
    crashes: int = 0,
    created: float = 1,
    finished: float | None = 2,
    count: int | None = None,
    done: int | None = None,
    schedule: str | None = None,
    scheduled_at: float | None = None,
    places: tuple[str, ...] | None = None,
    tenant: str | None = None,
) -> FinalJob:
    if places is None:
        places = {"pending": ("ready",), "failed": ("parked:failed",), "paused": ("parked:paused",)}.get(state, ())
    return FinalJob(
        id=job,
        label=label,
        kind=kind,
        tenant=tenant,
        state=state,
        epoch=epoch,
        version={"completed": 3, "pending": 1}.get(state, 3) if version is None else version,
        errors=errors,
        crashes=crashes,
        created_at=round(created * S),
        finished_at=None if finished is None else round(finished * S),
        result=token,
        count=count,
        size=5,
        done=done,
        schedule=schedule,
        scheduled_at=None if scheduled_at is None else round(scheduled_at * S),
        places=places,
    )


def final(
    *jobs: FinalJob,
    events: list[FinalEvent] | None = None,
    effects: list[FinalEffect] | None = None,
    complaints: tuple[str, ...] = (),
    rows: dict[str, int] | None = None,
) -> Final:
    return Final(jobs=jobs, events=events or [], effects=effects or [], complaints=complaints, rows=rows or {})


def written(*items: int, job: str = "j1", epoch: int = 1) -> list[FinalEffect]:
    return [FinalEffect(job, item, epoch) for item in items]


# ── the examples ─────────────────────────────────────────────────────────────────────────────────────

PLAIN = [*submit(1, "j1"), *run(1.5, "j1", "t1", end=1.6)]
DONE = row(token="t1")
LIMITED = Value(limit="printer", cap=1)
RATED = Value(limit="api", rate=1.0, burst=1)
EVERY = at(20, "harness", "schedule", value=Value(kind="tick", seconds=1.0))


def _retried() -> list[Event]:
    return [*PLAIN, *ask(2, "result", "j1", "failed"), *ask(3, "retry", "j1", "pending")]


def _two_runs(*, end: float | None = None) -> list[Event]:
    return [*run(1.5, "j1", "t1"), *run(9, "j1", "t2", epoch=2, end=end, process="200")]


def _completed_after(*names: str) -> FinalJob:
    return row(token="t2", epoch=2, version=3 + 2 * len(names))


BROKEN: dict[str, list[Example]] = {
    "I1 NO-LOSS": [
        Example(submit(1, "j1"), final()),
        Example(submit(1, "j1"), final(row(state="pending", finished=None))),
    ],
    "I2 NO-PHANTOM": [
        Example([], final(row())),
        Example(submit(1, None, phase="fail"), final(row())),
        Example([*PLAIN, *run(3, "j2", "t9")], final(DONE)),
    ],
    "I3 ONE-KEY": [
        Example(
            [*submit(1, "j1", key="k"), *submit(2, "j2", key="k", phase="info")],
            final(row("j1"), row("j2")),
        ),
        Example([*submit(1, "j1", key="k"), *submit(2, "j2", key="k")], final(row("j1"))),
    ],
    "I4 ONE-LEASE": [
        Example([*submit(1, "j1"), *run(1.5, "j1", "t1", end=2), *run(1.6, "j1", "t2", end=2)], final(row(token="t1"))),
        Example(
            [*submit(1, "j1"), *run(1.5, "j1", "t2", epoch=2, end=1.7), *run(1.6, "j1", "t1", epoch=1)],
            final(row(token="t2", epoch=2)),
        ),
        Example(
            [*submit(1, "j1"), *_two_runs(end=9.5)],
            final(_completed_after("lost"), events=stored("j1", "lost", t=8)),
        ),
    ],
    "I5 FENCED": [
        Example(
            [*submit(1, "j1", kind="exact"), *_two_runs(end=12), *slice_of(10, "j1", "t1", 0)],
            final(row(token="t2", epoch=2)),
        ),
        Example(
            [*submit(1, "j1", kind="exact"), *_two_runs(end=12)],
            final(
                row(kind="exact", token="t2", epoch=2, count=2),
                effects=[*written(0, epoch=2), *written(1, epoch=1)],
            ),
        ),
        Example([*submit(1, "j1"), *_two_runs(end=12)], final(row(token="t1", epoch=2))),
        Example(PLAIN, final(row(token="t7"))),
    ],
    "I6 ONE-END": [
        Example(PLAIN, final(row(state="cancelled", version=5), events=stored("j1", "failed", "cancelled"))),
        Example(PLAIN, final(row(token="t1", version=5), events=stored("j1", "failed"))),
        Example(
            [*PLAIN, *ask(2, "result", "j1", "completed", result="t1"), *ask(3, "result", "j1", "cancelled")],
            final(DONE),
        ),
    ],
    "I7 LEGAL-EDGE": [
        Example(PLAIN, final(row(token="t1", version=5), events=stored("j1", "resumed"))),
        Example(PLAIN, final(row(state="failed", version=3), events=stored("j1", "paused"))),
        Example(PLAIN, final(row(token="t1", version=5), events=stored("j1", "sold"))),
    ],
    "I8 BUDGET": [
        Example(PLAIN, final(row(token="t1", errors=6))),
        Example(PLAIN, final(row(token="t1", crashes=4))),
        Example(PLAIN, final(row(token="t1", version=13), events=stored("j1", *["attempt_failed"] * 5))),
        Example([*submit(1, "j1"), *run(1.5, "j1", "t1", end=1.6, attempt=6)], final(DONE)),
    ],
    "I9 EFFECT": [
        Example([], final(row(kind="exact", count=3), effects=written(0, 1, 1, 2))),
        Example([], final(row(kind="exact", count=3), effects=written(0, 2))),
        Example([], final(row(kind="exact", state="cancelled", count=3, done=1), effects=written(0, 1))),
        Example(  # a slice twice in one run
            [*run(1, "j1", "t1"), *slice_of(2, "j1", "t1", 0, is_effect=True) * 2],
            final(row(kind="repeated", count=5)),
        ),
        Example(  # the cursor is ahead of the effects
            [*run(1, "j1", "t1"), *slice_of(2, "j1", "t1", 0, is_effect=True)],
            final(row(kind="repeated", state="cancelled", count=20, done=10)),
        ),
        Example([*submit(1, "j1"), *run(1.5, "j1", "t1", end=1.6, has_effect=False)], final(DONE)),
        Example(
            [*PLAIN, at(1.55, "100", "effect", job="j1", epoch=1, token="t1")],
            final(DONE),
        ),
    ],
    "I10 NOT-EARLY": [
        Example([*submit(1, "j1", delay=5), *run(3, "j1", "t1", end=4)], final(DONE)),
        Example(
            run(3, "j1", "t1", end=4),
            final(row(label="", token="t1", schedule="tick", scheduled_at=5)),
        ),
    ],
    "I11 LIVENESS": [
        Example([at(1, "harness", "heal"), *submit(2, "j1"), *run(60, "j1", "t1", end=61)], final(DONE)),
        Example([at(1, "harness", "heal"), *submit(2, "j1")], final(row(state="pending", finished=None))),
    ],
    "I12 RECOVERY": [
        Example(
            [*submit(1, "j1"), *run(1.5, "j1", "t1"), *fault(2, "kill-runner", 100)],
            final(row(state="pending", finished=None)),
        ),
        Example(
            [
                *submit(1, "j1"),
                *run(1.5, "j1", "t1"),
                *fault(2, "kill-runner", 100),
                *run(91, "j1", "t2", epoch=2, end=92),
            ],
            final(row(token="t2", epoch=2, version=5, finished=92), events=stored("j1", "lost", t=90)),
        ),
    ],
    "I13 CAP": [
        Example(
            [
                *submit(1, "j1"),
                *submit(1.2, "j2", label="b"),
                *run(2, "j1", "t1", end=4, value=LIMITED),
                *run(3, "j2", "t2", end=5, value=LIMITED),
            ],
            final(row(token="t1"), row("j2", "b", token="t2")),
        ),
    ],
    "I14 RATE": [
        Example(
            [event for number in range(8) for event in run(2, f"j{number}", f"t{number}", end=3, value=RATED)],
            final(*(row(f"j{number}", token=f"t{number}") for number in range(8))),
        ),
    ],
    "I15 CANCEL": [
        Example(
            [*submit(1, "j1"), *ask(2, "cancel", "j1", "cancelled"), *run(3, "j1", "t1", end=4)],
            final(row(state="cancelled", version=2), events=stored("j1", "cancelled", steps=1)),
        ),
        Example([*submit(1, "j1"), *ask(2, "cancel", "j1", "cancelled")], final(DONE)),
        Example(
            [
                *submit(1, "j1"),
                *run(1.5, "j1", "t1"),
                *ask(2, "cancel", "j1", "processing"),
                *run(9, "j1", "t2", epoch=2),
                *run(19, "j1", "t3", epoch=3, end=20),
            ],
            final(row(token="t3", epoch=3)),
        ),
    ],
    "I17 CRON": [
        Example(
            [],
            final(
                row("j1", "", schedule="tick", scheduled_at=5),
                row("j2", "", schedule="tick", scheduled_at=5),
            ),
        ),
        Example(
            [EVERY],
            final(
                row("j1", "", schedule="tick", scheduled_at=5),
                row("j2", "", schedule="tick", scheduled_at=7),
            ),
        ),
    ],
    "I18 ORDER": [
        Example(
            [
                *submit(1, "j1", limit="s"),
                *submit(2, "j2", label="b", limit="s"),
                *run(3, "j2", "t2", end=4),
                *run(5, "j1", "t1", end=6),
            ],
            final(row(token="t1"), row("j2", "b", token="t2")),
        ),
        Example(  # the first fails, and is retried after the second started
            [
                *submit(1, "j1", limit="s"),
                *submit(2, "j2", label="b", limit="s"),
                *run(3, "j1", "t0", end=3.5),
                *run(4, "j2", "t2", end=5),
                *run(6, "j1", "t1", epoch=2, end=7),
            ],
            final(row(token="t1", epoch=2), row("j2", "b", token="t2")),
        ),
    ],
    "I19 UNIQUE": [
        Example(
            [*submit(1, "j1", unique="u"), *submit(2, "j2", unique="u")],
            final(row("j1", created=1, finished=9), row("j2", created=2, finished=10)),
        ),
    ],
    "I20 EVENTS": [
        Example(PLAIN, final(row(token="t1", version=9), events=[FinalEvent("j1", 7, S, "lost")])),
        Example(PLAIN, final(row(token="t1", version=9))),
        Example(PLAIN, final(row(state="failed", version=4), events=stored("j1", "failed"))),
    ],
    "I22 NO-ORPHAN": [
        Example(
            [
                *PLAIN,
                at(1.5, "100", "child", job="j1", value=Value(pids=[555])),
                at(9, "harness", "leftovers", value=Value(pids=[555])),
            ],
            final(DONE),
        ),
    ],
    "I23 SOUND": [
        Example(PLAIN, final(DONE, complaints=("row 5 missing from index",))),
        Example(PLAIN, final(row(token="t1", places=("ready",)))),
        Example(PLAIN, final(row(state="pending", finished=None, places=()))),
        Example(PLAIN, final(DONE, rows={"leases": 1})),
    ],
    "I27 BOUNDED": [
        Example([at(1, "harness", "survey", value=Value(figures={"wal": 2e9}, limits={"wal": 1e9}))], final()),
    ],
    "I28 MONOTONE": [
        Example([*PLAIN, *ask(2, "status", "j1", "completed"), *ask(3, "status", "j1", "processing")], final(DONE)),
        Example(
            [*PLAIN, *ask(2, "status", "j1", "pending", done=9), *ask(3, "status", "j1", "pending", done=4)], final()
        ),
        Example(
            [*PLAIN, *ask(2, "status", "j1", "pending", attempt=3), *ask(3, "status", "j1", "pending", attempt=2)],
            final(),
        ),
    ],
    "I30 CLEAN-STOP": [
        Example([*PLAIN, *fault(1.7, "terminate", 100, code=-9)], final(DONE)),
        Example([*PLAIN, *fault(1.7, "terminate", 100, until=30, code=0)], final(DONE)),
        Example(
            [*submit(1, "j1"), *fault(1, "terminate", 100, until=5, code=0), *run(4, "j1", "t1", end=5)], final(DONE)
        ),
        Example(
            [*submit(1, "j1"), *run(1.5, "j1", "t1"), *fault(2, "terminate", 100, until=4, code=0)],
            final(row(state="cancelled", version=5), events=stored("j1", "lost", "cancelled", t=3)),
        ),
    ],
}

SOUND: dict[str, list[Example]] = {
    "I1 NO-LOSS": [
        Example(PLAIN, final(DONE)),
        Example(submit(1, None, phase="info"), final()),  # nothing was promised to the client
        Example(submit(1, None, phase="fail"), final()),
        Example(submit(1, "j1")[:1], final()),  # the client was killed before the reply
    ],
    "I2 NO-PHANTOM": [
        Example([*submit(1, None, phase="info"), *run(2, "j1", "t1", end=3)], final(DONE)),
        Example([*submit(1, "j1")[:1], *run(2, "j1", "t1", end=3)], final(DONE)),
        Example(run(3, "j1", "t1", end=4), final(row(label="", token="t1", schedule="tick", scheduled_at=2))),
        Example([*submit(1, None, phase="fail"), *submit(2, "j1"), *run(3, "j1", "t1", end=4)], final(DONE)),
    ],
    "I3 ONE-KEY": [
        Example(
            [*submit(1, "j1", key="k"), *submit(2, "j1", key="k", client="client2"), *run(3, "j1", "t1", end=4)],
            final(DONE),
        ),
    ],
    "I4 ONE-LEASE": [
        Example(
            [*submit(1, "j1"), *_two_runs(end=9.5), *fault(2, "kill-runner", 100)],
            final(_completed_after("lost"), events=stored("j1", "lost", t=6)),
        ),
        Example(  # claimed, stopped before its first line, and late
            [
                *submit(1, "j1"),
                *fault(1.2, "stop-runner", 100, until=6),
                *run(5, "j1", "t2", epoch=2, end=5.5, process="200"),
                *run(6, "j1", "t1"),
            ],
            final(_completed_after("lost"), events=stored("j1", "lost", t=4.5)),
        ),
    ],
    "I5 FENCED": [
        Example(  # it asked before it was superseded, and was granted
            [
                *submit(1, "j1", kind="exact"),
                *run(1.5, "j1", "t1"),
                *slice_of(2, "j1", "t1", 0),
                *fault(2.5, "kill-runner", 100),
                *run(9, "j1", "t2", epoch=2, end=9.5, process="200"),
            ],
            final(
                row(kind="exact", token="t2", epoch=2, version=5, count=2),
                events=stored("j1", "lost", t=6),
                effects=[*written(0, epoch=1), *written(1, epoch=2)],
            ),
        ),
    ],
    "I6 ONE-END": [
        Example(
            [*_retried(), *ask(4, "result", "j1", "completed", result="t1")],
            final(
                row(token="t1", version=6),
                events=[FinalEvent("j1", 3, S, "failed"), FinalEvent("j1", 4, 3 * S, "retried")],
            ),
        ),
        Example(  # a discard is not a second end
            PLAIN,
            final(
                row(state="cancelled", version=4),
                events=[FinalEvent("j1", 3, S, "failed"), FinalEvent("j1", 4, 2 * S, "discarded")],
            ),
        ),
    ],
    "I7 LEGAL-EDGE": [
        Example(
            PLAIN,
            final(
                row(token="t1", version=6),
                events=[FinalEvent("j1", 2, S, "paused"), FinalEvent("j1", 3, S, "resumed")],
            ),
        ),
    ],
    "I8 BUDGET": [
        Example(
            PLAIN,
            final(
                row(state="failed", errors=5, version=11),
                events=stored("j1", *["attempt_failed"] * 4, "failed", t=1.55),
            ),
        ),
    ],
    "I9 EFFECT": [
        Example(
            [*submit(1, "j1", kind="exact")],
            final(row(kind="exact", count=3), effects=written(0, 1, 2)),
        ),
        Example(
            submit(1, "j1", kind="exact"),
            final(
                row(kind="exact", state="cancelled", count=3, done=1),
                effects=written(0),
                events=stored("j1", "cancelled"),
            ),
        ),
        Example(  # one slice again for one interruption
            [
                *submit(1, "j1", kind="repeated"),
                *run(1.5, "j1", "t1"),
                *slice_of(2, "j1", "t1", 0, is_effect=True),
                *fault(2.5, "kill-runner", 100),
                *run(6, "j1", "t2", epoch=2, end=9, has_effect=False),
                *slice_of(7, "j1", "t2", 0, epoch=2, is_effect=True),
            ],
            final(
                row(kind="repeated", count=5, token="t2", epoch=2, version=5, finished=9),
                events=stored("j1", "lost", t=5),
            ),
        ),
    ],
    "I10 NOT-EARLY": [
        Example([*submit(1, "j1", delay=2), *run(3.5, "j1", "t1", end=4)], final(DONE)),
        Example(  # a retry sets a new time
            [*submit(1, "j1", delay=99), *ask(2, "retry", "j1", "pending"), *run(3, "j1", "t1", end=4)],
            final(DONE),
        ),
    ],
    "I11 LIVENESS": [
        Example([at(0, "harness", "heal"), *PLAIN], final(DONE)),
        Example([*submit(1, "j1"), at(2, "harness", "heal"), *run(60, "j1", "t1", end=61)], final(DONE)),  # was before
    ],
    "I12 RECOVERY": [
        Example(
            [*submit(1, "j1"), *_two_runs(end=9.5), *fault(2, "kill-runner", 100)],
            final(_completed_after("lost"), events=stored("j1", "lost", t=8)),
        ),
        Example(  # late, because the server was away meanwhile
            [
                *submit(1, "j1"),
                *run(1.5, "j1", "t1"),
                *fault(2, "kill-runner", 100),
                *fault(20, "crash-server", until=40),
                *run(51, "j1", "t2", epoch=2, end=52),
            ],
            final(row(token="t2", epoch=2, version=5, finished=52), events=stored("j1", "lost", t=50)),
        ),
        Example(  # it was done before it died
            [*PLAIN, *fault(3, "kill-runner", 100)],
            final(DONE),
        ),
    ],
    "I13 CAP": [
        Example(
            [
                *submit(1, "j1"),
                *submit(1.2, "j2", label="b"),
                *run(2, "j1", "t1", end=4, value=LIMITED),
                *run(4, "j2", "t2", end=5, value=LIMITED),
            ],
            final(row(token="t1", finished=4), row("j2", "b", token="t2", finished=5)),
        ),
        Example(  # the first was killed: its lease is over when the store says so
            [
                *submit(1, "j1"),
                *submit(1.2, "j2", label="b"),
                *run(2, "j1", "t1", value=LIMITED),
                *fault(2.5, "kill-runner", 100),
                *run(6, "j2", "t2", end=7, value=LIMITED, process="200"),
                *run(8, "j1", "t3", epoch=2, end=9, value=LIMITED, process="200"),
            ],
            final(
                row(token="t3", epoch=2, version=5, finished=9),
                row("j2", "b", token="t2", finished=7),
                events=stored("j1", "lost", t=5),
            ),
        ),
    ],
    "I14 RATE": [
        Example(
            [
                event
                for number in range(8)
                for event in (
                    *submit(1 + number / 100, f"j{number}", label=f"{number}", client=f"client{number}"),
                    *run(2 + number, f"j{number}", f"t{number}", end=10, value=RATED),
                )
            ],
            final(*(row(f"j{number}", f"{number}", token=f"t{number}", finished=10) for number in range(8))),
        ),
    ],
    "I15 CANCEL": [
        Example(  # it ran, was asked, and stopped
            [*submit(1, "j1"), *run(1.5, "j1", "t1"), *ask(2, "cancel", "j1", "processing")],
            final(row(state="cancelled", version=3), events=stored("j1", "cancelled", t=2.5)),
        ),
        Example([*PLAIN, *ask(1.55, "cancel", "j1", "processing")], final(DONE)),  # completion won
        Example(
            [
                *submit(1, "j1"),
                *ask(2, "cancel", "j1", "cancelled"),
                *ask(3, "retry", "j1", "pending"),
                *run(4, "j1", "t1", epoch=2, end=5),
            ],
            final(
                row(token="t1", epoch=2, version=5, finished=5),
                events=stored("j1", "cancelled", "retried", t=2, steps=1),
            ),
        ),
    ],
    "I17 CRON": [
        Example(
            [EVERY, *run(5.1, "j1", "t1", end=5.2), *run(6.1, "j2", "t2", end=6.2)],
            final(
                row("j1", "", token="t1", schedule="tick", scheduled_at=5, finished=6),
                row("j2", "", token="t2", schedule="tick", scheduled_at=6, finished=7),
            ),
        ),
    ],
    "I18 ORDER": [
        Example(
            [
                *submit(1, "j1", limit="s"),
                *submit(2, "j2", label="b", limit="s"),
                *run(3, "j1", "t1", end=4),
                *run(5, "j2", "t2", end=6),
            ],
            final(row(token="t1", finished=4), row("j2", "b", token="t2", finished=6)),
        ),
        Example(  # the process of the first was stopped before it began, and its lease was over by then
            [
                *submit(1, "j1", limit="s"),
                *submit(2, "j2", label="b", limit="s"),
                *fault(2.5, "stop-runner", 100, until=6),
                *run(5, "j2", "t2", process="200", end=5.5),
                *run(6.1, "j1", "t1", end=6.2),
                at(3, "client1", "cancel", phase="invoke", job="j1"),
                at(3.1, "client1", "cancel", job="j1", value=Value(state="processing")),
            ],
            final(
                row(state="cancelled", finished=4, version=4),
                row("j2", "b", token="t2", finished=5.5),
                events=[FinalEvent("j1", 3, 4 * S, "lost"), FinalEvent("j1", 4, 4 * S, "cancelled")],
            ),
        ),
        Example(  # it is unknown which came first
            [
                *submit(1, "j1", limit="s"),
                *submit(1.05, "j2", label="b", limit="s", client="client2"),
                *run(3, "j2", "t2", end=4),
                *run(5, "j1", "t1", end=6),
            ],
            final(row(token="t1", finished=6), row("j2", "b", token="t2", finished=4)),
        ),
    ],
    "I19 UNIQUE": [
        Example(
            [*submit(1, "j1", unique="u"), *submit(5, "j2", unique="u")],
            final(row("j1", created=1, finished=4), row("j2", created=5, finished=10)),
        ),
        Example(  # the clock of its end was read before its commit
            [*submit(1, "j1", unique="u"), *submit(5, "j2", unique="u")],
            final(row("j1", created=1, finished=5.05), row("j2", created=5.02, finished=10)),
        ),
    ],
    "I20 EVENTS": [
        Example(
            [*PLAIN, *fault(1.1, "kill-runner", 7)],
            final(row(token="t1", version=6), events=[FinalEvent("j1", 4, S * 2, "lost")]),  # a promotion before it
        ),
    ],
    "I22 NO-ORPHAN": [
        Example(
            [
                *PLAIN,
                at(1.5, "100", "child", job="j1", value=Value(pids=[555])),
                at(9, "harness", "leftovers"),
            ],
            final(DONE),
        ),
    ],
    "I23 SOUND": [Example(PLAIN, final(DONE, rows={"ready": 0, "leases": 0, "parked": 0}))],
    "I27 BOUNDED": [
        Example([at(1, "harness", "survey", value=Value(figures={"wal": 2e6}, limits={"wal": 1e9}))], final()),
    ],
    "I28 MONOTONE": [
        Example(
            [
                *PLAIN,
                *ask(2, "status", "j1", "failed"),
                *ask(3, "retry", "j1", "pending"),
                *ask(4, "status", "j1", "pending"),
            ],
            final(DONE),
        ),
        Example(  # two sessions are two
            [*PLAIN, *ask(2, "status", "j1", "completed"), *ask(3, "status", "j1", "processing", client="client2")],
            final(DONE),
        ),
    ],
    "I30 CLEAN-STOP": [
        Example([*PLAIN, *fault(1.7, "terminate", 100, until=4, code=0)], final(DONE)),
        Example(  # claimed before, and its child took three seconds to start
            [
                *submit(1, "j1", kind="apart"),
                *fault(1, "terminate", 100, until=5, code=0),
                *run(4, "j1", "t1", end=4.5),
            ],
            final(row(kind="apart", token="t1")),
        ),
        Example(
            [*submit(1, "j1"), *run(1.5, "j1", "t1"), *fault(2, "terminate", 100, until=4, code=0)],
            final(row(state="cancelled", version=5), events=stored("j1", "released", "cancelled", t=3)),
        ),
    ],
}


def _all(examples: dict[str, list[Example]]) -> list[object]:
    return [
        pytest.param(name, example, id=f"{name}-{number}")
        for name, its in examples.items()
        for number, example in enumerate(its, 1)
    ]


@pytest.mark.parametrize(("name", "example"), _all(BROKEN))
def test_what_breaks_an_invariant_is_caught(name: str, example: Example) -> None:
    found = violations(Case(example.history, example.final))
    assert any(sentence.startswith(f"{name}: ") for sentence in found), found


@pytest.mark.parametrize(("name", "example"), _all(SOUND))
def test_what_is_sound_breaks_nothing(name: str, example: Example) -> None:
    assert violations(Case(example.history, example.final)) == [], name


def test_every_invariant_has_examples_or_a_reason_why_not() -> None:
    assert set(BROKEN) == set(SOUND) == set(INVARIANTS)
    numbers = sorted(int(name.split()[0][1:]) for name in (*INVARIANTS, *ELSEWHERE))
    assert numbers == list(range(1, 31))


def test_a_flood_of_violations_is_counted() -> None:
    jobs = [row(f"j{number}") for number in range(MAX_TOLD + 5)]
    found = violations(Case([], final(*jobs)))
    assert found[-1] == "I2 NO-PHANTOM: and 5 more"


def test_a_history_is_read_as_it_was_written(tmp_path: object) -> None:
    path = f"{tmp_path}/history"
    recorder = Recorder(path, "client1")
    events = [
        recorder.write("submit", "invoke", tenant="north", value=Value(labels=["a"], delay=3)),
        recorder.write("submit", "info", tenant="north", value=Value(error="OutcomeUnknown()")),
    ]
    recorder.close()
    assert read_history(path) == events
