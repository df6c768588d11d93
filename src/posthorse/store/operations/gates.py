"""Gates in the store: which jobs are inside, which are held, and which are lined up again when there is room.

Lock order: lane-wide gates by name, then per-job gates, before any other lock. This prevents deadlock.
A slot counts as long as its lease or its job does, so nothing has to be written when a job ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from posthorse.rules.gates import GateLedger, GateState, Requirement, gate_name, in_step, lock_order
from posthorse.store.base import QuerySteps, TypedQuery, locking_first, operation, query, query_rows, single_operation
from posthorse.store.operations.store_facts import now
from posthorse.store.queries import Row

PATIENCE = 60_000_000
"""Microseconds after which a gate that no job passed is forgotten, and jobs held before it are lined up."""

RELEASED_AT_ONCE = 1_000

LOCK_GATES = TypedQuery("lock_gates", tuple[str])
GATE_STATES = TypedQuery(
    "gate_states",
    tuple[str, int, int | None, int, int, int, str | None, int | None, int | None, int | None, int, int],
)
GATES_OF = TypedQuery("gates_of", tuple[str])
GATES_TO_TEND = TypedQuery("gates_to_tend", tuple[str])
NEGLECTED_GATES = TypedQuery("neglected_gates", tuple[str])
FORGOTTEN_GATE = TypedQuery("forgotten_gate", tuple[str])


# ── parts of operations ──────────────────────────────────────────────────────────────────────────────


def lock_gates(required: Mapping[str, Requirement]) -> QuerySteps[tuple[list[GateState], int]]:
    """Lock gates in the order of their names; return their states, and the moment in nanoseconds.

    No other process can change them until the end of this transaction.
    """
    wanted = sorted(required)
    if not wanted:
        return [], (yield from now()) * 1000
    found = yield from LOCK_GATES([(gate,) for gate in wanted])
    if len(found) < len(wanted):
        new = [required[gate] for gate in wanted if (gate,) not in found]
        yield query_rows(
            "make_gates",
            [(requirement.gate, requirement.most, requirement.step, requirement.burst) for requirement in new],
        )
        yield query_rows("lock_gates", [(requirement.gate,) for requirement in new])
    return (yield from _gate_states(wanted))


def note_gates(
    taken: Sequence[tuple[Requirement, int]], ledger: GateLedger, held: Collection[str] = ()
) -> QuerySteps[None]:
    """Write how many tokens were taken from which gates; `held` are those before which jobs wait."""
    rows: list[Row] = []
    for requirement, count in taken:
        through, next_token = ledger.after(requirement, count)
        is_waited_for = next_token is not None and (requirement.gate in held or ledger.has_held(requirement.gate))
        due_at = -(-next_token // 1000) if next_token is not None and is_waited_for else None
        rows.append((requirement.gate, through, requirement.most, requirement.step, requirement.burst, due_at, count))
    if rows:
        yield query_rows("move_gates", rows)


def line_up(required: Collection[Requirement], ledger: GateLedger) -> QuerySteps[None]:
    """Line up held jobs, which go first: as many as there is room for."""
    for requirement in required:
        room = ledger.room(requirement)
        if ledger.has_held(requirement.gate) and room != 0:
            at_most = RELEASED_AT_ONCE if room is None else room
            yield query("release_held", gate=requirement.gate, room=at_most)


# ── what happens to gates when jobs end, or in the sweep ───────────────────────────────────────────────


@locking_first
@operation
def loosen_gates(queue: str) -> QuerySteps[None]:
    """Make jobs that are held before a queue's gates check again at their claim, because its limits changed."""
    gates: list[str] = []
    for what in ("rate", "concurrency"):
        beginning = gate_name(what, "queue", queue).removesuffix("]") + ","
        gates += [gate for (gate,) in (yield from GATES_OF(beginning=beginning))]
    if gates:
        yield query_rows("lock_gates", [(gate,) for gate in lock_order(gates)])
        yield query_rows("loosen_gates", [(gate,) for gate in lock_order(gates)])


@locking_first
@operation
def let_through(gates: Collection[str]) -> QuerySteps[None]:
    """Line up held jobs that may pass by now; wake idle runners."""
    if gates:
        yield from _look_after(gates)
    yield query("wake")


@single_operation
def gates_to_tend(limit: int) -> QuerySteps[list[str]]:
    """Return gates that the sweep must tend."""
    return [gate for (gate,) in (yield from GATES_TO_TEND(limit=limit, patience=PATIENCE))]


@single_operation
def neglected_gates(limit: int) -> QuerySteps[list[str]]:
    """Return gates that no job passed for long, before which jobs are held: perhaps their limits were changed."""
    return [gate for (gate,) in (yield from NEGLECTED_GATES(limit=limit, patience=PATIENCE))]


@locking_first
@operation
def tend_gates(gates: Sequence[str], neglected: Sequence[str]) -> QuerySteps[None]:
    """Do what no other process did: line up jobs that may pass these gates, and forget unused gates.

    Of the jobs that are held before a neglected gate the first tries again, because its limits may have been changed.
    """
    every = [(gate,) for gate in lock_order({*gates, *neglected})]
    if every:
        yield query_rows("lock_gates", every)  # in one statement: locking in two steps could break the lock order
    yield from _look_after(gates)
    if gates:
        yield query_rows("forget_gates", [(gate,) for gate in lock_order(gates)], patience=PATIENCE)
    tried = lock_order(set(neglected) - set(gates))
    if tried:
        yield query_rows("try_gates", [(gate,) for gate in tried])
        for gate in tried:
            yield query("release_held", gate=gate, room=1)
    for (gate,) in (yield from FORGOTTEN_GATE()):
        yield query("release_held", gate=gate, room=RELEASED_AT_ONCE)


def _look_after(gates: Collection[str]) -> QuerySteps[None]:
    locked = (yield from LOCK_GATES([(gate,) for gate in lock_order(gates)])) if gates else []
    if not locked:
        return
    yield query_rows("drop_slots", locked)
    gate_states, moment = yield from _gate_states([gate for (gate,) in locked])
    required = [_as_noted(state) for state in gate_states]
    ledger = GateLedger(gate_states, moment)
    yield from line_up(required, ledger)
    yield from note_gates([(requirement, 0) for requirement in required if requirement.step], ledger)


def _gate_states(gates: Sequence[str]) -> QuerySteps[tuple[list[GateState], int]]:
    if not gates:
        return [], (yield from now()) * 1000
    rows = yield from GATE_STATES([(gate,) for gate in gates])
    moment = rows[0][-1] * 1000
    gate_states = [GateState(*row[:-2]) for row in rows]
    ahead = {
        state.gate: through
        for state, row in zip(gate_states, rows, strict=True)
        if (through := in_step(state.through, row[-2] * 1000, moment)) != state.through
    }
    if ahead:  # the clock was set back since
        yield query_rows("set_gates_back", [(gate, ahead[gate]) for gate in lock_order(ahead)])
        gate_states = [state._replace(through=ahead.get(state.gate, state.through)) for state in gate_states]
    return gate_states, moment


def _as_noted(state: GateState) -> Requirement:
    return Requirement(state.gate, state.most, state.step, state.burst, "lease", True)
