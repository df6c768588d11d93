"""Why a job does not run: read the facts in two looks at the store, and let the rule decide.

Users' functions that return partition keys are called between the two looks, outside of any transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pickle import PicklingError
from typing import TYPE_CHECKING

from posthorse.app.pickling import MAIN, variable_of
from posthorse.app.reading import make_status
from posthorse.app.verbs import Verb, look_up
from posthorse.clock import moment
from posthorse.rules.gates import Requirement
from posthorse.rules.job import Lane, State, Status
from posthorse.rules.queues import DEFAULTS, Layer, QueueSettings
from posthorse.rules.why.answer import Why, waits_for
from posthorse.rules.why.facts import START, Ahead, Facts, GateFacts, lane_wide
from posthorse.rules.why.rule import why
from posthorse.store.operations.one_job import why_missing
from posthorse.store.operations.why import FoundJob, Obstacles, obstacles, surroundings, whereabouts

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

LOOKS = 3
"""How often it looks again at a job that changed its state meanwhile."""


def why_of(app: Posthorse, job_id: str, *, target: str | None = None) -> Verb[Why]:
    """Return why a job does not run now. Raises JobNotFound.

    `target` is how a command line names the application.
    """
    for look in range(LOOKS):
        found = yield from look_up(app, whereabouts(job_id))
        if found is None:
            raise (yield from look_up(app, why_missing(job_id)))
        settings = app.registry.queues.settings(found.layers).get(found.job.queue, DEFAULTS)
        state = State(found.job.state)
        if state.is_final:
            return why(_facts(app, found, settings, None, target))
        required = _required(app, found, settings)
        seen = yield from look_up(
            app, obstacles(found, required, is_fair=settings.fair, is_lifo=settings.order == "lifo")
        )
        if (seen.state == state and (found.holding is not None) == (state is State.PROCESSING)) or look == LOOKS - 1:
            return why(_facts(app, found, settings, seen, target))
    raise AssertionError("the loop returns")


def cause_of(app: Posthorse, status: Status) -> Verb[str | None]:
    """Return why a pending job waits, as far as its queue, the workers and the limits of whole lanes explain it."""
    kind, options = status.kind, None
    if kind in app.registry:
        registered = app.registry[kind]
        kind, options = registered.kind, registered.options

    def needs(layers: Mapping[str, Layer]) -> Sequence[Requirement]:
        settings = app.registry.queues.settings(layers).get(status.queue, DEFAULTS)
        return lane_wide(kind, options, status.queue, settings)

    seen = yield from look_up(app, surroundings(needs))
    settings = app.registry.queues.settings(seen.layers).get(status.queue, DEFAULTS)
    facts = Facts(job=status, now=moment(seen.now), settings=settings, servers=seen.servers, gates=seen.gates)
    return waits_for(why(facts))


def _required(app: Posthorse, found: FoundJob, settings: QueueSettings) -> Sequence[Requirement]:
    """Return the gates that the job must pass, as far as the code here knows them."""
    job, at = found.job, found.at
    if job.kind not in app.registry:
        return lane_wide(job.kind, None, job.queue, settings)
    registered = app.registry[job.kind]
    return [
        *lane_wide(registered.kind, registered.options, job.queue, settings),
        *_own_gates(
            app, found, {job.queue: settings}, Lane(job.queue, job.kind, job.priority, bool(at.is_suspect), at.tenant)
        ),
    ]


def _own_gates(
    app: Posthorse, found: FoundJob, queues: Mapping[str, QueueSettings], lane: Lane
) -> Sequence[Requirement]:
    from posthorse.store.operations.through_gates import Candidate
    from posthorse.worker.claiming.limits import Limits

    job, at = found.job, found.at
    if found.arguments is None:
        return ()
    limits = Limits(app.registry, lambda _: lane)
    limits.obey(queues)
    candidate = Candidate(at.lane, at.seq, job.id, job.tenant, found.arguments, job.options, at.position)
    limits.learn([candidate])
    return limits.of_job(candidate) or ()


def _facts(
    app: Posthorse, found: FoundJob, settings: QueueSettings, seen: Obstacles | None, target: str | None
) -> Facts:
    row, at = found.job, found.at
    name = (target or app_target(app)) if row.kind in app.registry else None  # one that knows the kind
    facts = Facts(
        job=make_status(row, app.registry),
        now=moment(row.now),
        settings=settings,
        holding=found.holding,
        since=None if at.since is None else moment(at.since),
        due=None if at.due_at is None else moment(at.due_at),
        gate=at.gate,
        topic=at.topic,
        event=at.event,
        is_suspect=bool(at.is_suspect),
        start=START if name is None else f"posthorse worker --app {name}",
    )
    return facts if seen is None else _with(facts, app, seen)


def _with(facts: Facts, app: Posthorse, seen: Obstacles) -> Facts:
    import msgspec

    def named(gate: GateFacts, holders: Sequence[str]) -> GateFacts:
        statuses = [make_status(seen.jobs[holder], app.registry) for holder in holders if holder in seen.jobs]
        return msgspec.structs.replace(gate, holders=statuses)

    return msgspec.structs.replace(
        facts,
        servers=seen.servers,
        gates=[named(row.gate, row.holders) for row in seen.gates],
        others=seen.others,
        ahead=None if seen.ahead is None else Ahead(seen.ahead, [moment(at) for at in seen.starts], seen.tenants),
    )


def app_target(app: Posthorse) -> str | None:
    """Return the name by which another process can import the application; None if there is none."""
    try:
        module, variable = variable_of(app)
    except PicklingError:
        return None
    return None if module == MAIN else f"{module}:{variable}"
