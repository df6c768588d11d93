"""I20, the judge of timelines: each has every number of its job, never changes, and says what happened in each step.

What happened is taken from the rows of a job before and after the step; the timeline is read as users read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from posthorse.rules.event_names import ENDS_OF_ATTEMPTS
from posthorse.rules.events import Event
from posthorse.rules.timeline import StoredFacts, tell
from posthorse.store.operations import read
from posthorse.store.store import Store
from tests.faults.simulation.limits import named
from tests.faults.simulation.snapshot import Snapshot, Standing

_ENDS = {
    "completed": {"completed"},
    "failed": {"failed"},
    "cancelled": {"cancelled", "expired", "discarded"},
    "paused": {"paused"},
}
"""The last events of jobs in these states."""


class Timelines:
    """The timelines of all jobs as they were told last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told: dict[str, tuple[StoredFacts, list[Event]]] = {}

    def problems(self, before: Snapshot, after: Snapshot) -> Iterator[str]:
        """Judge the timelines of the jobs that changed."""
        for one in after.changed(before):
            job = one.job.id
            stored = self._store.read(read.timeline(job))
            assert stored is not None
            told = tell(stored.facts, stored.evidence)
            for problem in _problems(stored.facts, told):
                yield f"I20: the timeline of {named(one.job)} {problem}: {_short(told)}"
            if job in self._told:
                facts, earlier = self._told[job]
                problems = [*_kept(facts, earlier, told), *_happened(before.jobs[job], one, told)]
                for number in {0, facts.version, facts.version - 1}:
                    rest = self._store.read(read.timeline(job, after=number))
                    assert rest is not None
                    if tell(rest.facts, rest.evidence, number) != _behind(told, number):
                        problems.append(f"is another one behind {number}")
                for problem in problems:
                    yield f"I20: the timeline of {named(one.job)} {problem}: {_short(earlier)} became {_short(told)}"
            self._told[job] = stored.facts, told


def _problems(facts: StoredFacts, told: Sequence[Event]) -> Iterator[str]:
    """Judge one timeline by itself."""
    last = facts.version + (facts.claimed_at is not None)
    if told[0].number - told[0].covers != 0 or told[-1].number != last:
        yield f"does not go from 1 to {last}"
    if any(later.number - later.covers != event.number for event, later in pairwise(told)):
        yield "has gaps"
    if told[0].name != "submitted" or any(event.name == "submitted" for event in told[1:]):
        yield "does not begin where the job did"
    for event, later in pairwise(told):
        begins = event.name in ("started", "claimed")
        if begins != (later.name in ENDS_OF_ATTEMPTS and later.attempt is not None and later.covers == 1):
            yield f"has {later.name} after {event.name}"
    for event, later in pairwise([event for event in told if event.name == "queued"]):
        if event.number + 1 == later.number and not event.covers == later.covers == 1:
            yield "covers what it tells one by one"


def _kept(facts: StoredFacts, earlier: Sequence[Event], told: Sequence[Event]) -> Iterator[str]:
    """Judge that what was told stays so, except for a start that was taken back, and what a series replaced."""
    now = {event.number: event for event in told}
    for event in earlier:
        if event.number > facts.version:
            continue
        there = now.get(event.number)
        is_replaced = any(each.number - each.covers < event.number < each.number for each in told)
        if not is_replaced and (there is None or (there.covers == event.covers == 1 and there.name != event.name)):
            yield f"told {event.name} at {event.number} and does not any more"


def _happened(old: Standing, new: Standing, told: Sequence[Event]) -> Iterator[str]:
    """Judge that what changed in the row was told."""
    names = [event.name for event in told if event.number > old.job.version]
    ends = sum(name in ENDS_OF_ATTEMPTS for name in names)
    if not names and new.job.version > old.job.version:
        yield "tells nothing new"
    expected = _ENDS.get(new.shown)
    if expected is not None and old.shown != new.shown and (not names or names[-1] not in expected):
        yield f"does not end as the job did, which is {new.shown}"
    is_retried = "retried" in names
    if not is_retried:
        if new.job.errors > old.job.errors and not {"attempt_failed", "failed"} & set(names):
            yield "does not tell of an error"
        if new.job.crashes > old.job.crashes and not {"crashed", "failed"} & set(names):
            yield "does not tell of a crash"
        if new.job.interruptions > old.job.interruptions and not {"lost", "failed"} & set(names):
            yield "does not tell of an interruption"
    if old.lease is not None and new.lease != old.lease and not ends and names[:1] != ["queued"]:
        yield "does not tell how an attempt ended"
    if old.job.arguments != new.job.arguments and not {"superseded", "retried"} & set(names):
        yield "does not tell of other arguments"
    if old.job.is_over and not new.job.is_over and not is_retried:
        yield "does not tell of a retry"
    grown = new.job.version - old.job.version
    if old.lease is not None and new.lease is None and grown >= 2 and not ends:
        yield "does not tell of the end of an attempt"


def _behind(told: Sequence[Event], number: int) -> list[Event]:
    """Return the events behind a number, as a timeline that is asked for from there should be."""
    found: list[Event] = []
    for event in told:
        if event.number > number:
            covers = min(event.covers, event.number - number)
            found.append(event if covers == event.covers else _with_covers(event, covers))
    return found


def _with_covers(event: Event, covers: int) -> Event:
    values = {name: getattr(event, name) for name in event.__struct_fields__}
    return Event(**{**values, "covers": covers})


def _short(told: Sequence[Event]) -> str:
    return " ".join(
        f"{event.number}:{event.name}" + (f"({event.covers})" if event.covers > 1 else "") for event in told
    )
