"""Workloads under fault: client processes that make random calls to the store and record the results.

    python -m tests.faults.workloads NAME SEED WORKLOAD[,WORKLOAD…]

A client runs until SIGTERM, which it obeys between two calls; the nemesis kills it in the middle of one. If an error
leaves it unknown whether the call took effect, it is recorded as `info`.

A workload is a function of a `Client` in WORKLOADS that makes one call.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

import psycopg

import posthorse as ph
from tests.faults.application import (
    apart,
    app,
    capped,
    exact,
    exact_async,
    failing,
    in_turn,
    plain,
    plain_in_thread,
    poison,
    rated,
    repeated,
)
from tests.faults.history import HISTORY, Recorder, Value

T = TypeVar("T")

MAX_KNOWN = 200
PAUSE = 0.03
"""Seconds between two calls of a client, on average."""

REFUSED = (ph.UsageError, ph.KeyConflict, ph.InvalidTransition, ph.JobNotFound, ph.QueueFull, ph.QueueClosed)
"""Errors that mean that nothing was done."""


class Client:
    """One session: its calls, one after the other."""

    def __init__(self, name: str, seed: int, recorder: Recorder) -> None:
        self.name = name
        self.chance = random.Random(seed)
        self.recorder = recorder
        self.known: list[str] = []
        self.asked_once: set[str] = set()
        self._number = 0

    def label(self, what: str) -> str:
        """Return a label that no other job has."""
        self._number += 1
        return f"{what}:{self.name}:{self._number}"

    def some_job(self) -> str | None:
        """Return one of the jobs that it made, more likely a recent one."""
        if not self.known:
            return None
        back = min(len(self.known), 1 + int(self.chance.expovariate(0.15)))
        return self.known[-back]

    def submit(self, calls: Sequence[ph.Call[str]], value: Value, *, tenant: str | None = None) -> None:
        """Enqueue calls together, and record their ids."""
        self.recorder.write("submit", "invoke", tenant=tenant, value=value)
        with self._answering("submit", tenant=tenant):
            jobs = [job.id for job in app.enqueue_many(calls)]
            self.recorder.write("submit", tenant=tenant, value=Value(jobs=jobs))
            self.known = [*self.known, *jobs][-MAX_KNOWN:]

    def ask(self, op: str, job: str | None, do: Callable[[], Value], value: Value = Value()) -> None:  # noqa: B008
        """Make a request about a job, and record the result."""
        self.recorder.write(op, "invoke", job=job, value=value)
        with self._answering(op, job=job):
            answer = do()
            self.recorder.write(op, job=job, value=answer)

    @contextmanager
    def _answering(self, op: str, *, job: str | None = None, tenant: str | None = None) -> Iterator[None]:
        try:
            yield
        except REFUSED as error:
            self.recorder.write(op, "fail", job=job, tenant=tenant, value=Value(error=repr(error)[:200]))
        except (ph.PosthorseError, TimeoutError) as error:
            self.recorder.write(op, "info", job=job, tenant=tenant, value=Value(error=repr(error)[:200]))


# ── what clients ask for ─────────────────────────────────────────────────────────────────────────────


def submits(client: Client) -> None:
    """Submit plain jobs, now or soon."""
    kinds: list[ph.Kind[[str, float], str]] = [plain, plain_in_thread]
    kind = client.chance.choice(kinds)
    label, delay = client.label("plain"), client.chance.choice([None, None, 0.5, 2.0])
    using = kind if delay is None else kind.using(delay=delay)
    micros = None if delay is None else round(delay * 1_000_000)
    call = using.bind(label, client.chance.choice([0.0, 0.01, 0.2]))
    client.submit([call], Value(labels=[label], kind=kind.kind, delay=micros))


def bulks(client: Client) -> None:
    """Submit many jobs, all or none; now and then one of them is refused."""
    labels = [client.label("bulk") for _ in range(client.chance.randint(2, 12))]
    calls = [plain.bind(label, 0.0) for label in labels]
    if client.chance.random() < 0.3:
        label = client.label("conflict")
        labels.append(label)
        calls.append(plain.using(key=_key(client)).bind(label, 0.0))
    client.submit(calls, Value(labels=labels, kind="plain"))


def keys(client: Client) -> None:
    """Use the same key from many clients, for the same job; now and then for another one."""
    key = _key(client)
    label = f"key:{key}" if client.chance.random() < 0.8 else client.label("conflict")
    tenant = client.chance.choice([None, "north", "south"])
    using = plain.using(key=key) if tenant is None else plain.using(key=key, tenant=tenant)
    client.submit([using.bind(label, 0.0)], Value(labels=[label], kind="plain", key=key), tenant=tenant)


def uniques(client: Client) -> None:
    """Submit the same job from many clients, while the earlier one lives."""
    label = f"unique:{client.chance.randrange(4)}"
    client.submit([plain.using(unique=True).bind(label, 0.1)], Value(labels=[label], kind="plain", unique=label))


def slices(client: Client) -> None:
    """Submit long jobs, with and without transactions."""
    kinds: list[ph.Kind[[str, int, int, float], str]] = [exact, exact_async, repeated]
    kind = client.chance.choice(kinds)
    label = client.label(kind.kind)
    client.submit([kind.bind(label, client.chance.choice([20, 60]), 5, 0.03)], Value(labels=[label], kind=kind.kind))


def failures(client: Client) -> None:
    """Submit jobs that fail: some succeed in the end, some become dead letters."""
    label = client.label("failing")
    failures = client.chance.choice([1, 2, 9])
    client.submit([failing.bind(label, failures)], Value(labels=[label], kind="failing", max_attempts=3))


def poisons(client: Client) -> None:
    """Submit a job that kills its runner; at most one per client, because it costs three runners."""
    label = f"poison:{client.name}"
    if client.chance.random() < 0.05 and label not in client.asked_once:
        client.asked_once.add(label)
        client.submit([poison.bind(label)], Value(labels=[label], kind="poison"))


def isolated(client: Client) -> None:
    """Submit jobs in processes of their own, which start others."""
    if client.chance.random() < 0.3:
        label = client.label("apart")
        client.submit([apart.bind(label, 0.1)], Value(labels=[label], kind="apart"))


def guests(client: Client) -> None:
    """Submit a job in the client's own transaction, which it commits or rolls back; then there is no job."""
    label = client.label("guest")
    client.recorder.write("submit", "invoke", value=Value(labels=[label], kind="plain"))
    is_committed = client.chance.random() < 0.6
    commits = False
    try:
        connection = _own_connection()
        try:
            job = plain.using(connection=connection).enqueue(label, 0.0)
            if is_committed:
                commits = True
                connection.commit()
            else:
                connection.rollback()
        finally:
            connection.close()
    except (ph.PosthorseError, sqlite3.Error, psycopg.Error) as error:
        client.recorder.write("submit", "info" if commits else "fail", value=Value(error=repr(error)[:200]))
    else:
        answer = Value(jobs=[job.id]) if is_committed else Value(error="rolled back")
        client.recorder.write("submit", "ok" if is_committed else "fail", value=answer)


def limits(client: Client) -> None:
    """Submit jobs that count against a concurrency or a rate."""
    if client.chance.random() < 0.5:
        label = client.label("capped")
        client.submit([capped.bind(label, 0.05)], Value(labels=[label], kind="capped"))
    else:
        label = client.label("rated")
        client.submit([rated.bind(label)], Value(labels=[label], kind="rated"))


def sequences(client: Client) -> None:
    """Submit jobs that run one after the other, from several clients."""
    label, sequence = client.label("turn"), f"turn-{client.chance.randrange(3)}"
    client.submit(
        [in_turn.using(sequence=sequence).bind(label, 0.02)], Value(labels=[label], kind="in_turn", limit=sequence)
    )


def steers(client: Client) -> None:
    """Cancel, pause, resume and retry in a race with whatever a job does: one of its own, or one that runs."""
    running = (
        [job.id for job in itertools.islice(app.jobs("state:processing"), 8)] if client.chance.random() < 0.6 else []
    )
    job_id = client.chance.choice(running) if running else client.some_job()
    if job_id is None:
        return
    job = app.get_job(job_id)
    force = client.chance.random() < 0.3
    match client.chance.choice(["cancel", "pause", "pause", "resume", "resume", "retry"]):
        case "cancel":
            client.ask("cancel", job_id, lambda: Value(state=str(job.cancel(force=force))), Value(force=force))
        case "pause":
            client.ask("pause", job_id, lambda: Value(state=str(job.pause(force=force))), Value(force=force))
            if force:
                client.ask("resume", job_id, lambda: Value(state=str(job.resume())))
        case "resume":
            client.ask("resume", job_id, lambda: Value(state=str(job.resume())))
        case _:
            client.ask("retry", job_id, lambda: Value(state=str(job.retry())))


def races(client: Client) -> None:
    """Submit a short job, and cancel or pause it at about the time when it ends."""
    label = client.label("race")
    client.submit([plain.bind(label, 0.05)], Value(labels=[label], kind="plain"))
    if not client.known:
        return
    job_id = client.known[-1]
    job = app.get_job(job_id)
    time.sleep(client.chance.uniform(0, 0.12))
    if client.chance.random() < 0.7:
        client.ask("cancel", job_id, lambda: Value(state=str(job.cancel())))
    else:
        client.ask("pause", job_id, lambda: Value(state=str(job.pause())))
        client.ask("resume", job_id, lambda: Value(state=str(job.resume())))


def watches(client: Client) -> None:
    """Look at jobs repeatedly, and get the results of those that are over."""
    job_id = client.some_job()
    if job_id is not None:
        client.ask("status", job_id, lambda: _seen(job_id))
        if app.get_job(job_id).status().state.is_final:
            client.ask("result", job_id, lambda: _ended(job_id))


def redrives(client: Client) -> None:
    """Retry or discard dead letters, one or all of them."""
    if client.chance.random() < 0.2:
        client.ask("retry_many", None, lambda: Value(code=app.jobs("state:failed kind:failing").retry(rate="20/s")))
    elif job_id := next((job.id for job in app.jobs("state:failed kind:failing")), None):
        job = app.get_job(job_id)
        client.ask("discard", job_id, lambda: Value(state=str(job.discard())))


WORKLOADS: dict[str, Callable[[Client], None]] = {
    "submits": submits,
    "bulks": bulks,
    "keys": keys,
    "uniques": uniques,
    "slices": slices,
    "failures": failures,
    "poisons": poisons,
    "isolated": isolated,
    "guests": guests,
    "limits": limits,
    "sequences": sequences,
    "steers": steers,
    "races": races,
    "watches": watches,
    "redrives": redrives,
}

KEEPS_BUSY = ("slices", "isolated")
"""Workloads that are used rarely, because their jobs take long."""


def _key(client: Client) -> str:
    """Return a key that other clients also use at this time."""
    return f"{int(time.time()) // 5}-{client.chance.randrange(3)}"


def _seen(job_id: str) -> Value:
    status = app.get_job(job_id).status()
    return Value(state=str(status.state), done=status.progress.done, code=status.attempt)


def _ended(job_id: str) -> Value:
    try:
        return Value(state="completed", result=str(app.get_job(job_id).result(timeout=1)))
    except ph.JobFailed:
        return Value(state="failed")
    except ph.JobCancelled:
        return Value(state="cancelled")


def _own_connection() -> sqlite3.Connection | psycopg.Connection[tuple[object, ...]]:
    url = app.settings.url
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)
    return psycopg.connect(url, connect_timeout=5)


def run(name: str, seed: int, workloads: Sequence[str], history: str) -> None:
    """Make calls until SIGTERM."""
    is_stopped: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: is_stopped.append(True))
    client = Client(name, seed, Recorder(history, name))
    weights = [0.25 if workload in KEEPS_BUSY else 1.0 for workload in workloads]
    while not is_stopped:
        with suppress(ph.StoreError):  # a look that came before the call
            WORKLOADS[client.chance.choices(workloads, weights)[0]](client)
        time.sleep(client.chance.expovariate(1 / PAUSE))
    app.close()


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","), os.environ[HISTORY])
