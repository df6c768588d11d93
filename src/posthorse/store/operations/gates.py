"""Gates in the store: jobs are claimed through them, held before them, and lined up again when there is room.

Whoever passes gates, or lets others through, locks them before anything else, in the order of their names: those that
all jobs of a lane need before those that single jobs need. So nobody who waits for a gate holds what others wait for.
Who is inside a gate is judged by leases and jobs, so nothing has to be written when a job ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

from posthorse.rules.gates import (
    SECOND,
    Arrival,
    Need,
    Standing,
    Tally,
    described,
    gate_name,
    in_order,
    next_token,
    tokens,
)
from posthorse.rules.turns import Head, Line, take_turns
from posthorse.store.base import Steps, ask, ask_rows, going_first, operation, single_operation, unrepeatable_operation
from posthorse.store.operations.by_turns import Turns, heads_of, next_in_turn, places_by_lane
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.store.queries import Row

PATIENCE = 60_000_000
"""Microseconds after which a gate that nobody passes is forgotten, and those before it are lined up."""

RELEASED_AT_ONCE = 1_000

SIGHT = 100
"""Jobs of a lane with limits that a claim looks at: many of them may have to be set aside."""

IN_SIGHT = 2_000
"""Jobs of all such lanes that it looks at; two of each at least."""


class Candidate(NamedTuple):
    """What gates have to know of a job."""

    lane: int
    seq: int
    job: str
    tenant: str | None
    arguments: str | None
    """None where they are long, and nothing goes by them."""
    options: str | None
    enqueued: int | None = None
    """Its place in a sequence since it was enqueued; None for a job that had to wait for its time."""

    @property
    def place(self) -> int:
        """Where it stands among those before the same gates."""
        return self.seq if self.enqueued is None else self.enqueued


class Demands(Protocol):
    """What the limits of an application ask of jobs."""

    def of_lane(self, lane: int) -> Sequence[Need]:
        """Gates of all jobs of a lane."""
        ...

    def has_keys(self, lane: int) -> bool:
        """Whether single jobs of a lane need gates of their own."""
        ...

    def goes_by_arguments(self, lane: int) -> bool:
        """Whether the arguments of such a job decide which gates it needs."""
        ...

    def of_job(self, candidate: Candidate) -> Sequence[Need]:
        """The gates of a single job of such a lane."""
        ...

    def priority(self, lane: int) -> int:
        """The priority that a lane was made with."""
        ...


class Passed(NamedTuple):
    """The answer to a claim through gates."""

    claimed: list[Claimed]
    waiting: frozenset[int]
    """Lanes that had jobs."""
    shut: Mapping[int, float | None]
    """Lanes whose gates are shut, with the seconds until a token comes; None where somebody inside has to end."""
    gates: Mapping[str, Sequence[str]]
    """Which gates of its own each claimed job with limits passed."""
    has_held: bool
    """True when jobs were set aside on the way: there may be others behind them."""
    is_left: bool
    """True when it was the turn of a job with limits that the runner had no room for: nothing was claimed past it."""


@going_first
@unrepeatable_operation
def claim_through_gates(
    runner: str,
    probes: Sequence[Probe],
    room: int,
    limited_room: int,
    turns: Turns,
    demands: Demands,
    *,
    channel: str,
    sees_far: bool = False,
) -> Steps[Passed]:
    """Up to `room` jobs, `limited_room` of them through gates; what a gate of its own keeps out is set aside. Where
    `limited_room` does not suffice for a job whose turn it is, nothing is claimed past it.

    As a `claim`, but that of each lane with limits no more than SIGHT jobs are looked at, if no more could start, and
    fewer of many lanes. `sees_far`: whether as many are looked at however little room there is.
    """
    of_lane = {probe.lane: demands.of_lane(probe.lane) for probe in probes}
    tally = Tally(*(yield from lock_gates(_by_gate(of_lane.values()))))
    probes = [probe for probe in probes if all(tally.room(need) != 0 for need in of_lane[probe.lane])]
    with_limits = [probe for probe in probes if of_lane[probe.lane] or demands.has_keys(probe.lane)]
    limited_lanes = {probe.lane for probe in with_limits}
    sight = max(limited_room, SIGHT)
    sight = sight if sees_far else min(room, sight)
    limited_heads, last_seen = yield from _limited_heads(with_limits, turns.lines, sight)
    candidates, of_job = yield from _candidates(limited_heads, demands)
    keyed = _by_gate(of_job.values())
    if keyed:
        tally.learn((yield from lock_gates(keyed))[0])
        # Somebody who left one of these gates may have lined up an earlier job meanwhile: that one goes first.
        limited_heads, last_seen = yield from _limited_heads(with_limits, turns.lines, sight)
        candidates, of_job = yield from _candidates(limited_heads, demands)
    # Beside jobs with limits the others get no more turns than among themselves, and in the same order.
    without = [probe for probe in probes if probe.lane not in limited_lanes]
    free_heads, waiting = yield from next_in_turn(without, turns, room)

    refused: dict[Head, Need] = {}
    in_line: list[Row] = []
    limited: set[Head] = set()
    for head, needs in of_job.items():
        tally.expect(candidates[head].place, needs)

    is_left = is_out_of_sight = False

    def admits(head: Head) -> bool:
        nonlocal is_left, is_out_of_sight
        if is_left or is_out_of_sight or (demands.has_keys(head.lane) and head not in of_job):
            return False  # its turn is after that of one with limits, or may be, or it is gone
        needs = (*of_lane[head.lane], *of_job.get(head, ()))
        if not needs or not tally.knows(needs):
            return not needs
        candidate = candidates.get(head)
        priority = demands.priority(head.lane)
        arrival = Arrival(candidate.job, priority, candidate.place) if candidate else Arrival(None, priority, head.seq)
        if len(limited) >= limited_room and tally.keeps_out(arrival, needs) is None:
            is_left = True
            return False
        kept_out_by = tally.admit(arrival, needs)
        if kept_out_by is None:
            limited.add(head)
            is_out_of_sight = head in last_seen
        elif kept_out_by.is_keyed:
            refused[head] = kept_out_by
        if candidate and kept_out_by and kept_out_by.until == "lease":
            in_line.extend((need.gate, candidate.job, 0, need.until) for need in needs if need.until != "lease")
        return kept_out_by is None

    chosen = take_turns([*limited_heads, *free_heads], *turns, room, admits=admits)
    if refused:
        yield from _hold(refused, candidates, demands)
    rows = (yield ask_rows("claim_places", chosen, runner=runner)) if chosen else []
    turn = {head: place for place, head in enumerate(chosen)}
    claimed = sorted(map(Claimed._make, rows), key=lambda job: turn[Head(job.lane, job.seq)])
    passed = [
        (job, (*of_lane[job.lane], *of_job.get(place, ())))
        for job in claimed
        if (place := Head(job.lane, job.seq)) in limited
    ]
    seen = (*_by_gate(of_lane.values()).values(), *keyed.values())
    yield from _enter(passed, in_line, refused.values(), seen, tally)
    yield from _line_up(keyed.values(), tally, channel)
    gates = {job.job: [need.gate for need in needs if need.is_keyed] for job, needs in passed}
    shut = {lane: tally.opens_in(need) for lane, needs in of_lane.items() for need in needs if tally.room(need) == 0}
    waiting |= {head.lane for head in limited_heads}
    return Passed(claimed, waiting, shut, gates, bool(refused), is_left)


@going_first
@operation
def loosen_gates(queue: str) -> Steps[None]:
    """After the limits of a queue were changed: those who are held before its gates are asked anew, at their claim."""
    gates: list[str] = []
    for what in ("rate", "concurrency"):
        beginning = gate_name(what, "queue", queue).removesuffix("]") + ","
        gates += [cast("str", row[0]) for row in (yield ask("gates_of", beginning=beginning))]
    if gates:
        yield ask_rows("lock_gates", [(gate,) for gate in in_order(gates)])
        yield ask_rows("loosen_gates", [(gate,) for gate in in_order(gates)])


@going_first
@operation
def let_through(gates: Collection[str], *, channel: str) -> Steps[None]:
    """Lines up those who are held before gates and might pass by now; wakes runners that wait for work."""
    if gates:
        yield from _look_after(gates, channel)
    yield ask("wake", channel=channel)


@single_operation
def gates_to_tend(limit: int) -> Steps[list[str]]:
    """Gates that have to be looked after."""
    rows = yield ask("gates_to_tend", limit=limit, patience=PATIENCE)
    return [cast("str", row[0]) for row in rows]


@single_operation
def neglected_gates(limit: int) -> Steps[list[str]]:
    """Gates that nobody passed for long, before which jobs are held: perhaps their limits were changed."""
    rows = yield ask("neglected_gates", limit=limit, patience=PATIENCE)
    return [cast("str", row[0]) for row in rows]


@going_first
@operation
def tend_gates(gates: Sequence[str], neglected: Sequence[str], *, channel: str) -> Steps[None]:
    """What nobody else did: lines up those who might pass these gates, and forgets gates that are not used any more.

    Of those who are held before neglected gates the first tries again, for its limits may have been changed.
    """
    every = [(gate,) for gate in in_order({*gates, *neglected})]
    if every:
        yield ask_rows(
            "lock_gates", every
        )  # at once, for those that are locked later must not come before in the order
    yield from _look_after(gates, channel)
    if gates:
        yield ask_rows("forget_gates", [(gate,) for gate in in_order(gates)], patience=PATIENCE)
    tried = in_order(set(neglected) - set(gates))
    if tried:
        yield ask_rows("try_gates", [(gate,) for gate in tried])
        for gate in tried:
            yield ask("release_held", gate=gate, room=1, channel=channel)
    forgotten = yield ask("forgotten_gate")
    if forgotten:
        yield ask("release_held", gate=forgotten[0][0], room=RELEASED_AT_ONCE, channel=channel)


def _look_after(gates: Collection[str], channel: str) -> Steps[None]:
    locked = (yield ask_rows("lock_gates", [(gate,) for gate in in_order(gates)])) if gates else []
    if not locked:
        return
    yield ask_rows("drop_slots", locked)
    standings, now = yield from _standings([cast("str", row[0]) for row in locked])
    needs = [_as_noted(standing) for standing in standings]
    tally = Tally(standings, now)
    yield from _line_up(needs, tally, channel)
    yield from note_gates([(need, 0) for need in needs if need.step], tally)


def _by_gate(needs: Collection[Sequence[Need]]) -> dict[str, Need]:
    return {need.gate: need for some in needs for need in some}


def lock_gates(needs: Mapping[str, Need]) -> Steps[tuple[list[Standing], int]]:
    """A part of operations: gates as they stand, in the order of their names, and the moment in nanoseconds.

    Nobody else is at them until the end of this transaction.
    """
    wanted = sorted(needs)
    if not wanted:
        return [], (yield from _now())
    found = yield ask_rows("lock_gates", [(gate,) for gate in wanted])
    if len(found) < len(wanted):
        new = [needs[gate] for gate in wanted if (gate,) not in found]
        yield ask_rows("make_gates", [(need.gate, need.most, need.step, need.burst) for need in new])
        yield ask_rows("lock_gates", [(need.gate,) for need in new])
    return (yield from _standings(wanted))


def _standings(gates: Sequence[str]) -> Steps[tuple[list[Standing], int]]:
    if not gates:
        return [], (yield from _now())
    rows = yield ask_rows("standings", [(gate,) for gate in gates])
    standings = [Standing._make(row[:-1]) for row in rows]
    return standings, cast("int", rows[0][-1]) * 1000


def _now() -> Steps[int]:
    return cast("int", (yield ask("now"))[0][0]) * 1000


def _limited_heads(
    probes: Sequence[Probe], lines: Mapping[int, Line], sight: int
) -> Steps[tuple[list[Head], frozenset[Head]]]:
    """The next jobs of lanes with limits, and the last that was seen of each lane that may have more."""
    if len(probes) > IN_SIGHT // SIGHT:
        filled = {head.lane for head in (yield from heads_of(probes, lines, room=1))}
        probes = [probe for probe in probes if probe.lane in filled]
        sight = min(sight, max(2, IN_SIGHT // max(1, len(probes))))
    heads = yield from heads_of(probes, lines, room=sight)
    last_seen = [
        Head(lane, min(seen) if lines[lane].is_newest_first else max(seen))
        for lane, seen in places_by_lane(heads).items()
        if len(seen) == sight
    ]
    return heads, frozenset(last_seen)


def _candidates(
    heads: Sequence[Head], demands: Demands
) -> Steps[tuple[dict[Head, Candidate], dict[Head, Sequence[Need]]]]:
    """Jobs that may need gates of their own, and those gates. Long arguments are looked at one by one, and not kept."""
    candidates: dict[Head, Candidate] = {}
    of_job: dict[Head, Sequence[Need]] = {}
    with_keys = [head for head in heads if demands.has_keys(head.lane)]
    for row in (yield ask_rows("jobs_at", with_keys)) if with_keys else ():
        candidate = Candidate._make(row)
        head = Head(candidate.lane, candidate.seq)
        candidates[head] = candidate
        if candidate.arguments is None and demands.goes_by_arguments(candidate.lane):
            [[arguments]] = yield ask("arguments", job=candidate.job)
            candidate = candidate._replace(arguments=cast("str", arguments))
        of_job[head] = demands.of_job(candidate)
    return candidates, of_job


def _hold(refused: Mapping[Head, Need], candidates: Mapping[Head, Candidate], demands: Demands) -> Steps[None]:
    rows: list[Row] = []
    for head, need in sorted(refused.items(), key=lambda item: candidates[item[0]].job):
        candidate = candidates[head]
        rank = Arrival(candidate.job, demands.priority(head.lane), candidate.place).rank(need)
        why = f"waits for {described(need.gate)}"
        rows.append((head.lane, head.seq, candidate.job, need.gate, rank, candidate.place, why))
    yield ask_rows("hold", rows)


def _enter(
    passed: Sequence[tuple[Claimed, Sequence[Need]]],
    in_line: Sequence[Row],
    refusing: Collection[Need],
    seen: Collection[Need],
    tally: Tally,
) -> Steps[None]:
    """Writes who is inside which gates now, what it cost, and when to look at the others again; and what is new."""
    taken: dict[Need, int] = dict.fromkeys((need for need in refusing if need.step), 0)
    taken |= dict.fromkeys((need for need in seen if tally.is_changed(need)), 0)
    slots = list(in_line)
    for job, needs in passed:
        for need in needs:
            taken[need] = taken.get(need, 0) + 1
            if need.most is not None:
                slots.append((need.gate, job.job, job.epoch, need.until))
    if slots:
        yield ask_rows("drop_slots", sorted({(slot[0],) for slot in slots}))
        yield ask_rows("take_slots", slots)
        sequences = sorted({(slot[0],) for slot in slots if slot[3] != "lease"})
        if sequences:
            yield ask_rows("leave_sequences", sequences)
    held = {need.gate for need in refusing}
    yield from note_gates(list(taken.items()), tally, held)


def note_gates(taken: Sequence[tuple[Need, int]], tally: Tally, held: Collection[str] = ()) -> Steps[None]:
    """A part of operations: writes how many took a token of which gates; `held` are those before which jobs wait."""
    rows: list[Row] = []
    for need, count in taken:
        through, next_token = tally.after(need, count)
        is_waited_for = next_token is not None and (need.gate in held or tally.has_held(need.gate))
        due_at = -(-next_token // 1000) if next_token is not None and is_waited_for else None
        rows.append((need.gate, through, need.most, need.step, need.burst, due_at, count))
    if rows:
        yield ask_rows("move_gates", rows)


def _line_up(needs: Collection[Need], tally: Tally, channel: str) -> Steps[None]:
    """Those who were held go first: as many as there is room for are lined up, to be claimed."""
    for need in needs:
        room = tally.room(need)
        if tally.has_held(need.gate) and room != 0:
            at_most = RELEASED_AT_ONCE if room is None else room
            yield ask("release_held", gate=need.gate, room=at_most, channel=channel)


def _as_noted(standing: Standing) -> Need:
    return Need(standing.gate, standing.most, standing.step, standing.burst, "lease", True)


class LimitRow(NamedTuple):
    """A limit at work. `most` is None for a rate, `tokens` for a concurrency; `opens_in` is seconds until a token."""

    limit: str
    inside: int
    most: int | None
    tokens: int | None
    burst: int | None
    opens_in: float | None
    held: int

    @property
    def is_full(self) -> bool:
        """True when it keeps jobs out at the moment."""
        return self.tokens == 0 if self.most is None else self.inside >= self.most


@single_operation
def limits_at_work(limit: int) -> Steps[list[LimitRow]]:
    """The limits that hold the most back first. For people, not for a hot path."""
    rows = yield ask("limits_at_work", limit=limit)
    return [_limit_row(*cast("tuple[str, int | None, int, int, int, int, int, int]", row)) for row in rows]


@single_operation
def held_in_queues(limit: int) -> Steps[list[tuple[str, str, int]]]:
    """Queue, limit, and how many jobs of the queue it holds back: as described for people."""
    rows = yield ask("held_in_queues", limit=limit)
    return [(cast("str", queue), described(cast("str", gate)), cast("int", count)) for queue, gate, count in rows]


def _limit_row(
    gate: str, most: int | None, step: int, burst: int, through: int, inside: int, held: int, now: int
) -> LimitRow:
    if not step:
        return LimitRow(described(gate), inside, most, None, None, None, held)
    left = max(0, tokens(through, now * 1000, step, burst))
    opens_in = None if left else (next_token(through, step, burst) - now * 1000) / SECOND
    return LimitRow(described(gate), inside, None, left, burst, opens_in, held)
