"""Races: a store in some state, three operations that meet there, and what must hold afterwards.

Each race is drawn from a seed. After the operations have met, one runner does all remaining work, and every job must
come to an end.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, cast

import msgspec
import psycopg

from posthorse.errors import InvalidTransition, JobNotFound, NotUnique
from posthorse.rules.fair_share import FairShares, Line, Passes
from posthorse.rules.gates import Requirement
from posthorse.rules.job import JobError, NewJob, State
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Lost, Outcome, Raised, Stopped
from posthorse.rules.requests import Request
from posthorse.rules.unique import Identity, OnConflict, UniqueRule
from posthorse.store.base import Operation
from posthorse.store.operations.claim import Claimed, give_back
from posthorse.store.operations.control import request
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Completion, Settlement, complete, settle
from posthorse.store.operations.gates import (
    gates_to_tend,
    let_through,
    neglected_gates,
    tend_gates,
)
from posthorse.store.operations.runners import beat
from posthorse.store.operations.submit import enqueue
from posthorse.store.operations.through_gates import Passed, claim_through_gates
from tests.store.limits import IN_ORDER, ONE_EACH, PASSING, RATE_EACH, TWO, Rules
from tests.store.yard import HOME, LEASE, Yard

MAX_ROUNDS = 60
HARMLESS = (InvalidTransition, NotUnique, JobNotFound)

LIMITS: Sequence[tuple[Sequence[Requirement], Sequence[Requirement]]] = (
    ((), ()),
    ((TWO,), ()),
    ((), (ONE_EACH,)),
    ((TWO,), (ONE_EACH,)),
    ((), (IN_ORDER,)),
    ((), (PASSING,)),
    ((TWO,), (IN_ORDER,)),
    ((), (ONE_EACH, IN_ORDER)),
    ((), (RATE_EACH,)),
)


class Move(NamedTuple):
    """An operation that takes part, in words for people; and which attempt it should end, and how."""

    words: str
    operation: Operation[object]
    ends: tuple[Fence, State] | None = None


class Row(NamedTuple):
    """The current row of a job."""

    id: str
    seq: int
    state: str
    key: str
    lease: int | None
    runner: str | None
    epoch: int
    is_placed: bool
    """Whether it is in exactly one place, the one that its state requires."""

    @property
    def is_over(self) -> bool:
        return self.state in ("completed", "cancelled", "failed")


_ROWS = """
    SELECT j.id::text, j.seq, j.state, j.arguments::json ->> 'key', l.epoch, l.runner::text, j.epoch, CASE
        WHEN j.state IN ('completed', 'cancelled') THEN r.n = 0 AND l.job IS NULL AND p.state IS NULL
        WHEN l.job IS NOT NULL THEN (r.n, p.state) IS NOT DISTINCT FROM (0, NULL)
        WHEN j.state = 'pending' THEN (r.n, p.state) IS NOT DISTINCT FROM (1, NULL)
        ELSE (r.n, p.state) IS NOT DISTINCT FROM (0, j.state) END
    FROM posthorse.jobs j
    CROSS JOIN LATERAL (SELECT count(*) AS n FROM posthorse.ready WHERE job = j.id) AS r
    LEFT JOIN posthorse.leases l ON l.job = j.id
    LEFT JOIN posthorse.parked p ON p.job = j.id
    ORDER BY j.seq
"""
_TABLES = ("jobs", "ready", "leases", "parked", "gates", "slots", "controls", "keys", "events", "runners")


class Arena:
    """A store in which one race after the other takes place."""

    def __init__(self, url: str) -> None:
        self.yard = Yard(url)
        self._connection = psycopg.connect(url, autocommit=True)

    def empty(self) -> None:
        """Remove everything that the race before left."""
        self._connection.execute("; ".join(f"DELETE FROM posthorse.{table}" for table in _TABLES))

    def rows(self) -> list[Row]:
        """Return the current jobs in the order of their places."""
        return [Row._make(row) for row in self._connection.execute(_ROWS).fetchall()]

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()
        self.yard.store.close()


class Race:
    """One race, on a store that was emptied before."""

    def __init__(self, arena: Arena, seed: int) -> None:
        self.chance = random.Random(seed)
        self.moves: list[Move] = []
        self._arena = arena
        self._yard = yard = arena.yard
        of_all, keyed = self.chance.choice(LIMITS)
        self._rules = Rules(*of_all, keyed=keyed)
        self._runners = [yard.runner(), yard.runner()]
        self._held: list[Claimed] = []
        self._holders: dict[tuple[str, int], str] = {}
        self._gates: set[str] = set()
        self._steered: set[str] = set()
        self._places: dict[str, int] = {}
        self._is_unique = self.chance.random() < 0.3
        self._probe = yard.probe()

    @property
    def limits(self) -> str:
        """The limits that apply, in words."""
        return ", ".join(f"{need.gate} until {need.until}" for need in (*self._rules.needs, *self._rules.keyed))

    def set_the_stage(self) -> None:
        """Make jobs that wait, are held before gates, run, or have ended and let no others through yet."""
        chance, yard = self.chance, self._yard
        yard.submit(self._new(chance.randint(3, 6)))
        if chance.random() < 0.8:
            self._took(yard.store.run(self._claim(0, chance.randint(1, 4))))
        for claimed in list(self._held):
            drawn = chance.random()
            if drawn < 0.3:
                self._held.remove(claimed)
                yard.complete(self._attempt(claimed))
            elif drawn < 0.4:
                self._held.remove(claimed)
                yard.fail(self._attempt(claimed))
                self._steered.add(claimed.job)
        if chance.random() < 0.3:
            self._took(yard.store.run(self._claim(1, 2)))
        if chance.random() < 0.2:
            with suppress(NotUnique):
                yard.submit(self._new(1, delay=1))
            yard.pass_time(seconds=1)

    def draw_moves(self, count: int) -> None:
        """Draw the operations that meet."""
        self._note_places(self._arena.rows())
        while len(self.moves) < count:
            move = self._drawn(self.chance.randrange(12))
            if move is not None:
                self.moves.append(move)

    def judge(self, answers: Sequence[object]) -> Iterator[str]:
        """Yield what is wrong after they met."""
        ends: defaultdict[Fence, set[State]] = defaultdict(set)
        for move, answer in zip(self.moves, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, HARMLESS):
                yield f"{move.words} failed: {type(answer).__name__}: {answer}"
            if isinstance(answer, Passed):
                self._took(answer)
            if move.ends is not None and answer in (True, []):
                ends[move.ends[0]].add(move.ends[1])
        yield from (f"I6: {attempt} ended as {states}" for attempt, states in ends.items() if len(states) > 1)
        yield from self._standing(self._arena.rows())

    def work_off(self) -> Iterator[str]:
        """Bring everything to an end: one runner works, and the sweeper looks after the rest."""
        yard, rows = self._yard, self._arena.rows()
        for _ in range(MAX_ROUNDS):
            if all(row.state in ("completed", "cancelled") for row in rows):
                return
            for row in rows:
                if row.state == "paused":
                    self._steered.add(row.id)
                    yard.ask(row.id, "resume")
                elif row.state == "failed":
                    yard.ask(row.id, "discard")
            yard.complete(*(Fence(row.id, row.lease, str(row.runner)) for row in rows if row.lease is not None))
            passed = yard.store.run(self._claim(0, 5))
            self._took(passed)
            if not passed.claimed and not passed.has_held:
                gates, neglected = yard.store.read(gates_to_tend(100)), yard.store.read(neglected_gates(100))
                yard.store.run(tend_gates(gates, neglected))
                yard.promote()
                yard.pass_time(seconds=10)
                yard.store.run(beat(self._runners[0], lease=LEASE, running=0, draining=False))
            rows = self._arena.rows()
            yield from self._standing(rows)
        yield f"I1, I11: never came to an end: {[row for row in rows if row.state != 'completed']}"

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────

    def _standing(self, rows: Sequence[Row]) -> Iterator[str]:
        yield from (f"I1: {row} is not in the one place that its state names" for row in rows if not row.is_placed)
        yield from self._limits(rows)
        yield from self._identities(rows)
        if any(need.until != "lease" for need in self._rules.keyed) and not self._is_unique:
            yield from self._order(rows)

    def _limits(self, rows: Sequence[Row]) -> Iterator[str]:
        """I13"""
        running = [row for row in rows if row.lease is not None]
        if self._rules.needs and len(running) > 2:
            yield f"I13: {len(running)} run, and 2 may: {running}"
        if any(need.most == 1 for need in self._rules.keyed):
            for key, count in Counter(row.key for row in running).items():
                if count > 1:
                    yield f"I13: {count} run under key {key}: {running}"

    def _order(self, rows: Sequence[Row]) -> Iterator[str]:
        """I18: no job started before another of the same key that arrived earlier and was not steered."""
        self._note_places(rows)
        for row in rows:
            for earlier in rows:
                if (
                    (row.lease is not None or row.epoch > 0)
                    and (earlier.lease is None and earlier.epoch == 0)
                    and earlier.state in ("pending", "blocked")
                    and earlier.key == row.key
                    and self._places[earlier.id] < self._places.get(row.id, 0)
                    and not {earlier.id, row.id} & self._steered
                ):
                    yield f"I18: {row} began before {earlier}"

    def _note_places(self, rows: Sequence[Row]) -> None:
        """Note the places. A job that waits for its time has no place yet; places after the first do not count."""
        for row in rows:
            if row.state != "scheduled":
                self._places.setdefault(row.id, row.seq)

    def _identities(self, rows: Sequence[Row]) -> Iterator[str]:
        """I19"""
        if not self._is_unique:
            return
        alive = Counter(row.key for row in rows if not row.is_over and row.id not in self._steered)
        waiting = Counter(row.key for row in rows if not row.is_over and row.lease is None and row.epoch == 0)
        if alive["a"] > 1 or waiting["b"] > 1:
            yield f"I19: two are the same: {rows}"

    # ── who takes part ───────────────────────────────────────────────────────────────────────────────

    def _drawn(self, number: int) -> Move | None:
        chance = self.chance
        held = chance.choice(self._held) if self._held else None
        match number:
            case 0 | 1 | 2 | 3:
                runner = number % 2
                return Move(f"claim by {runner}", self._claim(runner, chance.randint(1, 4)))
            case 4 if held is not None:
                attempt = self._attempt(held)
                completing = complete(attempt.runner, [Completion(held.job, held.epoch, "null")])
                return Move(f"complete {attempt}", completing, (attempt, State.COMPLETED))
            case 5 if held is not None:
                return self._settling(
                    held, chance.choice((Lost("gone"), Raised(JobError("E", "no")), Stopped("yield")))
                )
            case 6 if held is not None:
                self._steered.add(held.job)
                giving_back = give_back(self._attempt(held).runner, [(held.job, held.epoch)])
                return Move(f"give back {held.job}", giving_back)
            case 7:
                gates = sorted(self._gates)
                return Move("let through", let_through(gates))
            case 8:
                gates = sorted(self._gates)
                some = [gate for gate in gates if chance.random() < 0.5]
                return Move("tend", tend_gates(some, gates))
            case 9 | 10:
                row = chance.choice(self._arena.rows())
                action = chance.choice(
                    cast("list[Request]", ["pause", "cancel", "cancel", "resume", "retry", "discard"])
                )
                force = chance.random() < 0.4
                self._steered.add(row.id)
                words = f"{action} {row.id}{' by force' if force else ''}"
                return Move(words, request(row.id, action, force=force))
            case 11:
                jobs = self._new(chance.choice((1, 1, 2)))
                lanes = self._yard.store.lanes({HOME})
                return Move(f"enqueue {[job.arguments for job in jobs]}", enqueue(jobs, lanes))
            case _:
                return None

    def _claim(self, runner: int, room: int) -> Operation[Passed]:
        turns = FairShares({self._probe.lane: Line("default", 0)}, {}, Passes())
        return claim_through_gates(self._runners[runner], [self._probe], room, room, turns, self._rules)

    def _settling(self, held: Claimed, outcome: Outcome) -> Move:
        attempt = self._attempt(held)
        transition = decide(Spent(held.errors, held.crashes, held.interruptions), outcome, Policy())
        words = f"end {attempt} as {type(outcome).__name__}"
        settling = settle(Settlement(attempt, transition, HOME))
        return Move(words, settling, (attempt, transition.state))

    def _new(self, count: int, *, delay: int | None = None) -> list[NewJob]:
        jobs: list[NewJob] = []
        for _ in range(count):
            key = self.chance.choice("ab")
            [job] = self._yard.new(arguments=msgspec.json.encode({"key": key}).decode(), delay=delay)
            if self._is_unique:
                on_conflict: OnConflict = (
                    self.chance.choice(("return", "replace", "reschedule", "raise")) if count == 1 else "return"
                )
                rule: UniqueRule = "finished" if key == "a" else "queued"
                job = msgspec.structs.replace(job, unique=Identity(key, rule, None, on_conflict))
            jobs.append(job)
        return jobs

    def _attempt(self, held: Claimed) -> Fence:
        return Fence(held.job, held.epoch, self._holders[held.job, held.epoch])

    def _took(self, passed: Passed) -> None:
        self._held += passed.claimed
        leased = [(row.id, row.lease, row.runner) for row in self._arena.rows()]
        self._holders |= {(job, epoch): runner for job, epoch, runner in leased if epoch and runner}
        self._gates |= {gate for some in passed.gates.values() for gate in some}
