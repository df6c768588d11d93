"""Decisions without a store, in thousands of runs: lives, gates, turns and schedules. Each yields what is wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from posthorse.rules.fair_share import Head, Line, Passes, after_turns, take_turns
from posthorse.rules.gates import NANOSECONDS, Arrival, GateLedger, GateState, Requirement
from posthorse.rules.job import JobError, State
from posthorse.rules.lifecycle import GRAPH, Policy, Spent, decide
from posthorse.rules.outcomes import Crashed, Expired, Lost, Outcome, Raised, Returned, Snoozed, Stopped, Unfit
from posthorse.rules.requests import ACTIONS, REQUESTS, state_after
from posthorse.rules.retry import Backoff
from posthorse.rules.schedules import MisfirePolicy, Policies, due
from posthorse.rules.timing import Timing

Deciding = Callable[[random.Random], Iterator[str]]

MINUTE = 60 * 1_000_000
BEGINNING = 2_000_000_000 * 1_000_000
ERROR = JobError("ValueError", "no good")


def life(chance: random.Random) -> Iterator[str]:
    """I6, I7, I8: one job, whatever comes of its attempts and is requested of it."""
    policy = Policy(chance.randint(1, 4), chance.randint(1, 3), chance.randint(1, 4), Backoff(chance.choice((0, 2))))
    state, spent = State.PENDING, Spent()
    for _ in range(chance.randint(1, 40)):
        if state.is_final or chance.random() < 0.2:
            request = chance.choice(REQUESTS)
            target = state_after(ACTIONS[state, request], waits=chance.random() < 0.2)
            if target is None:
                continue
            if target not in GRAPH[state]:
                yield f"I7: {request} led from {state} to {target}"
            if state.is_final and request not in ("retry", "discard"):
                yield f"I6: {request} left the end {state}"
            spent = Spent() if request == "retry" else spent
            state = target
        elif state is not State.PENDING:
            if State.PENDING not in GRAPH[state]:
                yield f"I7: {state} is never lined up"
            state = State.PENDING
        else:
            transition = decide(spent, _drawn_outcome(chance), policy, chance=chance.random())
            if transition.state not in GRAPH[State.PROCESSING]:
                yield f"I7: processing led to {transition.state}"
            state, spent = transition.state, transition.spent
            over = spent.errors >= policy.max_attempts or spent.crashes >= policy.max_crashes
            if (over or spent.interruptions >= policy.max_interruptions) and not state.is_final:
                yield f"I8: {state} after {spent}, and {policy} has no more"
            if transition.wait is not None and transition.wait < 0:
                yield f"I10: a wait of {transition.wait}"


def gate(chance: random.Random) -> Iterator[str]:
    """I13, I14: many claims through one gate, with jobs that end now and then."""
    step = chance.choice((1_000, NANOSECONDS // 3, NANOSECONDS, 60 * NANOSECONDS))
    burst = chance.randint(1, 5)
    most = chance.choice((None, 1, 3))
    requirement = Requirement("gate", most, step, burst, "lease", is_keyed=False)
    through, inside, now, place = 0, 0, BEGINNING * 1_000, 0
    full_until = 0
    for _ in range(60):
        now += chance.choice((0, step // 7, step, 20 * step))
        inside -= chance.randint(0, inside)
        tally = GateLedger([GateState("gate", through, most, step, burst, inside, None, None, None)], now)
        admitted = 0
        for _ in range(chance.randint(1, 8)):
            place += 1
            admitted += tally.admit(Arrival(None, 0, place), [requirement]) is None
        through, _ = tally.after(requirement, admitted)
        inside += admitted
        if most is not None and inside > most:
            yield f"I13: {inside} are inside, {most} may"
        for _ in range(admitted):
            full_until = max(full_until, now) + step
        if full_until - now > burst * step:
            yield f"I14: {(full_until - now) / step:.2f} tokens were given out at once, {burst} may"


def turns(chance: random.Random) -> Iterator[str]:
    """I18: queues that always have jobs get their shares, whichever runner asks for however many."""
    weights = {name: chance.randint(1, 6) for name in "abcd"[: chance.randint(2, 4)]}
    lines = {number: Line(queue, 0) for number, queue in enumerate(weights)}
    passes, taken = Passes(), Counter[str]()
    for _ in range(60):
        room = chance.randint(1, 8)
        heads = [Head(lane, seq) for lane in lines for seq in range(room)]
        chosen = take_turns(heads, lines, weights, passes, room)
        if len(chosen) != room:
            yield f"I11: {room} could be taken, and {len(chosen)} were"
        passes = after_turns([head.lane for head in chosen], lines, weights, passes)
        taken.update(lines[head.lane].queue for head in chosen)
    for queue, weight in weights.items():
        share = taken.total() * weight / sum(weights.values())
        if abs(taken[queue] - share) > len(weights):
            yield f"I18: {queue} of {weights} got {taken[queue]}, and its share is {share:.1f}"


def schedule(chance: random.Random) -> Iterator[str]:
    """I17: looks at any moments, with clocks that leap and are set back; each time runs once, as the policy says."""
    timing = chance.choice(
        (Timing(every=7 * MINUTE), Timing(cron="*/5 * * * *"), Timing(cron="30 2 * * *", tz="Europe/Berlin"))
    )
    misfire: MisfirePolicy = chance.choice(("skip", "once", "all"))
    policies = Policies(misfire=misfire, limit=3, grace=MINUTE)
    now = through = BEGINNING
    run: set[int] = set()
    for _ in range(30):
        now += chance.choice((20 * 1_000_000, MINUTE, MINUTE, 10 * MINUTE, 26 * 60 * MINUTE, -5 * 1_000_000))
        found = due(timing, policies, handled_until=through, now=now)
        if found is None:
            coming = timing.next_after(through)
            if coming is not None and coming <= now:
                yield f"I11: {coming} has come at {now}, and nothing is due"
            continue
        if found.handled_until <= through or found.handled_until > now:
            yield f"I17: dealt with up to {found.handled_until}, from {through} at {now}"
        for at in found.times:
            if at in run or not through < at <= now:
                yield f"I17: {at} should have run again at {now}"
            if misfire == "skip" and at < now - policies.grace:
                yield f"I17: {at} was missed at {now}, and is run"
        on_time = sum(at >= now - policies.grace for at in found.times)
        if len(found.times) - on_time > {"skip": 0, "once": 1, "all": 3}[misfire]:
            yield f"I17: {len(found.times)} missed times are run, with misfire {misfire}"
        run.update(found.times)
        through = found.handled_until


DECIDERS: Mapping[Deciding, int] = {life: 2_000, gate: 150, turns: 80, schedule: 60}
"""Each with the number of runs that take about a third of a second."""


def _drawn_outcome(chance: random.Random) -> Outcome:
    return chance.choice(
        (
            Returned("null"),
            Raised(ERROR),
            Raised(ERROR, wait=0),
            Raised(ERROR, gives_up="it said so"),
            Snoozed(chance.choice((0, 5)), "later"),
            Stopped(chance.choice(("pause", "cancel", "shutdown", "yield"))),
            Expired(),
            Lost("gone"),
            Crashed("segfault", alone=chance.random() < 0.5, is_contained=chance.random() < 0.5),
            Unfit("other code"),
        )
    )
