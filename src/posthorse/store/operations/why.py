"""Why a job does not run: what is read of the job, of what is around it, and of what is ahead. Nothing is written.

Every statement reads a bounded number of rows, however many jobs there are: jobs ahead are counted up to a limit, and
the pace of a queue is that of the jobs that were enqueued shortly before the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse.clock import moment
from posthorse.rules.gates import Requirement
from posthorse.rules.job import State
from posthorse.rules.queues import Layer
from posthorse.rules.why.facts import MAX_COUNTED, MAX_NAMED, GateFacts, Holding, Needed, ServingRunner, WaitsForOthers
from posthorse.store.base import QuerySteps, TypedQuery, operation
from posthorse.store.operations.limits import GATES_OF_LANE
from posthorse.store.operations.one_job import ARGUMENTS
from posthorse.store.operations.queues import live_layers
from posthorse.store.operations.read import JOBS_BY_ID, JobRow, job
from posthorse.store.operations.servers import registered_servers
from posthorse.store.operations.store_facts import now
from posthorse.store.operations.waiting import JOIN_OF

MAX_LANES = 1_000
"""Lanes of a queue that are looked at, those of the highest priority first."""

LANES_AT_ONCE = 20
MAX_HELD = 1_000
EARLIER_JOBS = 500
"""How many jobs, enqueued before the next one, tell the pace of a queue."""

PACE_SPAN = 600_000_000
"""Microseconds after which a start says nothing of the pace any more."""

FIRST, LAST = -(1 << 62), 1 << 62
"""Before and after all positions in a lane."""


class Whereabouts(NamedTuple):
    """Where a job is: its lane and position; how it is parked; its position in a sequence; its last event."""

    lane: int
    seq: int
    is_suspect: int
    tenant: str
    since: int | None
    due_at: int | None
    gate: str | None
    rank: int | None
    place: int | None
    sequence: str | None
    position: int | None
    """Its position in that sequence."""
    topic: str | None
    """What it listens to."""
    event: str | None


class StoredHolding(NamedTuple):
    """A lease as stored, with its runner if that is registered; times in microseconds."""

    since: int
    worker: str | None
    host: str | None
    pid: int | None
    concurrency: int | None
    lease_left: int | None
    silent_for: int | None
    held: int


WHERE_IT_WAITS = TypedQuery("where_it_waits", Whereabouts)
HOLDING = TypedQuery("holding", StoredHolding)
HELD_BY_RUNNERS = TypedQuery("held_by_runners", tuple[str, int])
JOBS_INSIDE = TypedQuery("jobs_inside", tuple[str])
HELD_AHEAD = TypedQuery("held_ahead", tuple[int])
AHEAD_IN_SEQUENCE = TypedQuery("ahead_in_sequence", tuple[str])
LANES_OF_QUEUE = TypedQuery("lanes_of_queue", tuple[int, str, int, int, str])
COUNT_BETWEEN = TypedQuery("count_between", tuple[int])
FIRST_OF_LANE = TypedQuery("first_of_lane", tuple[str])
RECENT_STARTS = TypedQuery("recent_starts", tuple[int])
NEEDS_OF = TypedQuery("needs_of", tuple[str, str, str])


class FoundJob(NamedTuple):
    """A job, where it is, and the live settings of queues. `arguments` is None for a job that does not wait."""

    job: JobRow
    at: Whereabouts
    holding: Holding | None
    arguments: str | None
    layers: Mapping[str, Layer]


class Surroundings(NamedTuple):
    """The registered runners, the live settings of queues, the store's clock, and the gates of whole lanes."""

    servers: Sequence[ServingRunner]
    layers: Mapping[str, Layer]
    now: int
    gates: Sequence[GateFacts] = ()


class GateSeen(NamedTuple):
    """A gate with some of the jobs inside, or the first one ahead in a sequence."""

    gate: GateFacts
    holders: Sequence[str]


class Obstacles(NamedTuple):
    """What keeps a job that waits: the runners, its gates with the jobs that they name, and the jobs ahead in lanes.

    starts: when jobs of its queue started lately, in microseconds. state: the state of the job after all was read.
    others: the jobs that it waits for.
    """

    servers: Sequence[ServingRunner]
    gates: Sequence[GateSeen]
    jobs: Mapping[str, JobRow]
    ahead: int | None
    tenants: int
    starts: Sequence[int]
    state: str | None
    others: WaitsForOthers | None = None


@operation
def whereabouts(job_id: str) -> QuerySteps[FoundJob | None]:
    """Return a job and where it is; None if there is no such job."""
    row = yield from job(job_id).start()
    if row is None:
        return None
    [at] = yield from WHERE_IT_WAITS(job=job_id)
    state = State(row.state)
    held = (yield from HOLDING(job=job_id, limit=MAX_HELD)) if state is State.PROCESSING else []
    arguments = (yield from ARGUMENTS(job=job_id)) if state in (State.PENDING, State.BLOCKED) else []
    return FoundJob(
        row,
        at,
        Holding(moment(held[0].since), *held[0][1:]) if held else None,
        arguments[0][0] if arguments else None,
        (yield from live_layers().start()),
    )


@operation
def surroundings(
    needs: Callable[[Mapping[str, Layer]], Sequence[Requirement]] = lambda _: (),
) -> QuerySteps[Surroundings]:
    """Return what all jobs of a queue and kind meet. `needs` returns the gates to look at, given the live settings."""
    servers = yield from registered_servers()
    layers = yield from live_layers().start()
    wanted = needs(layers)
    return Surroundings(servers, layers, (yield from now()), (yield from _gates(wanted)))


@operation
def obstacles(
    found: FoundJob, required: Sequence[Requirement], *, is_fair: bool, is_lifo: bool
) -> QuerySteps[Obstacles]:
    """Return what keeps a job; `required` are the gates that it must pass, as far as they are known."""
    servers = yield from _busyregistered_servers()
    state = State(found.job.state)
    waits = state in (State.PENDING, State.BLOCKED)
    gates: list[GateSeen] = []
    for gate in (yield from _gates(_with_held(found, required))) if waits else []:
        row = yield from _with_holders(found, gate)
        gates.append(row)
    ahead, tenants, starts = None, 0, []
    if state is State.PENDING:
        kinds = frozenset(kind for server in servers if server.is_alive for kind in server.kinds)
        lanes, tenants = yield from _lanes_ahead(found, kinds, is_fair=is_fair, is_lifo=is_lifo)
        ahead = yield from _count(lanes)
        starts = yield from _starts(found)
    named = list(dict.fromkeys(holder for gate in gates for holder in gate.holders))
    rows = (yield from JOBS_BY_ID([(holder,) for holder in named])) if named else []
    again = yield from job(found.job.id).start()
    jobs = {row.id: row for row in rows}
    others = (yield from _others(found.job.id)) if state is State.BLOCKED and found.at.gate is None else None
    return Obstacles(servers, gates, jobs, ahead, tenants, starts, None if again is None else again.state, others)


def _others(job_id: str) -> QuerySteps[WaitsForOthers | None]:
    """Return what a job waits for, if that is other jobs."""
    joins = yield from JOIN_OF(job=job_id)
    if not joins:
        return None
    rows = yield from NEEDS_OF(job=job_id, limit=MAX_NAMED)
    needed = [Needed(needed, needs, State(state)) for needed, needs, state in rows]
    return WaitsForOthers(joins[0].missing, needed, joins[0].open if joins[0].waits_for_children else 0, joins[0].total)


def _busyregistered_servers() -> QuerySteps[list[ServingRunner]]:
    """Return the registered runners, as busy as the leases say: heartbeats tell it late."""
    counts = dict((yield from HELD_BY_RUNNERS()))
    servers = yield from registered_servers()
    return [
        msgspec.structs.replace(server, running=min(server.concurrency, counts.get(server.id, 0))) for server in servers
    ]


# ── gates ────────────────────────────────────────────────────────────────────────────────────────────


def _with_held(found: FoundJob, required: Sequence[Requirement]) -> list[Requirement]:
    """Add the gate before which the job is held, and that of its sequence, if no code here requires them."""
    at, known = found.at, {requirement.gate for requirement in required}
    added = [
        Requirement(gate, None, 0, 0, "mend" if is_sequence else "lease", is_keyed=True)
        for gate in dict.fromkeys(gate for gate in (at.gate, at.sequence) if gate is not None)
        if gate not in known
        for is_sequence in (gate == at.sequence or gate.startswith('["sequence",'),)
    ]
    return [*required, *added]


def _gates(required: Sequence[Requirement]) -> QuerySteps[list[GateFacts]]:
    """Return the gates that exist: as they are required now, or as they were noted, if no code here requires them."""
    by_gate = {requirement.gate: requirement for requirement in required}
    found: list[GateFacts] = []
    for row in (yield from GATES_OF_LANE([(gate,) for gate in by_gate])) if by_gate else []:
        requirement, through = by_gate[row.gate], row.through
        if requirement.most is None and not requirement.step:
            requirement = requirement._replace(most=row.most, step=row.step, burst=row.burst)
        elif requirement.step != row.step:  # jobs that passed under the old rate empty the new bucket at most
            through = min(through, row.now * 1000 + requirement.burst * requirement.step)
        found.append(GateFacts(requirement, through, row.inside))
    known = {gate.requirement.gate for gate in found}
    # A sequence has an order before its first job passes the gate, which makes the row.
    return found + [GateFacts(each) for each in by_gate.values() if each.until != "lease" and each.gate not in known]


def _with_holders(found: FoundJob, gate: GateFacts) -> QuerySteps[GateSeen]:
    at, job_id, requirement = found.at, found.job.id, gate.requirement
    counts_slots = requirement.most is not None or requirement.until != "lease"
    rows = (yield from JOBS_INSIDE(gate=requirement.gate, job=job_id, limit=MAX_NAMED)) if counts_slots else []
    holders = [holder for (holder,) in rows]
    inside, ahead = gate.inside, 0
    if requirement.until != "lease":
        place = at.seq if at.position is None else at.position
        earlier = yield from AHEAD_IN_SEQUENCE(gate=requirement.gate, place=place, limit=MAX_COUNTED)
        inside, ahead = len(holders), len(earlier)
        holders += [first for (first,) in earlier[:1]]
    elif requirement.is_keyed:
        rank, place = -found.job.priority if at.rank is None else at.rank, at.seq if at.place is None else at.place
        [(ahead,)] = yield from HELD_AHEAD(gate=requirement.gate, rank=rank, place=place, job=job_id, limit=MAX_COUNTED)
    return GateSeen(msgspec.structs.replace(gate, inside=inside, ahead=ahead), holders)


# ── lanes ────────────────────────────────────────────────────────────────────────────────────────────


def _lanes_ahead(
    found: FoundJob, kinds: frozenset[str], *, is_fair: bool, is_lifo: bool
) -> QuerySteps[tuple[list[tuple[int, int, int]], int]]:
    """Return which parts of which lanes are ahead, as lane, first and last position; and the number of tenants.

    Lanes of kinds that no living worker knows are not ahead: workers step over them. In a fair queue the jobs of other
    tenants are not, because tenants take turns.
    """
    at, priority = found.at, found.job.priority
    parts: list[tuple[int, int, int]] = []
    tenants: set[str] = set()
    for row in (yield from LANES_OF_QUEUE(queue=found.job.queue, limit=MAX_LANES)):
        lane, kind, own_priority, is_solo, tenant = row
        if bool(is_solo) != bool(at.is_suspect) or (kind not in kinds and kind != found.job.kind):
            continue
        tenants.add(tenant)
        if own_priority < priority or (is_fair and tenant != at.tenant):
            continue
        if own_priority > priority:
            parts.append((lane, FIRST, LAST))
        else:
            parts.append((lane, at.seq, LAST) if is_lifo else (lane, FIRST, at.seq))
    return parts, len(tenants) if is_fair else 0


def _count(parts: Sequence[tuple[int, int, int]]) -> QuerySteps[int]:
    count = 0
    for start in range(0, len(parts), LANES_AT_ONCE):
        [(counted,)] = yield from COUNT_BETWEEN(parts[start : start + LANES_AT_ONCE], limit=MAX_COUNTED)
        count += counted
        if count >= MAX_COUNTED:
            return MAX_COUNTED
    return count


def _starts(found: FoundJob) -> QuerySteps[list[int]]:
    first = yield from FIRST_OF_LANE(lane=found.at.lane)
    before = first[0][0] if first else found.job.id
    rows = yield from RECENT_STARTS(before=before, queue=found.job.queue, limit=EARLIER_JOBS, span=PACE_SPAN)
    return [started_at for (started_at,) in rows]
