"""The limits of queues and kinds: the gates that each job in a lane must pass.

If a limit depends on arguments, they are read at the claim, so a changed limit also applies to jobs that already wait.
This module does not know the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from posthorse.errors import CodecError
from posthorse.rules.gates import GateRule, Requirement, demands_of, requirement_of_sequence
from posthorse.rules.job import Lane, Options
from posthorse.rules.limits import Per
from posthorse.rules.limits import Sequence as InSequence
from posthorse.rules.packing import PACKED
from posthorse.rules.partition import NOTHING, value_of
from posthorse.rules.queues import DEFAULTS, QueueSettings
from posthorse.rules.registry import Registry
from posthorse.store.operations.through_gates import Candidate

log = logging.getLogger("posthorse.worker")


MAX_KNOWN = 10_000
"""How many jobs have the results of users' functions remembered: more than a claim looks at."""


class _Rules(NamedTuple):
    """The limits of one queue and kind: those of all its jobs together, and those that are partitioned."""

    requirements: tuple[Requirement, ...]
    keyed: tuple[GateRule, ...]
    sequence: InSequence | None


class Limits:
    """The limits that a runner knows."""

    def __init__(self, registry: Registry, lane: Callable[[int], Lane]) -> None:
        self._registry = registry
        self._lane = lane
        self._queues: Mapping[str, QueueSettings] = {}
        self._rules: dict[tuple[str | None, str], _Rules] = {}
        self._complained: set[str] = set()
        self._known: dict[str, tuple[int, Sequence[Requirement]]] = {}
        """What users' functions returned for jobs in sight, with a hash of what they were called with."""

    def obey(self, queues: Mapping[str, QueueSettings]) -> None:
        """Replace the settings of all queues."""
        self._queues = queues
        self._rules.clear()
        self._known = {}

    def bind(self, lane: int) -> bool:
        """Return whether any job of a lane has limits."""
        found = self._lane(lane)
        rules = self._rules_of(found)
        return found.keyed or bool(rules.requirements or rules.keyed) or rules.sequence is not None

    def of_lane(self, lane: int) -> Sequence[Requirement]:
        """Return the gates that all jobs of a lane share."""
        return self._rules_of(self._lane(lane)).requirements

    def has_keys(self, lane: int) -> bool:
        """Return whether single jobs of a lane need gates of their own."""
        found = self._lane(lane)
        rules = self._rules_of(found)
        return found.keyed or bool(rules.keyed) or rules.sequence is not None

    def goes_by_arguments(self, lane: int) -> bool:
        """Return whether the gates of a job in this lane depend on its arguments."""
        return any(per is not None and per != "tenant" for per in self._ways(lane))

    def asks_user(self, lane: int) -> bool:
        """Return whether they depend on the user's code, a function or a codec. If so, call `learn` before a claim."""
        ways = self._ways(lane)
        if self._registry.packing.is_on:
            return any(per is not None and per != "tenant" for per in ways)
        return any(callable(per) for per in ways)

    def are_known(self, candidates: Sequence[Candidate]) -> bool:
        """Return whether `learn` was called for all these jobs."""
        return all(self._knows(candidate) is not None for candidate in candidates)

    def learn(self, candidates: Sequence[Candidate]) -> None:
        """Call the users' functions for these jobs, outside of any transaction."""
        for candidate in candidates:
            if self._knows(candidate) is None:
                self._known.pop(candidate.job, None)
                self._known[candidate.job] = _hash_of(candidate), self._found(candidate)
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def of_job(self, candidate: Candidate) -> Sequence[Requirement] | None:
        """Return the gates of a job in such a lane; None if `learn` must be called first."""
        return self._knows(candidate) if self.asks_user(candidate.lane) else self._found(candidate)

    def _ways(self, lane: int) -> list[Per | None]:
        rules = self._rules_of(self._lane(lane))
        return [demand.per for demand in rules.keyed] + ([rules.sequence.per] if rules.sequence else [])

    def _knows(self, candidate: Candidate) -> Sequence[Requirement] | None:
        known = self._known.get(candidate.job)
        return known[1] if known is not None and known[0] == _hash_of(candidate) else None

    def _found(self, candidate: Candidate) -> Sequence[Requirement]:
        lane = self._lane(candidate.lane)
        rules = self._rules_of(lane)
        requirements: list[Requirement] = []
        for demand in rules.keyed:
            assert demand.per is not None
            if (value := self._value(demand.per, lane.kind, candidate)) is not NOTHING:
                requirements.append(demand.requirement(value))
        sequence = _sequence_of(candidate.options, rules.sequence)
        if sequence is not None:
            value = None if sequence.per is None else self._value(sequence.per, lane.kind, candidate)
            if value is not NOTHING:
                kind = self._registry[lane.kind].kind  # jobs with its old name share the sequence
                requirements.append(
                    requirement_of_sequence(sequence, kind=kind, tenant=candidate.tenant or "", value=value)
                )
        return requirements

    def priority(self, lane: int) -> int:
        """Return the priority of a lane."""
        return self._lane(lane).priority

    def _rules_of(self, lane: Lane) -> _Rules:
        # There may be thousands of queues without settings; they share an entry.
        key = (lane.queue if lane.queue in self._queues else None, lane.kind)
        found = self._rules.get(key)
        if found is None:
            found = self._rules[key] = self._made(lane)
        return found

    def _made(self, lane: Lane) -> _Rules:
        settings = self._queues.get(lane.queue, DEFAULTS)
        registered = self._registry[lane.kind]
        options = registered.options
        of_queue, of_kind = (settings.rate, settings.concurrency), (options.rate, options.concurrency)
        requirements = demands_of(lane.queue, of_queue, registered.kind, of_kind)
        return _Rules(
            tuple(demand.requirement() for demand in requirements if demand.per is None),
            tuple(demand for demand in requirements if demand.per is not None),
            options.sequence,
        )

    def _value(self, per: Per, kind: str, candidate: Candidate) -> object:
        def complain(error: Exception) -> None:
            if kind not in self._complained:
                self._complained.add(kind)
                words = "cannot compute the partition key for a limit of %s: %s: %s; such jobs share one limit"
                log.error(words, kind, type(error).__name__, error)

        arguments = candidate.arguments or "{}"
        if arguments.startswith(PACKED):
            try:
                texts = self._registry.packing.of_stored(candidate.job, candidate.options)
                arguments = texts.unpack(arguments, "arguments")
            except CodecError:
                return NOTHING  # no worker without the codec can run it; the one that claims it reports why
        return value_of(per, self._registry[kind].signature, arguments, candidate.tenant or "", failed=complain)


def _hash_of(candidate: Candidate) -> int:
    return hash((candidate.lane, candidate.tenant, candidate.arguments, candidate.options))


@lru_cache(maxsize=4096)
def _sequence_of(options: str | None, of_kind: InSequence | None) -> InSequence | None:
    """Return the sequence of a job: its own, or that of its kind. A part has none, because the job itself has."""
    try:
        own = Options.decode(options)
    except msgspec.MsgspecError:
        return of_kind
    if own.is_part:
        return None
    if own.sequence is None:
        return of_kind
    return InSequence(own.sequence, on_dead="pass" if own.passes_dead else "block")
