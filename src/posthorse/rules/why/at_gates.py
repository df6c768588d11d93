"""Word which gates keep a job out: a sequence, a concurrency limit, a rate; and who is inside or ahead there."""

from __future__ import annotations

from datetime import timedelta

from posthorse.clock import moment
from posthorse.rules.durations import as_text
from posthorse.rules.gates import NANOSECONDS, gate_in_words, next_token, tokens
from posthorse.rules.job import State
from posthorse.rules.why.answer import Code, Estimate, Reason
from posthorse.rules.why.facts import MAX_NAMED, Facts, GateFacts
from posthorse.rules.why.words import at_moment, capped_count, micros, one_line, progress_of


def at_gates(facts: Facts) -> list[Reason]:
    """Return the gates that keep the job out, one of each sort: the one before which it is held, or the first."""
    found: dict[str, Reason] = {}
    for gate in sorted(facts.gates, key=lambda gate: gate.requirement.gate != facts.gate):
        reason = _of_gate(facts, gate)
        if reason is not None:
            found.setdefault(reason.code, reason)
    ranks = [Code.DEAD_LETTER, Code.SEQUENCE, Code.CONCURRENCY, Code.RATE]
    return sorted(found.values(), key=lambda reason: ranks.index(Code(reason.code)))


def _of_gate(facts: Facts, gate: GateFacts) -> Reason | None:
    requirement = gate.requirement
    if requirement.until != "lease":
        return _in_sequence(facts, gate) if gate.inside or gate.ahead else None
    if requirement.most is not None:
        return _at_concurrency(facts, gate) if gate.inside >= requirement.most or gate.ahead else None
    return _at_rate(facts, gate)


def _in_sequence(facts: Facts, gate: GateFacts) -> Reason:
    name = gate_in_words(gate.requirement.gate)
    before = gate.inside + gate.ahead
    known: dict[str, object] = {"limit": name, "ahead": before, "holders": _holders(gate)}
    jobs = f"{capped_count(before)} job{' is' if before == 1 else 's are'} ahead"
    unknown = Estimate(None, None, "it depends on when the jobs ahead are over")
    if not gate.holders:
        return Reason(
            code=Code.SEQUENCE,
            sentence=f"It waits for its turn in {name}: {jobs}.",
            facts=known,
            advice="wait; all limits and what they hold back are shown by",
            command="posthorse queues",
            start=unknown,
        )
    first = gate.holders[0]
    known["first"] = first.id
    if first.state is State.FAILED:
        error = "" if first.error is None else f" ({one_line(str(first.error))})"
        return Reason(
            code=Code.DEAD_LETTER,
            sentence=f"A dead letter holds up its {name}: job {first.id} failed for good{error}; {jobs} in all.",
            facts=known,
            advice="mend the cause and retry that one; or let the others pass it, with `posthorse discard`",
            command=f"posthorse retry {first.id}",
            start=Estimate(None, None, "it depends on when the dead letter is retried or discarded"),
        )
    is_running = first.state is State.PROCESSING
    ends = first.progress.eta_range if is_running and before == 1 else None
    does = f"runs now{progress_of(first)}" if is_running else f"is {first.state.value}"
    return Reason(
        code=Code.SEQUENCE,
        sentence=f"It waits for its turn in {name}: {jobs}, and job {first.id} {does}.",
        facts=known,
        advice="wait for that one; follow it with" if is_running else "see why that one does not run",
        command=f"posthorse {'watch' if is_running else 'why'} {first.id}",
        start=unknown if ends is None else Estimate(*ends, "the finish time of the job ahead, from its pace"),
    )


def _at_concurrency(facts: Facts, gate: GateFacts) -> Reason:
    requirement, name = gate.requirement, gate_in_words(gate.requirement.gate)
    most = requirement.most or 0
    jobs = f"{most:,} job{'' if most == 1 else 's'} run at a time, "
    jobs += f"and {gate.inside:,} run{'s' if gate.inside == 1 else ''}"
    ahead = (
        "" if not gate.ahead else f"; {capped_count(gate.ahead)} more {'waits' if gate.ahead == 1 else 'wait'} ahead"
    )
    return Reason(
        code=Code.CONCURRENCY,
        sentence=f"{_limit(name, is_full=gate.inside >= most)} lets {jobs}{ahead}.",
        facts={
            "limit": name,
            "most": most,
            "inside": gate.inside,
            "ahead": gate.ahead,
            "holders": _holders(gate),
        },
        advice="wait for one of the jobs inside, such as",
        command=f"posthorse show {gate.holders[0].id}" if gate.holders else "posthorse queues",
        start=_after_holders(gate, most),
    )


def _after_holders(gate: GateFacts, most: int) -> Estimate:
    """Return when a slot is free: when the first of all jobs inside ends, if each of them has a finish time."""
    ends = [holder.progress.eta_range for holder in gate.holders if holder.progress.eta_range is not None]
    if gate.ahead or not ends or len(ends) < gate.inside or gate.inside > most:
        return Estimate(None, None, "it depends on when a job inside ends")
    return Estimate(min(end[0] for end in ends), min(end[1] for end in ends), "the finish times of the jobs inside")


def _at_rate(facts: Facts, gate: GateFacts) -> Reason | None:
    requirement, now = gate.requirement, micros(facts.now) * 1000
    step, burst = requirement.step, requirement.burst
    if not step or (tokens(gate.through, now, step, burst) > 0 and not gate.ahead):
        return None
    name = gate_in_words(requirement.gate)
    token = max(now, next_token(gate.through, step, burst))
    own = moment((token + gate.ahead * step) // 1000)
    every = as_text(timedelta(microseconds=step / 1000))
    ahead = "" if not gate.ahead else f", and {capped_count(gate.ahead)} {'waits' if gate.ahead == 1 else 'wait'} ahead"
    return Reason(
        code=Code.RATE,
        sentence=f"{_limit(name, is_full=token > now)} lets one job start every {every}{ahead}; "
        f"{'its own turn' if gate.ahead else 'the next turn'} comes in {as_text(own - facts.now)} ({at_moment(own)}).",
        facts={
            "limit": name,
            "every": step / NANOSECONDS,
            "next_at": moment(token // 1000),
            "ahead": gate.ahead,
            "turn_at": own,
        },
        advice="wait; all limits and what they hold back are shown by",
        command="posthorse queues",
        start=Estimate(own, None, "the rate, and the jobs ahead of it at this limit"),
    )


def _limit(name: str, *, is_full: bool) -> str:
    return f"Its limit is full: the {name}" if is_full else f"Others go first at its limit: the {name}"


def opened(facts: Facts) -> Reason:
    """Word that the limit before which it is held has room again."""
    name = "its limit" if facts.gate is None else f"the {gate_in_words(facts.gate)}"
    return Reason(
        code=Code.LINING_UP,
        sentence=f"It was held before {name}, which has room again: a living worker lines it up within a minute.",
        facts={"limit": None if facts.gate is None else gate_in_words(facts.gate)},
        advice="nothing; look again in a moment",
        command=f"posthorse why {facts.job.id}",
        start=Estimate(facts.now, None, "workers look at limits with room every few seconds"),
    )


def _holders(gate: GateFacts) -> list[dict[str, object]]:
    return [
        {"id": holder.id, "state": holder.state.value, "worker": holder.worker, "started_at": holder.started_at}
        for holder in gate.holders[:MAX_NAMED]
    ]
