"""Gates: how a limit is kept. Whoever claims a job passes the gates that its limits name, or the job does not start.

A gate stands for a limit and, where the limit is kept apart by something, for one value of that: `kind resize`, or
`kind resize, customer_id 5`. A rate is a token bucket, kept as one number: the moment up to which tokens are given out
(the generic cell rate algorithm, ITU-T I.371). A concurrency, and a place in a sequence, are counted in slots.

Pure. Moments are nanoseconds since the epoch on the store's clock: a token of "1000000/s" comes every 1,000.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import ceil
from typing import Literal, NamedTuple

import msgspec

from posthorse.rules.limits import Concurrency, Per, Rate, Sequence
from posthorse.rules.values.wire import encode_in_order, plain_numbers

Until = Literal["lease", "end", "mend"]
"""When a slot is free again: with the lease; when the job is over; or when it is over and is no dead letter."""

NANOSECONDS = 1_000_000_000
"""In a second."""

SET_BACK = 1_000_000_000
"""Nanoseconds by which the store's clock must be behind the last passage of a gate to count as set back."""

MAX_VALUE = 200
"""Characters of a value in the name of a gate; a longer one is known by its digest."""

MAX_NAME = 2_000
"""Bytes of the name of a gate: an entry of PostgreSQL's index has room for 2,704."""

WHOLE_PARTS = 3
"""Parts of a longer name that are not shortened: what limit it is, by which its gates are found."""


class GateRule(NamedTuple):
    """What a rate or a concurrency asks of jobs: a gate for all, or one for each value of what it is kept apart by."""

    what: tuple[str, ...]
    per: Per | None
    most: int | None = None
    step: int = 0
    burst: int = 0

    def requirement(self, *value: object) -> Requirement:
        """What it asks of a job with this value."""
        return Requirement(gate_name(*self.what, *value), self.most, self.step, self.burst, "lease", bool(value))


class Requirement(NamedTuple):
    """A gate that a job has to pass. `step` is nanoseconds between two tokens, 0 for no rate."""

    gate: str
    most: int | None
    step: int
    burst: int
    until: Until
    is_keyed: bool
    """True when other jobs of its lane need other gates."""


class GateState(NamedTuple):
    """A gate as it stands: up to when tokens are given out, who is inside, and who is held before it first."""

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
    """The first place of a sequence that somebody waits at."""


class Arrival(NamedTuple):
    """A job before its gates."""

    job: str | None
    priority: int
    place: int

    def rank(self, requirement: Requirement) -> int:
        """Lower ranks go first, and then lower places. In a sequence nothing counts but the place."""
        return -self.priority if requirement.until == "lease" else 0


def gate_rule_of(limit: Rate | Concurrency, scope: Literal["queue", "kind"], name: str) -> GateRule:
    """What a limit demands that was set for a queue or a kind."""
    place = (scope, name) if limit.name is None else ("name", limit.name)
    per = () if limit.per is None else (_word(limit.per),)
    if isinstance(limit, Rate):
        step = max(1, ceil(limit.seconds * NANOSECONDS / limit.count))
        return GateRule(("rate", *place, *per), limit.per, step=step, burst=limit.capacity)
    return GateRule(("concurrency", *place, *per), limit.per, most=limit.limit)


def demands_of(
    queue: str, of_queue: Iterable[Rate | Concurrency | None], kind: str, of_kind: Iterable[Rate | Concurrency | None]
) -> list[GateRule]:
    """What the limits of a queue and of a kind demand of a job of both."""
    demands = [gate_rule_of(limit, "queue", queue) for limit in of_queue if limit is not None]
    return demands + [gate_rule_of(limit, "kind", kind) for limit in of_kind if limit is not None]


def requirement_of_sequence(limit: Sequence, *, kind: str, tenant: str, value: object = None) -> Requirement:
    """The gate of a place in a sequence; `value` is that of what it goes by."""
    name = (
        gate_name("sequence", tenant, limit.key)
        if limit.per is None
        else gate_name("sequence", tenant, kind, _word(limit.per), value)
    )
    return Requirement(name, 1, 0, 0, "mend" if limit.on_dead == "block" else "end", is_keyed=True)


def gate_name(*parts: object) -> str:
    """The name of a gate: a JSON array, so that no part can pass for two. Raises TypeError or ValueError for parts that
    JSON does not know."""
    name = msgspec.json.encode([_short(part) for part in parts])
    if len(name) > MAX_NAME:
        whole, values = parts[:WHOLE_PARTS], parts[WHOLE_PARTS:]
        name = msgspec.json.encode([*map(_short, whole), *map(_digest, values)])
    return name.decode()


def in_order(gates: Iterable[str]) -> list[str]:
    """The order in which gates are locked: those of all jobs of a lane, then those with a value of their own."""
    return sorted(gates, key=lambda gate: (_is_keyed(gate), gate))


def described(gate: str) -> str:
    """The name of a gate for people: `kind resize, customer_id=5`."""
    parts: list[object] = msgspec.json.decode(gate)
    words = [part if isinstance(part, str) else msgspec.json.encode(part).decode() for part in parts]
    if words[0] == "sequence":
        return f"sequence {words[2]}" + (f", {'='.join(words[3:])}" if len(words) > 3 else "")
    what = words[2] if words[1] == "name" else f"{words[1]} {words[2]}"
    return f"{words[0]} of {what}" + (f", {'='.join(words[3:])}" if len(words) > 3 else "")


class GateLedger:
    """The gates that one claim passes, counted as it goes."""

    def __init__(self, states: Iterable[GateState], now: int) -> None:
        self._now = now
        self._states = {state.gate: state for state in states}
        self._entered: dict[str, int] = {}
        self._first: dict[str, int] = {}

    def expect(self, place: int, requirements: Iterable[Requirement]) -> None:
        """A job that comes before its gates in this claim, too: in a sequence later ones let it go first."""
        for requirement in requirements:
            if requirement.until != "lease":
                self._first[requirement.gate] = min(place, self._first.get(requirement.gate, place))

    def knows(self, requirements: Iterable[Requirement]) -> bool:
        """Whether all these gates are among those that were learnt."""
        return all(requirement.gate in self._states for requirement in requirements)

    def is_changed(self, requirement: Requirement) -> bool:
        """Whether something else was demanded before."""
        state = self._states[requirement.gate]
        return (state.most, state.step, state.burst) != (requirement.most, requirement.step, requirement.burst)

    def has_held(self, gate: str) -> bool:
        """Whether jobs are held before a gate since before this claim."""
        return self._states[gate].place is not None

    def after(self, requirement: Requirement, taken: int) -> tuple[int, int | None]:
        """Up to when tokens are given out after so many were taken, and when the next one comes, if any is needed."""
        if not requirement.step:
            return self._states[requirement.gate].through, None
        through = spent(self._through(requirement), self._now, requirement.step, taken)
        return through, next_token(through, requirement.step, requirement.burst)

    def keeps_out(self, arrival: Arrival, requirements: Iterable[Requirement]) -> Requirement | None:
        """What keeps a job out, if anything does."""
        return next((requirement for requirement in requirements if not self._has_room(arrival, requirement)), None)

    def admit(self, arrival: Arrival, requirements: Iterable[Requirement]) -> Requirement | None:
        """Lets a job in, or answers with what keeps it out.

        A place in a sequence it takes in any case: whoever is kept out by something else is not overtaken there.
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
        """How many more may enter; None for any number."""
        state = self._states[requirement.gate]
        entered = self._entered.get(requirement.gate, 0)
        rooms: list[int] = []
        if requirement.most is not None:
            rooms.append(requirement.most - state.inside - entered)
        if requirement.step:
            rooms.append(tokens(self._through(requirement), self._now, requirement.step, requirement.burst) - entered)
        return max(0, min(rooms)) if rooms else None

    def opens_in(self, requirement: Requirement) -> float | None:
        """Seconds until the next token comes; None where that is not what is missing."""
        _, at = self.after(requirement, self._entered.get(requirement.gate, 0))
        return None if at is None or at <= self._now else (at - self._now) / NANOSECONDS

    def _through(self, requirement: Requirement) -> int:
        """Up to when tokens are given out.

        Where the rate was changed, what the old one let through empties the bucket of the new one, and no more.
        """
        state = self._states[requirement.gate]
        if state.step == requirement.step:
            return state.through
        return min(state.through, self._now + requirement.burst * requirement.step)

    def _has_room(self, arrival: Arrival, requirement: Requirement) -> bool:
        state = self._states[requirement.gate]
        if requirement.until != "lease" and state.insider == arrival.job:
            return True  # it never left
        if min(self._first.get(requirement.gate, arrival.place), state.first or arrival.place) < arrival.place:
            return False  # an earlier one waits somewhere, in this lane or in another
        if requirement.is_keyed and state.place is not None and state.rank is not None:
            first, own = (state.rank, state.place), (arrival.rank(requirement), arrival.place)
            if first < own:
                return False  # nobody overtakes those who are held
        room = self.room(requirement)
        return room is None or room > 0


def in_step(through: int, used_at: int, now: int) -> int:
    """Up to when tokens are given out, on the clock as it is now; `used_at` is when a gate was passed last.

    Where the clock was set back since, what was given out is as far ahead of it as it was of the clock then.
    """
    behind = used_at - now
    return through - behind if behind > SET_BACK else through


def tokens(through: int, now: int, step: int, burst: int) -> int:
    """How many tokens there are, at most `burst`."""
    return (now + burst * step - max(through, now)) // step


def spent(through: int, now: int, step: int, count: int) -> int:
    """Up to when tokens are given out, after so many were taken."""
    return max(through, now) + count * step if count else through


def next_token(through: int, step: int, burst: int) -> int:
    """When there is a token."""
    return through + step - burst * step


def waits_for_token(through: int, now: int, requirement: Requirement) -> int:
    """How many microseconds whoever takes the next token has to wait for it."""
    return max(0, -(-(next_token(through, requirement.step, requirement.burst) - now) // 1000))


def budget_of(rate: Rate, queue: str) -> Requirement:
    """The gate of the retries in a queue."""
    return gate_rule_of(rate, "queue", queue)._replace(what=("retries", "queue", queue)).requirement()


def _is_keyed(gate: str) -> bool:
    parts: list[object] = msgspec.json.decode(gate)
    return parts[0] == "sequence" or len(parts) > len(("rate", "kind", "resize"))


def _word(per: Per) -> str:
    return per if isinstance(per, str) else per.__qualname__


def _short(part: object) -> object:
    """The part as JSON gives it back: a text, a number and nothing at all stay apart."""
    text = encode_in_order(part).decode()
    if len(text) <= MAX_VALUE:
        return plain_numbers(text)
    return _digest(part)


def _digest(part: object) -> str:
    return blake2b(encode_in_order(part), digest_size=16).hexdigest()
