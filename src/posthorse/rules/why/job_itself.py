"""Word what a job itself waits for: its end, its worker, a request, a time, or other code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from shlex import quote

from posthorse.rules.durations import as_text
from posthorse.rules.job import State, Status
from posthorse.rules.throttle import THROTTLED
from posthorse.rules.why.answer import Code, Estimate, Reason
from posthorse.rules.why.facts import Facts, Holding, WaitsForOthers
from posthorse.rules.why.words import at_moment, capped_count, one_line, progress_of


def over(facts: Facts) -> Reason:
    """Word that the job is over, and how it ended."""
    job = facts.job
    when = "" if job.finished_at is None else f" {as_text(facts.now - job.finished_at)} ago"
    known = {"finished_at": job.finished_at, "reason": job.reason}
    match job.state:
        case State.COMPLETED:
            return Reason(
                code=Code.COMPLETED,
                sentence=f"It is over: it completed{when}.",
                facts=known,
                advice="nothing; its result is shown by",
                command=f"posthorse show {job.id}",
            )
        case State.FAILED:
            error = "" if job.error is None else f": {job.error}"
            return Reason(
                code=Code.FAILED,
                sentence=f"It is over: it failed for good{when} ({one_line(job.reason or 'failed')}){one_line(error)}.",
                facts={**known, "error": None if job.error is None else job.error.type},
                advice="once the cause is mended, start it again",
                command=f"posthorse retry {job.id}",
            )
        case _:
            return Reason(
                code=Code.CANCELLED,
                sentence=f"It is over: it was cancelled{when} ({one_line(job.reason or 'cancelled')}).",
                facts=known,
                advice="to run it after all, start it again",
                command=f"posthorse retry {job.id}",
            )


def running(facts: Facts) -> Iterator[Reason]:
    """Word that a worker has the job: alive, silent or lost; and what was requested of it."""
    job, holding = facts.job, facts.holding
    if holding is None or holding.is_lost:
        yield _lost(facts, holding)
        return
    known = {
        "worker": holding.worker,
        "host": holding.host,
        "pid": holding.pid,
        "since": holding.since,
        "lease_until": facts.now + timedelta(microseconds=holding.lease_left or 0),
        "done": job.progress.done,
        "total": job.progress.total,
    }
    if holding.is_silent:
        yield _silent(facts, holding, known)
        return
    where = f"worker {holding.worker} (process {holding.pid} on {holding.host})"
    lasted = as_text(facts.now - holding.since)
    if holding.concurrency is not None and holding.held > holding.concurrency:
        sentence = (
            f"A worker has it: {where} claimed it {lasted} ago. It holds {capped_count(holding.held)} jobs and runs "
            f"{holding.concurrency} at a time, so this one may not have begun."
        )
    else:
        sentence = f"It runs: {where} has had it for {lasted}{progress_of(job)}."
    yield Reason(
        code=Code.RUNNING,
        sentence=sentence,
        facts={**known, "held": holding.held, "concurrency": holding.concurrency},
        advice="nothing; follow it with",
        command=f"posthorse watch {job.id}",
    )
    if job.requested is not None:
        yield Reason(
            code=Code.STOPPING,
            sentence=f"A {job.requested} was requested: it stops at its next slice or checkpoint.",
            facts={"requested": job.requested},
            advice="if it reaches none, take it away from its worker",
            command=f"posthorse {job.requested} --force {job.id}",
        )


def _lost(facts: Facts, holding: Holding | None) -> Reason:
    is_served = any(server.is_alive for server in facts.servers)
    worker = None if holding is None else holding.worker
    who = "Its worker" if worker is None else f"Its worker {worker}"
    then = (
        "a living worker frees it within a few seconds, and it continues from its last committed slice"
        if is_served
        else "no worker is alive that could free it"
    )
    return Reason(
        code=Code.LOST_WORKER,
        sentence=f"{who} was lost, and its lease has ended: {then}.",
        facts={"worker": worker, "since": None if holding is None else holding.since},
        advice="nothing, if that was just now" if is_served else "start a worker",
        command=f"posthorse why {facts.job.id}" if is_served else facts.start,
        start=Estimate(facts.now, None, "living workers look for lost jobs every few seconds")
        if is_served
        else Estimate(None, None, "it depends on when a worker is started"),
    )


def _silent(facts: Facts, holding: Holding, known: Mapping[str, object]) -> Reason:
    until = facts.now + timedelta(microseconds=holding.lease_left or 0)
    silent = timedelta(microseconds=holding.silent_for or 0)
    return Reason(
        code=Code.SILENT_WORKER,
        sentence=f"Its worker {holding.worker} (process {holding.pid} on {holding.host}) has sent no heartbeat for "
        f"{as_text(silent)}; unless it sends one, its lease ends in {as_text(until - facts.now)}, and another worker "
        "continues the job.",
        facts={**known, "silent_for": silent.total_seconds()},
        advice="look whether that process lives, and wait for the end of its lease",
        command="posthorse workers",
        start=Estimate(until, None, "the lease of its worker"),
    )


def paused(facts: Facts) -> Reason:
    """Word that the job itself was paused."""
    since = "" if facts.since is None else f" for {as_text(facts.now - facts.since)}"
    return Reason(
        code=Code.PAUSED,
        sentence=f"It has been paused on request{since}.",
        facts={"since": facts.since},
        advice="let it go on",
        command=f"posthorse resume {facts.job.id}",
        start=Estimate(None, None, "it depends on when the job is resumed"),
    )


def of_time(facts: Facts) -> Reason:
    """Word that the job waits for its time, and who chose that."""
    job, due = facts.job, facts.due or facts.now
    in_ = f"in {as_text(due - facts.now)} ({at_moment(due)})"
    start = Estimate(due, None, "its due time; then it takes its turn")
    known: dict[str, object] = {"due": due, "reason": job.reason}
    now = {"advice": "to start it at once, here", "command": f"posthorse run --resume {job.id}"}
    match facts.event:
        case "attempt_failed":
            error = "" if job.error is None else f" The last error: {one_line(str(job.error))}."
            known |= {"attempt": job.attempt, "max_attempts": job.max_attempts}
            sentence = f"It failed, and waits for its next attempt{_numbered(job)}, {in_}.{error}"
            return Reason(code=Code.RETRY, sentence=sentence, facts=known, start=start, **now)
        case "snoozed" if (job.reason or "").startswith(THROTTLED):
            sentence = f"It is {one_line(job.reason or '')}; it looks again {in_}."
            return Reason(
                code=Code.THROTTLED,
                sentence=sentence,
                facts={**known, "queue": job.queue},
                advice="wait; the throttle of its queue, if that has one, is among the settings in",
                command="posthorse queues",
                start=Estimate(due, None, "when it looks again; then it takes its turn"),
            )
        case "snoozed":
            sentence = f"Its own code put it off; it is due {in_}: {one_line(job.reason or 'no reason given')}."
            return Reason(code=Code.SNOOZED, sentence=sentence, facts=known, start=start, **now)
        case "lost" | "crashed":
            known |= {"interruptions": job.interruptions, "crashes": job.crashes}
            what = "its process died again" if facts.event == "crashed" else "its worker was lost again"
            sentence = (
                f"It waits, because {what} before it got any further ({one_line(job.reason or '')}); it goes on {in_}."
            )
            return Reason(code=Code.INTERRUPTED, sentence=sentence, facts=known, start=start, **now)
        case _:
            by = "" if job.schedule is None else f" by the schedule {job.schedule!r}"
            known |= {"schedule": job.schedule}
            sentence = f"It is not due yet: it is set{by} to start {in_}."
            return Reason(code=Code.SCHEDULED, sentence=sentence, facts=known, start=start, **now)


def lining_up(facts: Facts) -> Reason:
    """Word that its time has come."""
    late = "" if facts.due is None else f" for {as_text(facts.now - facts.due)} ({at_moment(facts.due)})"
    return Reason(
        code=Code.LINING_UP,
        sentence=f"It has been due{late}; any living worker lines it up within seconds.",
        facts={"due": facts.due},
        advice="nothing, if that was just now; else look at the store and the workers",
        command="posthorse doctor",
        start=Estimate(facts.now, None, "workers line up due jobs every two seconds or sooner"),
    )


def is_unfit(job: Status) -> bool:
    """Return whether the job was set aside because its arguments do not fit the code."""
    return job.reason is not None and job.reason.startswith("unfit:")


def unfit(facts: Facts) -> Reason:
    """Word that its arguments do not fit, with the evidence."""
    job, due = facts.job, facts.due
    again = "" if due is None else f" It is tried again in {as_text(due - facts.now)}."
    detail = one_line((job.reason or "").removeprefix("unfit:").strip())
    return Reason(
        code=Code.UNFIT,
        sentence=f"Its arguments do not fit the code of the worker that tried it: {detail}.{again}",
        facts={"detail": detail, "due": due},
        advice="deploy code that takes these arguments, such as a default for a new parameter; see the evidence with",
        command=f"posthorse show {job.id}",
        start=Estimate(None, None, "it depends on when code that fits is deployed"),
    )


def waiting(facts: Facts) -> Reason:
    """Word which event its own code waits for, and until when."""
    job, due = facts.job, facts.due
    to, _, event = (facts.topic or "").rpartition("/")
    is_own = to == job.id
    on = "" if is_own else f", sent to {one_line(to)}"
    tenant = f" --tenant {quote(job.tenant)}" if job.tenant else ""
    target = f"--job {job.id}" if is_own else f"--topic {quote(to)}{tenant}"
    until = "" if due is None else f", and goes on without in {as_text(due - facts.now)} ({at_moment(due)})"
    return Reason(
        code=Code.EVENT,
        sentence=f"Its own code waits for the event {one_line(event)}{on}{until}.",
        facts={"event": event, "topic": None if is_own else to, "due": due, "since": facts.since},
        advice="send the event, unless something else will",
        command=f"posthorse send-event {quote(event)} {target}",
        start=Estimate(None, None, "it depends on when the event is sent")
        if due is None
        else Estimate(facts.now, due, "when the event is sent, or else when the time is over"),
    )


def needs_others(facts: Facts, others: WaitsForOthers) -> Reason:
    """Word that it starts after other jobs, and which."""
    named = ", ".join(f"{one.job} (is {one.state.value}, must be {one.needs})" for one in others.needed)
    more = others.missing - len(others.needed)
    jobs = "another job" if others.missing == 1 else f"{others.missing:,} other jobs"
    return Reason(
        code=Code.NEEDS,
        sentence=f"It starts after {jobs}: {named}{f' and {more:,} more' if more > 0 else ''}.",
        facts={"missing": others.missing, "needed": [one.job for one in others.needed]},
        advice="look at what that one waits for",
        command=f"posthorse why {others.needed[0].job}" if others.needed else f"posthorse show {facts.job.id}",
        start=Estimate(None, None, "it depends on when the jobs that it needs are over"),
    )


def has_children(facts: Facts, others: WaitsForOthers) -> Reason:
    """Word that it is over after its children."""
    return Reason(
        code=Code.CHILDREN,
        sentence=f"It waits for its children: {others.open:,} of {others.total:,} are not over.",
        facts={"open": others.open, "total": others.total},
        advice="look at its children",
        command=f"posthorse jobs --filter parent:{facts.job.id}",
        start=Estimate(None, None, "it depends on when its children are over"),
    )


def blocked(facts: Facts) -> Reason:
    """Word that it is held back for a reason that this version does not know."""
    return Reason(
        code=Code.BLOCKED,
        sentence=f"It is held back: {one_line(facts.job.reason or 'no reason is recorded')}.",
        facts={"reason": facts.job.reason, "due": facts.due},
        advice="look at what is recorded of it",
        command=f"posthorse show {facts.job.id}",
        start=Estimate(None, None, "it depends on what holds it"),
    )


def _numbered(job: Status) -> str:
    return f" ({job.attempt} of {job.max_attempts})" if job.max_attempts is not None else f" ({job.attempt})"
