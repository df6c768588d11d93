"""Word how a job takes its turn: in quarantine, behind full workers, behind other jobs, or as the next one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from posthorse.rules.durations import as_text
from posthorse.rules.why.answer import Code, Estimate, Reason
from posthorse.rules.why.facts import MAX_COUNTED, Ahead, Facts
from posthorse.rules.why.queue_and_workers import start_of, taking
from posthorse.rules.why.words import capped_count, listed, workers_of

MIN_STARTS = 8
"""An estimate needs this many starts."""


def quarantined(facts: Facts) -> Reason:
    """Word that the job is a suspect."""
    job, count = facts.job, 0 if facts.ahead is None else facts.ahead.count
    died = f"{job.crashes} time{'' if job.crashes == 1 else 's'} alone" if job.crashes else "while it ran among others"
    ahead = "" if not count else f"; {capped_count(count)} other suspect{' is' if count == 1 else 's are'} ahead"
    return Reason(
        code=Code.QUARANTINE,
        sentence=f"It is a suspect, because its process died {died}: it waits to run alone, in quarantine{ahead}.",
        facts={"crashes": job.crashes, "interruptions": job.interruptions, "ahead": count},
        advice="see how its process died",
        command=f"posthorse show {job.id}",
        start=Estimate(None, None, "it depends on when a worker has a process free for it alone"),
    )


def are_full(facts: Facts) -> bool:
    """Return whether no worker that would take the job has a free slot."""
    return all(server.is_full for server in taking(facts))


def full(facts: Facts) -> Reason:
    """Word that all those workers are full."""
    servers = taking(facts)
    taken, places = sum(server.running for server in servers), sum(server.concurrency for server in servers)
    return Reason(
        code=Code.FULL,
        sentence=f"Every place of the workers that would take it is taken: {taken} of {places}, in "
        f"{listed(workers_of(servers))}.",
        facts={"running": taken, "concurrency": places, "workers": workers_of(servers)},
        advice="wait for one of their jobs to end, or start another worker",
        command=start_of(facts),
        start=_by_pace(facts) if facts.ahead else Estimate(None, None, "it depends on when a running job ends"),
    )


def behind(facts: Facts, ahead: Ahead) -> Reason:
    """Word that other jobs come first, and how fast they go."""
    count, settings = ahead.count, facts.settings
    jobs = f"{capped_count(count)} job{' is' if count == 1 else 's are'} ahead of it"
    where = f" in its queue {facts.job.queue!r}" if ahead.tenants < 2 else ", of its own tenant"
    turns = "" if ahead.tenants < 2 else f"; {ahead.tenants:,} tenants take turns"
    pace = _pace(_starts(ahead, facts.now), facts.now)
    speed = "" if pace is None else f"; about {pace:,.0f} start each second" if pace >= 1 else ""
    if pace is not None and pace < 1:
        speed = f"; one starts about every {as_text(timedelta(seconds=1 / pace))}"
    return Reason(
        code=Code.AHEAD,
        sentence=f"It takes its turn: {jobs}{where}{turns}{speed}.",
        facts={
            "ahead": count,
            "is_capped": count >= MAX_COUNTED,
            "priority": facts.job.priority,
            "starts_per_second": pace,
            "order": settings.order,
            "weight": settings.weight,
            "fair": settings.fair,
        },
        advice="wait, start another worker, or give such jobs a higher priority",
        command=start_of(facts),
        start=_by_pace(facts),
    )


def next_in_lane(facts: Facts) -> Reason:
    """Word that nothing holds the job."""
    return Reason(
        code=Code.NEXT,
        sentence="Nothing holds it: it is next in its lane, and a worker that serves it has a free place.",
        facts={"workers": workers_of(taking(facts))},
        advice="nothing; if it stays so, look at the store and the workers",
        command="posthorse doctor",
        start=Estimate(facts.now, None, "a worker with a free place is woken at once"),
    )


def _starts(ahead: Ahead, now: datetime) -> Sequence[datetime]:
    """Return the starts that tell a pace: none that a clock noted which was ahead, and was set back."""
    return [start for start in ahead.starts if start <= now]


def _pace(starts: Sequence[datetime], now: datetime) -> float | None:
    """Return how many jobs started each second, from the first of these starts until now; None for too few."""
    if len(starts) < MIN_STARTS:
        return None
    seconds = (now - starts[0]).total_seconds()
    return len(starts) / seconds if seconds > 0 else None


def _by_pace(facts: Facts) -> Estimate:
    """Return when the jobs ahead have started, at the fastest and the slowest quarter of the pace measured lately."""
    ahead = facts.ahead
    if ahead is None:
        return Estimate(None, None, "it depends on when a running job ends")
    if ahead.count >= MAX_COUNTED:
        return Estimate(None, None, f"more than {MAX_COUNTED:,} jobs are ahead, which are not all counted")
    if ahead.tenants > 1 or facts.settings.order == "lifo":
        return Estimate(None, None, "it depends on the jobs that others enqueue meanwhile")
    starts = _starts(ahead, facts.now)
    if _pace(starts, facts.now) is None:
        return Estimate(None, None, "too few jobs of its queue started lately to tell a pace")
    each = _seconds_a_start(starts, facts.now)
    turns = ahead.count + 1
    return Estimate(
        facts.now + timedelta(seconds=min(each) * turns),
        facts.now + timedelta(seconds=max(each) * turns),
        f"the last {len(starts)} starts in its queue, within {as_text(facts.now - starts[0])}",
    )


def _seconds_a_start(starts: Sequence[datetime], now: datetime) -> list[float]:
    """Return the seconds from one start to the next in each quarter of the starts; the last one lasts until now."""
    places = [len(starts) * quarter // 4 for quarter in range(5)]
    edges = [*starts, now]
    return [(edges[after] - edges[before]).total_seconds() / (after - before) for before, after in pairwise(places)]
