"""Why a job does not run: in every state there is one leading reason, and each reason is true."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.gates import Requirement, gate_name
from posthorse.rules.job import JobError, State, Status
from posthorse.rules.limits import Rate
from posthorse.rules.progress import Progress
from posthorse.rules.queues import QueueSettings
from posthorse.rules.why.answer import Code, Estimate, Why, clause, together, waits_for
from posthorse.rules.why.facts import (
    MAX_COUNTED,
    Ahead,
    Facts,
    GateFacts,
    Holding,
    Needed,
    ServingRunner,
    WaitsForOthers,
    lane_wide,
)
from posthorse.rules.why.rule import why
from posthorse.rules.window import as_window

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
WAITING = (State.SCHEDULED, State.BLOCKED, State.PENDING, State.PAUSED)
JOB = Status(
    id="01936f5e-7c1a-7d2b-8e3f-0123456789ab",
    state=State.PENDING,
    reason=None,
    kind="resize",
    queue="media",
    priority=0,
    tenant=None,
    tags=(),
    attempt=1,
    max_attempts=5,
    crashes=0,
    interruptions=0,
    progress=Progress(),
    requested=None,
    error=None,
    worker=None,
    created_at=NOON,
    run_at=None,
    started_at=None,
    finished_at=None,
)
FREE = ServingRunner("r", "web-1", (), ("resize",), {"gpu": "yes"}, running=0, concurrency=2)
SEQUENCE = Requirement(gate_name("sequence", "", "invoice-7"), 1, 0, 0, "mend", is_keyed=True)
CONCURRENCY = Requirement(gate_name("concurrency", "kind", "resize", "customer", 7), 2, 0, 0, "lease", is_keyed=True)
RATE = Requirement(gate_name("rate", "queue", "media"), None, 60_000_000_000, 1, "lease", is_keyed=False)
NANOSECONDS_OF_NOON = round(NOON.timestamp()) * 1_000_000_000


def job(state: State = State.PENDING, **fields: object) -> Status:
    names = {name: getattr(JOB, name) for name in Status.__dataclass_fields__}
    return Status(**{**names, "state": state, **fields})


def jobs() -> st.SearchStrategy[Status]:
    return st.builds(
        job,
        st.sampled_from([*State, *[State.PENDING] * 5, State.BLOCKED, State.SCHEDULED]),
        reason=st.sampled_from(
            [None, "unfit: width is missing", "attempt 1 of 5 failed", "throttled: the load is 9.0, 8 are allowed"]
        ),
        requested=st.sampled_from([None, "pause", "cancel"]),
        error=st.sampled_from([None, JobError(type="ValueError", message="no\nprice")]),
        crashes=st.integers(0, 2),
        max_attempts=st.sampled_from([None, 5]),
        finished_at=st.sampled_from([None, NOON]),
        schedule=st.sampled_from([None, "nightly"]),
    )


def gates() -> st.SearchStrategy[GateFacts]:
    return st.builds(
        GateFacts,
        st.sampled_from([SEQUENCE, CONCURRENCY, RATE]),
        through=st.sampled_from([0, NANOSECONDS_OF_NOON + 60_000_000_000]),
        inside=st.integers(0, 3),
        ahead=st.sampled_from([0, 1, 3, MAX_COUNTED]),
        holders=st.lists(st.builds(job, st.sampled_from(State)), max_size=2),
    )


servers = st.builds(
    ServingRunner,
    st.just("r"),
    st.sampled_from(["web-1", "web-2"]),
    st.sampled_from([(), ("media",), ("mail", "media"), ("mail",)]),
    st.sampled_from([("resize",), ("resize", "letter"), ("letter",)]),
    st.sampled_from([{"gpu": "yes"}, {}]),
    st.integers(0, 2),
    st.just(2),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([False, False, True]),
)
settings = st.builds(
    QueueSettings,
    paused=st.sampled_from([False, False, True]),
    window=st.sampled_from([None, as_window("10:00-14:00"), as_window("14:00-16:00")]),
    labels=st.sampled_from([{}, {"gpu": "yes"}]),
    order=st.sampled_from(["fifo", "lifo"]),
)
ahead = st.builds(
    Ahead,
    st.sampled_from([0, 1, 7, MAX_COUNTED]),
    st.lists(st.integers(1, 600), max_size=40).map(
        lambda ago: [NOON - timedelta(seconds=s) for s in sorted(ago)[::-1]]
    ),
    st.integers(0, 3),
)
holdings = st.builds(
    Holding,
    st.just(NOON - timedelta(seconds=5)),
    st.just("web-1"),
    st.just("web"),
    st.just(7),
    st.just(2),
    st.sampled_from([None, -1, 1_000_000, 30_000_000]),
    st.sampled_from([0, 29_000_000]),
    st.integers(1, 5),
)
facts = st.builds(
    Facts,
    job=jobs(),
    now=st.just(NOON),
    settings=settings,
    servers=st.lists(servers, max_size=3),
    gates=st.lists(gates(), max_size=3, unique_by=lambda gate: gate.requirement.gate),
    ahead=st.none() | ahead,
    holding=st.none() | holdings,
    since=st.sampled_from([None, NOON - timedelta(hours=1)]),
    due=st.sampled_from([None, NOON - timedelta(hours=1), NOON + timedelta(hours=1)]),
    gate=st.sampled_from([None, SEQUENCE.gate, CONCURRENCY.gate]),
    topic=st.sampled_from([None, "order-7/paid", "01936f5e-7c1a-7d2b-8e3f-0123456789ab/approved"]),
    event=st.sampled_from([None, "attempt_failed", "snoozed", "lost", "crashed", "resumed"]),
    is_suspect=st.booleans(),
    others=st.sampled_from(
        [
            None,
            WaitsForOthers(),
            WaitsForOthers(3, [Needed("01936f5e-7c1a-7d2b-8e3f-0123456789ab", "completed", State.PENDING)]),
            WaitsForOthers(1, [], 2, 5),
        ]
    ),
)


# ── what each code claims ────────────────────────────────────────────────────────────────────────────


def alive(given: Facts) -> list[ServingRunner]:
    return [server for server in given.servers if server.is_alive]


def waits_for_event(given: Facts) -> bool:
    return given.topic is not None and not is_unfit(given)


def knowing(given: Facts) -> list[ServingRunner]:
    return [server for server in alive(given) if "resize" in server.kinds]


def serving(given: Facts) -> list[ServingRunner]:
    return [server for server in knowing(given) if server.queues != ("mail",)]


def fitting(given: Facts) -> list[ServingRunner]:
    return [server for server in serving(given) if given.settings.fits(server.labels)]


def free(given: Facts) -> list[ServingRunner]:
    return [server for server in fitting(given) if not server.is_draining and server.running < server.concurrency]


def state_of(given: Facts) -> State:
    return given.job.state


def waits_for_time(given: Facts) -> bool:
    """Return whether its time has not come."""
    return given.due is not None and given.due > NOON


def is_unfit(given: Facts) -> bool:
    return (given.job.reason or "").startswith("unfit:")


def is_throttled(given: Facts) -> bool:
    return (given.job.reason or "").startswith("throttled:")


def is_set_aside(given: Facts) -> bool:
    """Return whether it is blocked by itself, and not before a gate."""
    return state_of(given) is State.BLOCKED and given.gate is None


def is_tried_again(given: Facts) -> bool:
    return is_set_aside(given) and given.due is not None and given.due <= NOON


def missing(given: Facts) -> int:
    return 0 if given.others is None else given.others.missing


def children(given: Facts) -> int:
    return 0 if given.others is None else given.others.open


def waits_for_others(given: Facts) -> bool:
    return missing(given) > 0 or children(given) > 0


def is_held(given: Facts) -> bool:
    return state_of(given) is State.BLOCKED and given.gate is not None


def is_early(given: Facts, *events: str | None) -> bool:
    return state_of(given) is State.SCHEDULED and waits_for_time(given) and given.event in events


def has_lease(given: Facts) -> bool:
    held = given.holding is not None and (given.holding.lease_left or 0) > 0
    return state_of(given) is State.PROCESSING and held


def is_silent(given: Facts) -> bool:
    return given.holding is not None and (given.holding.silent_for or 0) > 1.5 * (given.holding.lease_left or 0)


def at(given: Facts, requirement: Requirement) -> GateFacts | None:
    """Return the gate that the job is before, if it could start now."""
    found = [gate for gate in given.gates if gate.requirement == requirement]
    return found[0] if found and (state_of(given) is State.PENDING or is_held(given)) else None


def is_behind(given: Facts) -> bool:
    gate = at(given, SEQUENCE)
    return gate is not None and bool(gate.inside or gate.ahead)


def is_behind_a_dead_letter(given: Facts) -> bool:
    gate = at(given, SEQUENCE)
    return is_behind(given) and gate is not None and [each.state for each in gate.holders[:1]] == [State.FAILED]


def is_before_a_full_limit(given: Facts) -> bool:
    gate = at(given, CONCURRENCY)
    return gate is not None and (gate.inside >= 2 or gate.ahead > 0)


def is_before_an_empty_bucket(given: Facts) -> bool:
    gate = at(given, RATE)
    return gate is not None and (gate.through > 0 or gate.ahead > 0)


def is_before_a_gate(given: Facts) -> bool:
    return is_behind(given) or is_before_a_full_limit(given) or is_before_an_empty_bucket(given)


def is_kept_with_all(given: Facts) -> bool:
    """Return whether its whole queue and kind is held."""
    return any(APPEARS[code](given) for code in AROUND)


def takes_turns(given: Facts) -> bool:
    return state_of(given) is State.PENDING and not given.is_suspect


def is_full(given: Facts) -> bool:
    return takes_turns(given) and not is_kept_with_all(given) and not free(given)


def has_ahead(given: Facts) -> bool:
    return takes_turns(given) and given.ahead is not None and given.ahead.count > 0


def is_kept(given: Facts) -> bool:
    return is_kept_with_all(given) or is_before_a_gate(given) or is_full(given) or has_ahead(given)


AROUND = (
    Code.QUEUE_PAUSED,
    Code.WINDOW,
    Code.NO_WORKER,
    Code.NO_KIND,
    Code.NO_QUEUE,
    Code.NO_LABELS,
    Code.DRAINING,
)
APPEARS: dict[Code, Callable[[Facts], bool]] = {
    Code.COMPLETED: lambda given: state_of(given) is State.COMPLETED,
    Code.FAILED: lambda given: state_of(given) is State.FAILED,
    Code.CANCELLED: lambda given: state_of(given) is State.CANCELLED,
    Code.RUNNING: lambda given: has_lease(given) and not is_silent(given),
    Code.STOPPING: lambda given: has_lease(given) and not is_silent(given) and given.job.requested is not None,
    Code.SILENT_WORKER: lambda given: has_lease(given) and is_silent(given),
    Code.LOST_WORKER: lambda given: state_of(given) is State.PROCESSING and not has_lease(given),
    Code.PAUSED: lambda given: state_of(given) is State.PAUSED,
    Code.SCHEDULED: lambda given: is_early(given, None, "resumed"),
    Code.RETRY: lambda given: is_early(given, "attempt_failed"),
    Code.SNOOZED: lambda given: is_early(given, "snoozed") and not is_throttled(given),
    Code.THROTTLED: lambda given: is_early(given, "snoozed") and is_throttled(given),
    Code.INTERRUPTED: lambda given: is_early(given, "lost", "crashed"),
    Code.UNFIT: lambda given: (
        is_set_aside(given) and is_unfit(given) and not is_tried_again(given) and not waits_for_others(given)
    ),
    Code.EVENT: lambda given: (
        is_set_aside(given) and waits_for_event(given) and not is_tried_again(given) and not waits_for_others(given)
    ),
    Code.NEEDS: lambda given: is_set_aside(given) and not is_tried_again(given) and missing(given) > 0,
    Code.CHILDREN: lambda given: is_set_aside(given) and not is_tried_again(given) and children(given) > 0,
    Code.BLOCKED: lambda given: (
        is_set_aside(given)
        and not is_unfit(given)
        and not waits_for_event(given)
        and not is_tried_again(given)
        and not waits_for_others(given)
    ),
    Code.QUEUE_PAUSED: lambda given: state_of(given) in WAITING and given.settings.paused,
    Code.WINDOW: lambda given: state_of(given) in WAITING and given.settings.window == as_window("14:00-16:00"),
    Code.NO_WORKER: lambda given: state_of(given) in WAITING and not alive(given),
    Code.NO_KIND: lambda given: state_of(given) in WAITING and bool(alive(given)) and not knowing(given),
    Code.NO_QUEUE: lambda given: state_of(given) in WAITING and bool(knowing(given)) and not serving(given),
    Code.NO_LABELS: lambda given: state_of(given) in WAITING and bool(serving(given)) and not fitting(given),
    Code.DRAINING: lambda given: (
        state_of(given) in WAITING and bool(fitting(given)) and all(server.is_draining for server in fitting(given))
    ),
    Code.DEAD_LETTER: is_behind_a_dead_letter,
    Code.SEQUENCE: lambda given: is_behind(given) and not is_behind_a_dead_letter(given),
    Code.CONCURRENCY: is_before_a_full_limit,
    Code.RATE: is_before_an_empty_bucket,
    Code.LINING_UP: lambda given: (
        (state_of(given) is State.SCHEDULED and not waits_for_time(given))
        or is_tried_again(given)
        or (is_held(given) and not is_before_a_gate(given))
    ),
    Code.QUARANTINE: lambda given: state_of(given) is State.PENDING and given.is_suspect,
    Code.FULL: is_full,
    Code.AHEAD: has_ahead,
    Code.NEXT: lambda given: takes_turns(given) and not is_kept(given),
}
"""When each reason is true, in the order in which they count."""


@given(facts)
@hypothesis.settings(max_examples=1_000)
def test_the_reasons_are_those_that_are_true_and_one_of_them_leads(given: Facts) -> None:
    codes = [Code(reason.code) for reason in why(given).reasons]
    assert codes
    assert codes == [code for code, is_true in APPEARS.items() if is_true(given)]


def test_every_code_has_its_truth() -> None:
    assert set(APPEARS) == set(Code)


@given(facts)
def test_every_reason_says_what_to_do(given: Facts) -> None:
    reasons = why(given).reasons
    for reason in reasons:
        assert reason.sentence[0].isupper()
        assert reason.sentence.endswith(".")
        assert "\n" not in reason.sentence
        assert reason.advice
        assert reason.command is not None
        assert reason.command.startswith("posthorse ")
        assert (reason.start is None) == (reason.code in OVER_OR_RUNNING)
    msgspec.json.encode([reason.facts for reason in reasons])


OVER_OR_RUNNING = {Code.COMPLETED, Code.FAILED, Code.CANCELLED, Code.RUNNING, Code.STOPPING}


@given(facts)
def test_a_start_is_never_invented(given: Facts) -> None:
    told = why(given)
    starts = [reason.start for reason in told.reasons if reason.start is not None]
    assert (told.start is None) == (not starts)
    if told.start is None:
        return
    assert told.start.basis
    if any(start.earliest is None for start in starts):
        assert told.start.earliest is told.start.latest is None
        return
    assert told.start.earliest is not None
    assert all(start.earliest is not None and told.start.earliest >= start.earliest for start in starts)
    if told.start.latest is not None:
        assert told.start.earliest <= told.start.latest
        assert all(start.latest is not None for start in starts)


@given(facts)
def test_waits_for_is_the_leading_reason_of_the_same_rule(given: Facts) -> None:
    told = why(given)
    waits = waits_for(told)
    assert waits is None or waits == clause(told.leading.sentence)
    assert (waits is None) == (told.leading.code in (Code.AHEAD, Code.NEXT, Code.QUARANTINE))


# ── the order, and the figures ───────────────────────────────────────────────────────────────────────


def told(**fields: object) -> Why:
    return why(Facts(**{"job": JOB, "now": NOON, "servers": [FREE], **fields}))  # type: ignore[arg-type]


def test_what_lasts_longest_leads() -> None:
    everything = told(
        settings=QueueSettings(paused=True, window=as_window("14:00-16:00")),
        servers=[],
        gates=[
            GateFacts(RATE, through=NANOSECONDS_OF_NOON + 60_000_000_000),
            GateFacts(CONCURRENCY, inside=2),
            GateFacts(SEQUENCE, ahead=1),
        ],
        ahead=Ahead(3),
    )
    assert [reason.code for reason in everything.reasons] == [
        "queue_paused", "window", "no_worker", "sequence", "concurrency", "rate", "ahead",
    ]  # fmt: skip


def test_a_job_takes_its_turn() -> None:
    busy = ServingRunner("r", "web-1", (), ("resize",), {"gpu": "yes"}, running=2, concurrency=2)
    assert [reason.code for reason in told(ahead=Ahead(0)).reasons] == ["next"]
    assert [reason.code for reason in told(ahead=Ahead(1)).reasons] == ["ahead"]
    assert [reason.code for reason in told(ahead=Ahead(1), servers=[busy]).reasons] == ["full", "ahead"]
    assert [reason.code for reason in told(ahead=Ahead(0), servers=[busy]).reasons] == ["full"]
    assert [reason.code for reason in told(ahead=Ahead(0), servers=[busy, FREE]).reasons] == ["next"]


def test_a_rate_counts_the_jobs_ahead() -> None:
    gate = GateFacts(RATE, through=NANOSECONDS_OF_NOON + 30_000_000_000, ahead=2)
    answer = told(job=job(State.BLOCKED), gate=RATE.gate, gates=[gate])
    assert answer.start == Estimate(
        NOON + timedelta(seconds=30 + 120), None, "the rate, and the jobs ahead of it at this limit"
    )


def test_a_slot_is_free_when_the_first_of_all_jobs_inside_ends() -> None:
    def ending(*seconds: int) -> Status:
        early, late = (NOON + timedelta(seconds=s) for s in seconds)
        return job(State.PROCESSING, progress=Progress(5, 10, 1.0, timedelta(seconds=5), early, (early, late)))

    inside = [ending(10, 20), ending(5, 30)]
    answer = told(gates=[GateFacts(CONCURRENCY, inside=2, holders=inside)])
    assert answer.start is not None
    assert (answer.start.earliest, answer.start.latest) == (NOON + timedelta(seconds=5), NOON + timedelta(seconds=20))
    answer = told(gates=[GateFacts(CONCURRENCY, inside=2, holders=inside[:1])])
    assert answer.start is not None
    assert answer.start.earliest is None, "the other one may end later, or sooner"


def test_the_range_is_that_of_the_fastest_and_the_slowest_quarter() -> None:
    seconds = [40, 30, 20, 10, 8, 6, 4, 2]  # ago: a start every 10 s, then every 2 s
    answer = told(ahead=Ahead(9, [NOON - timedelta(seconds=ago) for ago in seconds]))
    assert answer.start is not None
    assert (answer.start.earliest, answer.start.latest) == (NOON + timedelta(seconds=20), NOON + timedelta(seconds=100))
    assert answer.start.basis == "the last 8 starts in its queue, within 40s"


def test_starts_that_a_clock_noted_before_it_was_set_back_tell_no_pace() -> None:
    lately = [NOON - timedelta(seconds=ago) for ago in range(8, 0, -1)]
    later = [NOON + timedelta(hours=1, seconds=ahead) for ahead in range(8)]
    both, without = told(ahead=Ahead(9, [*lately, *later])), told(ahead=Ahead(9, lately))
    assert (both.start, both.reasons) == (without.start, without.reasons)
    assert told(ahead=Ahead(9, later)).start == Estimate(
        None, None, "too few jobs of its queue started lately to tell a pace"
    )


@pytest.mark.parametrize(
    ("count", "starts", "order", "basis"),
    [
        (9, 7, "fifo", "too few jobs of its queue started lately to tell a pace"),
        (MAX_COUNTED, 40, "fifo", "more than 10,000 jobs are ahead, which are not all counted"),
        (9, 40, "lifo", "it depends on the jobs that others enqueue meanwhile"),
    ],
)
def test_without_a_basis_the_start_is_unknown(count: int, starts: int, order: str, basis: str) -> None:
    lately = [NOON - timedelta(seconds=ago) for ago in range(starts, 0, -1)]
    answer = told(ahead=Ahead(count, lately), settings=QueueSettings(order=order))  # type: ignore[arg-type]
    assert answer.start == Estimate(None, None, basis)


def test_starts_together_are_the_last_of_them() -> None:
    early, late = Estimate(NOON, NOON, "a"), Estimate(NOON + timedelta(hours=1), None, "b")
    assert together([early, late]) == late
    assert together([early, late, Estimate(None, None, "c")]) == Estimate(None, None, "c")
    assert together([None]) is None


def test_limits_of_whole_lanes_are_those_without_a_partition_key() -> None:
    queue = QueueSettings(rate=Rate("1/s"))
    assert [each.gate for each in lane_wide("resize", None, "media", queue)] == [RATE.gate]
    assert lane_wide("resize", None, "media", QueueSettings(rate=Rate("1/s", per="tenant"))) == []
