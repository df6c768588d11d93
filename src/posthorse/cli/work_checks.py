"""What `posthorse doctor` concludes about the work: which workers there are, and what is left undone.

Pure, with the same promise as `checks`: each name is reported once, also if it is well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from shlex import quote

from posthorse.cli.store_checks import Check, CheckVerdict, ok, problem, warning
from posthorse.cli.wording import span
from posthorse.rules.growth import Deaths
from posthorse.rules.job import State
from posthorse.rules.namesakes import Serving, all_namesakes
from posthorse.store.operations.queues import QueueRow
from posthorse.store.operations.read import WorkerRow
from posthorse.store.operations.unserved import Unserved

DUE_FOR, OVERDUE_FOR = timedelta(seconds=5), timedelta(minutes=1)
NEW_FOR = timedelta(minutes=5)
UNKNOWN_FOR = timedelta(minutes=5)
"""A deploy may be about to bring a kind that no living worker knows."""
MANY_UNFIT, MAX_UNFIT_COUNTED = 100, 10_000
MANY_DEAD, MANY_NEW_DEAD = 10_000, 100
STALLED_FOR = timedelta(minutes=1)
MAX_LISTED = 10


def worker_check(rows: Sequence[WorkerRow], lease: timedelta, waiting: int) -> Check:
    """Check that workers are alive if jobs wait."""
    alive = _alive(rows, lease)
    taking = [row for row in alive if not row.is_draining]
    silent = len(rows) - len(alive)
    if not taking:
        there = "none is alive" if not alive else f"all {len(alive)} that are alive are stopping"
        advice = "start one: posthorse worker --app module:app"
        if waiting:
            jobs = "1 job waits" if waiting == 1 else f"{waiting:,} jobs wait"
            return problem("workers", f"{there}, and {jobs}", advice)
        return warning("workers", there, advice)
    running, room = sum(row.running for row in alive), sum(row.concurrency for row in alive)
    finding = f"{len(alive)} alive, {running} of {room} places taken"
    if silent:
        return warning("workers", f"{finding}; {silent} fell silent", "their jobs go to others when their leases end")
    return ok("workers", finding)


def unserved_checks(unserved: Sequence[Unserved], unknown_for: timedelta) -> Iterator[Check]:
    """Check for jobs without a worker that has their code, serves their queue, and has the required labels.

    `unknown_for` is how long the first job of a kind that no worker knows has waited.
    """
    unknown, left_out, unlabelled = Counter[str](), Counter[str](), Counter[str]()
    queues: set[str] = set()
    for jobs in unserved:
        if not jobs.is_known:
            unknown[jobs.kind] += jobs.waiting
        elif jobs.lacks_labels:
            unlabelled[jobs.queue] += jobs.waiting
        else:
            left_out[f"{jobs.kind} from {jobs.queue}"] += jobs.waiting
            queues.add(jobs.queue)
    if unknown:
        find = problem if unknown_for > UNKNOWN_FOR else warning
        yield find(
            "kinds",
            f"no living worker knows: {_listed(unknown)}; the first has waited for {span(unknown_for)}",
            "restart the workers, which may have imported older code, or start one whose application has these kinds; "
            "after a rename, keep the old one with aliases=[…]",
        )
    else:
        yield ok("kinds", "every kind that waits is known to a worker")
    if left_out:
        yield problem(
            "queues",
            f"no living worker takes: {_listed(left_out)}",
            f"start one that knows the kind, with `-q {quote(min(queues))}`, or without -q for all queues",
        )
    else:
        yield ok("queues", "every queue in which jobs wait is served")
    if unlabelled:
        yield problem(
            "labels",
            f"no living worker has the labels of: {_listed(unlabelled)}",
            "start one with `--label NAME=VALUE` as `posthorse queues` shows them, or change them: "
            f"posthorse queues set {quote(min(unlabelled))} labels=none",
        )
    else:
        yield ok("labels", "every label that a waiting queue asks for is had by a worker")


def means_unserved(check: Check) -> bool:
    """Return whether a check that is not well says that jobs wait which no living worker would take."""
    if check.name == "workers":
        return check.verdict is CheckVerdict.ERROR  # a warning is about workers, not about jobs that wait for one
    return check.name in ("kinds", "queues", "labels")


def namesake_check(rows: Sequence[WorkerRow], lease: timedelta) -> Check:
    """Check for kinds of the same name that living workers run with the code of two applications."""
    found = all_namesakes(Serving(row.worker, row.queues, row.places) for row in _alive(rows, lease))
    if not found:
        return ok("namesakes", "no two workers run different code under one name")
    named = "; ".join(
        f"{one.kind} is {one.place} in {one.worker} and {one.other_place} in {one.other_worker}"
        for one in found[:MAX_LISTED]
    )
    more = f"; and {len(found) - MAX_LISTED:,} more" if len(found) > MAX_LISTED else ""
    return warning(
        "namesakes",
        f"workers of the same queues run different code: {named}{more}",
        "two applications that share a store need different names, queues or schemas; where the function was "
        "moved, this ends with the deploy",
    )


def stalled_check(queues: Sequence[QueueRow], places: int, *, is_limited: bool) -> Check:
    """Check for jobs that wait in open and served queues although workers have so many free slots.

    If a limit keeps jobs out at the moment, they may wait.
    """
    late = {
        queue.queue: waited
        for queue in queues
        if queue.waiting and (waited := timedelta(microseconds=queue.waited or 0)) > STALLED_FOR
    }
    if not late or not places or is_limited:
        return ok("stalled", "no job waits while workers have free places")
    named = ", ".join(f"{queue} ({span(waited)})" for queue, waited in sorted(late.items())[:MAX_LISTED])
    return warning(
        "stalled",
        f"workers have {places:,} free places, and jobs wait in: {named}",
        "with --app, labels and windows that the code sets for queues are known, too; else look at the workers' logs",
    )


def free_places(rows: Sequence[WorkerRow], lease: timedelta) -> int:
    """Return how many jobs more the workers could run."""
    return sum(row.concurrency - row.running for row in _alive(rows, lease) if not row.is_draining)


def due_check(next_due: int | None) -> Check:
    """Check scheduled jobs; `next_due` is in microseconds from now."""
    late = timedelta(microseconds=-next_due) if next_due is not None else timedelta(0)
    if late > DUE_FOR:
        find = problem if late > OVERDUE_FOR else warning
        return find(
            "schedule",
            f"a job is due since {span(late)} and was not lined up",
            "any living worker does that: start one",
        )
    return ok("schedule", "no job is overdue")


def unfit_check(count: int) -> Check:
    """Check for jobs whose arguments do not fit the workers' code."""
    if not count:
        return ok("unfit", "every job fits the code")
    number = f"at least {count:,}" if count >= MAX_UNFIT_COUNTED else f"{count:,}"
    wait = "job waits because its arguments do" if count == 1 else "jobs wait because their arguments do"
    find = problem if count >= MANY_UNFIT else warning
    return find(
        "unfit",
        f"{number} {wait} not fit the code of the workers",
        "`posthorse jobs --filter reason:unfit` lists them; deploy code that takes them (a default for a new "
        "parameter), or cancel them: posthorse cancel --all reason:unfit",
    )


def dead_letter_check(counts: Mapping[State, int], new: Deaths) -> Check:
    """Check jobs that failed for good, and how many of them did so within `NEW_FOR`."""
    dead = counts.get(State.FAILED, 0)
    if not dead:
        return ok("dead letters", "none")
    count = f"at least {len(new.found):,}" if new.is_cut else f"{len(new.found):,}" if new.found else "none"
    finding = f"{dead:,}; {count} of them came in the last {span(NEW_FOR)}"
    find = problem if dead >= MANY_DEAD or len(new.found) >= MANY_NEW_DEAD else warning
    return find(
        "dead letters",
        finding,
        "look at `posthorse jobs --state failed`, then `posthorse retry --all FILTER` or `discard --all FILTER`",
    )


def backlog_check(waiting: int, running: int, counts: Mapping[State, int]) -> Check:
    """Report how much there is to do; never wrong by itself."""
    told = [f"{waiting:,} waiting", f"{running:,} running"]
    aside = (State.SCHEDULED, State.BLOCKED, State.PAUSED)
    told += [f"{counts[state]:,} {state.value}" for state in aside if counts.get(state)]
    return ok("jobs", ", ".join(told))


def _alive(rows: Sequence[WorkerRow], lease: timedelta) -> Sequence[WorkerRow]:
    return [row for row in rows if timedelta(microseconds=row.silent_for) <= lease]


def _listed(counts: Mapping[str, int]) -> str:
    """Return the most frequent names, and how many more there are."""
    ranked = sorted(counts.items(), key=lambda named: (-named[1], named[0]))
    more = f" and {len(ranked) - MAX_LISTED:,} more" if len(ranked) > MAX_LISTED else ""
    return ", ".join(f"{name} ({count:,})" for name, count in ranked[:MAX_LISTED]) + more
