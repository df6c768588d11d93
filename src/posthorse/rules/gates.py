"""Gates enforce limits: a job starts only after it has passed the gates of all its limits.

There is one gate for each limit and, if the limit is partitioned, for each value of the partition key: `kind resize`,
or `kind resize, customer_id 5`. A rate is a token bucket, kept as one number: the moment up to which tokens are used
(the generic cell rate algorithm, ITU-T I.371). Concurrency limits and sequences count slots.

Pure. Moments are nanoseconds since the epoch on the store's clock: for "1000000/s" there is a token every 1,000.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import ceil
from typing import Literal, NamedTuple

import msgspec

from posthorse.rules.limits import Concurrency, Per, Rate, Sequence
from posthorse.rules.values.msgspec_json import encode_in_order, plain_numbers

Until = Literal["lease", "end", "mend"]
"""When a slot is free again: when the lease ends; when the job is over; or when it is over and is not a dead letter."""

NANOSECONDS = 1_000_000_000
"""Per second."""

SET_BACK = 1_000_000_000
"""The clock counts as set back if it is this many nanoseconds behind the last use of a gate."""

MAX_VALUE = 200
"""Maximum length, in characters, of a value in the name of a gate; a longer one is replaced by its digest."""

MAX_NAME = 2_000
"""Maximum size of the name of a gate, in bytes. An entry of PostgreSQL's index holds 2,704."""

WHOLE_PARTS = 3
"""The first parts of a name, which are never shortened: they identify the limit, and queries search for them."""


class GateRule(NamedTuple):
    """What a rate or a concurrency limit requires: one gate for all jobs, or one for each value of its key."""

    what: tuple[str, ...]
    per: Per | None
    most: int | None = None
    step: int = 0
    burst: int = 0

    def requirement(self, *value: object) -> Requirement:
        """Return what it requires of a job with this value."""
        return Requirement(gate_name(*self.what, *value), self.most, self.step, self.burst, "lease", bool(value))


class Requirement(NamedTuple):
    """A gate that a job must pass. `step` is the nanoseconds between two tokens, 0 without a rate."""

    gate: str
    most: int | None
    step: int
    burst: int
    until: Until
    is_keyed: bool
    """Whether other jobs of the lane require other gates."""


class GateState(NamedTuple):
    """The state of a gate: tokens used up to when, slots taken, and jobs held before it."""

    gate: str
    through: int
    most: int | None
    step: int
    burst: int
    inside: int
    insider: str | None
    rank: int | None
    place: int | None
    first: int | None = None
    """The first position of a sequence at which a job waits."""


class Arrival(NamedTuple):
    """A job that arrives at its gates."""

    job: str | None
    priority: int
    place: int

    def rank(self, requirement: Requirement) -> int:
        """Return the sort key: lower ranks go first, then lower positions. In a sequence only the position counts."""
        return -self.priority if requirement.until == "lease" else 0


def gate_rule_of(limit: Rate | Concurrency, scope: Literal["queue", "kind"], name: str) -> GateRule:
    """Return the gate rule of a limit that was set for a queue or a kind."""
    place = (scope, name) if limit.name is None else ("name", limit.name)
    per = () if limit.per is None else (_word(limit.per),)
    if isinstance(limit, Rate):
        step = max(1, ceil(limit.seconds * NANOSECONDS / limit.count))
        return GateRule(("rate", *place, *per), limit.per, step=step, burst=limit.capacity)
    return GateRule(("concurrency", *place, *per), limit.per, most=limit.limit)


def demands_of(
    queue: str, of_queue: Iterable[Rate | Concurrency | None], kind: str, of_kind: Iterable[Rate | Concurrency | None]
) -> list[GateRule]:
    """Return the gate rules that apply to a job of this queue and this kind."""
    demands = [gate_rule_of(limit, "queue", queue) for limit in of_queue if limit is not None]
    return demands + [gate_rule_of(limit, "kind", kind) for limit in of_kind if limit is not None]


def requirement_of_sequence(limit: Sequence, *, kind: str, tenant: str, value: object = None) -> Requirement:
    """Return the gate of a position in a sequence; `value` is the value of its partition key."""
    name = (
        gate_name("sequence", tenant, limit.key)
        if limit.per is None
        else gate_name("sequence", tenant, kind, _word(limit.per), value)
    )
    return Requirement(name, 1, 0, 0, "mend" if limit.on_dead == "block" else "end", is_keyed=True)


def gate_name(*parts: object) -> str:
    """Return the name of a gate: a JSON array, so that different parts never give the same name.

    Raises TypeError or ValueError for parts that JSON cannot hold.
    """
    name = msgspec.json.encode([_short(part) for part in parts])
    if len(name) > MAX_NAME:
        whole, values = parts[:WHOLE_PARTS], parts[WHOLE_PARTS:]
        name = msgspec.json.encode([*map(_short, whole), *map(_digest, values)])
    return name.decode()


def lock_order(gates: Iterable[str]) -> list[str]:
    """Return the order in which gates are locked: lane-wide gates first, then gates with a partition value."""
    return sorted(gates, key=lambda gate: (_is_keyed(gate), gate))


def gate_in_words(gate: str) -> str:
    """Describe a gate for users: `kind resize, customer_id=5`."""
    parts: list[object] = msgspec.json.decode(gate)
    words = [part if isinstance(part, str) else msgspec.json.encode(part).decode() for part in parts]
    if words[0] == "sequence":
        return f"sequence {words[2]}" + (f", {'='.join(words[3:])}" if len(words) > 3 else "")
    what = words[2] if words[1] == "name" else f"{words[1]} {words[2]}"
    return f"{words[0]} of {what}" + (f", {'='.join(words[3:])}" if len(words) > 3 else "")


class GateLedger:
    """The states of the gates that one claim passes, updated as it admits jobs."""

    def __init__(self, states: Iterable[GateState], now: int) -> None:
        self._now = now
        self._states = {state.gate: state for state in states}
        self._entered: dict[str, int] = {}
        self._first: dict[str, int] = {}

    def expect(self, place: int, requirements: Iterable[Requirement]) -> None:
        """Announce a job that this claim will look at: in a sequence, later jobs let it go first."""
        for requirement in requirements:
            if requirement.until != "lease":
                self._first[requirement.gate] = min(place, self._first.get(requirement.gate, place))

    def knows(self, requirements: Iterable[Requirement]) -> bool:
        """Return whether the states of all these gates are known."""
        return all(requirement.gate in self._states for requirement in requirements)

    def is_changed(self, requirement: Requirement) -> bool:
        """Return whether the limit was different when the gate was last used."""
        state = self._states[requirement.gate]
        return (state.most, state.step, state.burst) != (requirement.most, requirement.step, requirement.burst)

    def has_held(self, gate: str) -> bool:
        """Return whether jobs were held before a gate already at the start of this claim."""
        return self._states[gate].place is not None

    def after(self, requirement: Requirement, taken: int) -> tuple[int, int | None]:
        """Return up to when tokens are used after so many were taken, and when the next one comes if there is none
        left.
        """
        if not requirement.step:
            return self._states[requirement.gate].through, None
        through = spent(self._through(requirement), self._now, requirement.step, taken)
        return through, next_token(through, requirement.step, requirement.burst)

    def keeps_out(self, arrival: Arrival, requirements: Iterable[Requirement]) -> Requirement | None:
        """Return the requirement that keeps a job out; None if it may pass."""
        return next((requirement for requirement in requirements if not self._has_room(arrival, requirement)), None)

    def admit(self, arrival: Arrival, requirements: Iterable[Requirement]) -> Requirement | None:
        """Admit a job, or return the requirement that keeps it out.

        A job always takes its position in a sequence: later jobs do not overtake one that another limit keeps out.
        """
        lasting = [requirement for requirement in requirements if requirement.until != "lease"]
        passing = [requirement for requirement in requirements if requirement.until == "lease"]
        for some in (lasting, passing):
            if (kept_out_by := self.keeps_out(arrival, some)) is not None:
                return kept_out_by
            for requirement in some:
                self._entered[requirement.gate] = self._entered.get(requirement.gate, 0) + 1
        return None

    def room(self, requirement: Requirement) -> int | None:
        """Return how many more jobs may pass; None if any number may."""
        state = self._states[requirement.gate]
        entered = self._entered.get(requirement.gate, 0)
        rooms: list[int] = []
        if requirement.most is not None:
            rooms.append(requirement.most - state.inside - entered)
        if requirement.step:
            rooms.append(tokens(self._through(requirement), self._now, requirement.step, requirement.burst) - entered)
        return max(0, min(rooms)) if rooms else None

    def opens_in(self, requirement: Requirement) -> float | None:
        """Return the seconds until the next token; None if tokens are not what is missing."""
        _, at = self.after(requirement, self._entered.get(requirement.gate, 0))
        return None if at is None or at <= self._now else (at - self._now) / NANOSECONDS

    def _through(self, requirement: Requirement) -> int:
        """Return the moment up to which tokens are used.

        After a change of the rate, jobs that passed under the old rate empty the new bucket at most.
        """
        state = self._states[requirement.gate]
        if state.step == requirement.step:
            return state.through
        return min(state.through, self._now + requirement.burst * requirement.step)

    def _has_room(self, arrival: Arrival, requirement: Requirement) -> bool:
        state = self._states[requirement.gate]
        if requirement.until != "lease" and state.insider == arrival.job:
            return True  # it still holds its slot
        if min(self._first.get(requirement.gate, arrival.place), state.first or arrival.place) < arrival.place:
            return False  # an earlier one waits, in this lane or in another
        if requirement.is_keyed and state.place is not None and state.rank is not None:
            first, own = (state.rank, state.place), (arrival.rank(requirement), arrival.place)
            if first < own:
                return False  # held jobs go first
        room = self.room(requirement)
        return room is None or room > 0


def in_step(through: int, used_at: int, now: int) -> int:
    """Return the moment up to which tokens are used, on the present clock; `used_at` is when a gate was last passed.

    If the clock was set back since, the used tokens stay as far ahead of it as they were before.
    """
    behind = used_at - now
    return through - behind if behind > SET_BACK else through


def tokens(through: int, now: int, step: int, burst: int) -> int:
    """Return the number of tokens, at most `burst`."""
    return (now + burst * step - max(through, now)) // step


def spent(through: int, now: int, step: int, count: int) -> int:
    """Return the moment up to which tokens are used after `count` more were taken."""
    return max(through, now) + count * step if count else through


def next_token(through: int, step: int, burst: int) -> int:
    """Return the moment of the next token."""
    return through + step - burst * step


def waits_for_token(through: int, now: int, requirement: Requirement) -> int:
    """Return the microseconds that the taker of the next token must wait."""
    return max(0, -(-(next_token(through, requirement.step, requirement.burst) - now) // 1000))


def budget_of(rate: Rate, queue: str) -> Requirement:
    """Return the gate that limits the retries of a queue."""
    return gate_rule_of(rate, "queue", queue)._replace(what=("retries", "queue", queue)).requirement()


def _is_keyed(gate: str) -> bool:
    parts: list[object] = msgspec.json.decode(gate)
    return parts[0] == "sequence" or len(parts) > len(("rate", "kind", "resize"))


def _word(per: Per) -> str:
    return per if isinstance(per, str) else per.__qualname__


def _short(part: object) -> object:
    """Shorten a part, as JSON returns it; a text, a number and null stay distinct."""
    text = encode_in_order(part).decode()
    if len(text) <= MAX_VALUE:
        return plain_numbers(text)
    return _digest(part)


def _digest(part: object) -> str:
    return blake2b(encode_in_order(part), digest_size=16).hexdigest()
