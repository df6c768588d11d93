"""The case to judge: a history and the final state of its store, arranged as runs, submits, faults, and jobs.

Pure. It judges nothing itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

from tests.faults.final import Final, FinalEffect, FinalEvent, FinalJob
from tests.faults.history import Event, Phase, Value, in_order

T = TypeVar("T")

SECOND = 1_000_000
FOREVER = 2**62
FINAL_STATES = ("completed", "failed", "cancelled")


class Call(NamedTuple):
    """A call of a client: when it was made, and what is known about its result. A call without a reply may have taken
    effect at any time since, so it ends in `FOREVER` as info."""

    op: str
    process: str
    begin: int
    end: int
    phase: Phase
    job: str | None
    tenant: str | None
    asked: Value
    answer: Value

    @property
    def may_have_been_done(self) -> bool:
        return self.phase != "fail"


class Run(NamedTuple):
    """One run of a job's code, as it recorded itself. `end` is None if it never came to its end."""

    job: str
    epoch: int
    attempt: int
    token: str
    process: str
    begin: int
    end: int | None
    value: Value

    def __str__(self) -> str:
        return f"run {self.token} (epoch {self.epoch}, process {self.process})"


class Fault(NamedTuple):
    """Something that the nemesis did, or a job that killed its own process."""

    op: str
    begin: int
    end: int
    value: Value


class Case:
    """All that there is to judge. `lease` and `bound` are in seconds; `bound` is what a recovery may take in
    addition."""

    def __init__(
        self,
        history: Sequence[Event],
        final: Final,
        *,
        lease: float = 3.0,
        bound: float = 20.0,
        max_attempts: int = 5,
        max_crashes: Mapping[str, int] = {},  # no code writes to a Mapping
    ) -> None:
        self.history = in_order(history)
        self.final = final
        self.lease = lease
        self.bound = bound
        self.max_attempts = max_attempts
        self._max_crashes = max_crashes

    def max_crashes(self, kind: str) -> int:
        """Return the crash budget of a kind."""
        return self._max_crashes.get(kind, 3)

    # ── the store ────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def jobs(self) -> dict[str, FinalJob]:
        return {job.id: job for job in self.final.jobs}

    @cached_property
    def by_label(self) -> dict[str, list[FinalJob]]:
        return _grouped((job.label, job) for job in self.final.jobs)

    @cached_property
    def stored_events(self) -> dict[str, list[FinalEvent]]:
        """Events by job, in the order of their versions."""
        ordered = sorted(self.final.events, key=lambda event: event.version)
        return _grouped((event.job, event) for event in ordered)

    @cached_property
    def effects(self) -> dict[str, list[FinalEffect]]:
        """What slices wrote in their own transactions, in the order of writing."""
        return _grouped((effect.job, effect) for effect in self.final.effects)

    def generations(self, job: str) -> list[list[FinalEvent]]:
        """Return the events of a job, split where it was retried."""
        parts: list[list[FinalEvent]] = [[]]
        for event in self.stored_events.get(job, []):
            if event.name == "retried":
                parts.append([])
            else:
                parts[-1].append(event)
        return parts

    # ── the history ──────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def calls(self) -> list[Call]:
        """The calls of clients, in the order in which they were made."""
        open_calls: dict[tuple[str, str], Event] = {}
        calls: list[Call] = []
        for event in self.history:
            if event.process.startswith("client"):
                if event.phase == "invoke":
                    open_calls[event.process, event.op] = event
                elif asked := open_calls.pop((event.process, event.op), None):
                    calls.append(_call(asked, event))
        calls += [_call(asked, None) for asked in open_calls.values()]
        return sorted(calls, key=lambda call: call.begin)

    def calls_of(self, *ops: str) -> list[Call]:
        """Return the calls of some operations."""
        return [call for call in self.calls if call.op in ops]

    @cached_property
    def submits(self) -> list[Call]:
        return self.calls_of("submit")

    @cached_property
    def submit_of(self) -> dict[str, Call]:
        """The submit that created a job, by the job's label; of several with one key or identity, the first."""
        made: dict[str, Call] = {}
        for call in self.submits:
            if call.may_have_been_done:
                for label in call.asked.labels:
                    made.setdefault(label, call)
        return made

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        """Runs by job, in the order of their beginnings."""
        ends: dict[str, int] = {}
        for event in self.history:
            if event.op == "end" and event.token:
                ends[event.token] = event.t
        return _grouped(
            (
                event.job,
                Run(
                    event.job,
                    event.epoch or 0,
                    event.attempt or 1,
                    event.token,
                    event.process,
                    event.t,
                    ends.get(event.token),
                    event.value,
                ),
            )
            for event in self.history
            if event.op == "start" and event.job and event.token
        )

    @cached_property
    def all_runs(self) -> list[Run]:
        """All runs, in the order of their beginnings."""
        return sorted((run for runs in self.runs.values() for run in runs), key=lambda run: run.begin)

    def said(self, op: str, phase: Phase = "ok") -> Iterator[Event]:
        """Yield what jobs recorded about themselves."""
        return (event for event in self.history if event.op == op and event.phase == phase and event.job)

    @cached_property
    def faults(self) -> list[Fault]:
        """The faults, in the order of their beginnings."""
        open_faults: dict[str, Event] = {}
        faults: list[Fault] = []
        for event in self.history:
            if event.process == "nemesis":
                if event.phase == "invoke":
                    open_faults[event.op] = event
                elif begun := open_faults.pop(event.op, None):
                    value = event.value if event.value != Value() else begun.value
                    faults.append(Fault(event.op, begun.t, event.t, value))
            elif event.op == "suicide":
                faults.append(Fault(event.op, event.t, event.t, event.value))
        faults += [Fault(begun.op, begun.t, FOREVER, begun.value) for begun in open_faults.values()]
        return sorted(faults, key=lambda fault: fault.begin)

    @cached_property
    def healed_at(self) -> int | None:
        """The time after which there were no more faults."""
        return next((event.t for event in self.history if event.op == "heal"), None)

    def faults_between(self, begin: int, end: int) -> list[Fault]:
        """Return the faults that lasted at some moment of that time."""
        return [fault for fault in self.faults if fault.begin <= end and fault.end >= begin]

    def recovered_by(self, since: int) -> int:
        """Return when a recovery that begins then must be over at the latest: each fault meanwhile restarts it."""
        deadline = since + self._recovery
        for fault in self.faults:
            if since < fault.end and fault.begin <= deadline:
                deadline = max(deadline, fault.end + self._recovery)
        return deadline

    def may_have_been_retried(self, job: str, since: int, until: int) -> bool:
        """Return whether a client may have retried this job between two moments; a bulk retry may mean any job."""
        return any(
            call.job in (job, None) and call.may_have_been_done and call.begin <= until and call.end >= since
            for call in self.calls_of("retry", "retry_many")
        )

    def may_have_been_forced(self, job: str) -> bool:
        """Return whether a client may have taken the lease on this job away."""
        return any(
            call.job == job and call.asked.force and call.may_have_been_done
            for call in self.calls_of("pause", "cancel")
        )

    def was_struck(self, process: str, until: int) -> bool:
        """Return whether a fault hit this very process before that moment."""
        return any(fault.begin <= until and process in map(str, fault.value.pids) for fault in self.faults)

    def held_until(self, run: Run) -> int | None:
        """Return when a run certainly ended, by its own record, or its lease at the latest, by the store's; None:
        unknown."""
        ends = [] if run.end is None else [run.end]
        ends += [other.begin for other in self.runs[run.job] if other.epoch > run.epoch]
        ends += [event.at for event in self.stored_events.get(run.job, ()) if event.at >= run.begin]
        ends += [
            fault.begin for fault in self.faults if "kill" in fault.op and run.process in map(str, fault.value.pids)
        ]
        return min((end for end in ends if end >= run.begin), default=None)

    @property
    def _recovery(self) -> int:
        return round((self.lease + self.bound) * SECOND)


def _call(asked: Event, answer: Event | None) -> Call:
    return Call(
        op=asked.op,
        process=asked.process,
        begin=asked.t,
        end=FOREVER if answer is None or answer.phase == "info" else answer.t,
        phase="info" if answer is None else answer.phase,
        job=asked.job,
        tenant=asked.tenant,
        asked=asked.value,
        answer=Value() if answer is None else answer.value,
    )


def _grouped(pairs: Iterator[tuple[str, T]]) -> dict[str, list[T]]:
    found: defaultdict[str, list[T]] = defaultdict(list)
    for name, thing in pairs:
        found[name].append(thing)
    return dict(found)
