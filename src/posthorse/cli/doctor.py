"""`posthorse doctor`: asks the store and the workers how they are, and says what to do."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, cast

import click

from posthorse import ids
from posthorse.app.client import Posthorse
from posthorse.app.configure import exposed_file
from posthorse.app.store_origin import apart
from posthorse.cli.exits import Exit
from posthorse.cli.file_checks import facts_of_files, file_system, free_bytes, holders, me, why_no_room
from posthorse.cli.screen import clean, has_color, out, out_as_is, out_json, say, width
from posthorse.cli.store_checks import (
    Check,
    CheckVerdict,
    address_check,
    blocked_check,
    clock_check,
    files_check,
    integrity_check,
    locks_check,
    lost_log_check,
    ok,
    postgres_checks,
    problem,
    schema_check,
    server_writes_check,
    space_check,
    sqlite_checks,
    unfinished_integrity_check,
    warning,
)
from posthorse.cli.target import (
    FIRST_PATIENCE,
    be_patient,
    find_store,
    is_empty,
    json_option,
    target_options,
    with_commands_again,
)
from posthorse.cli.time_limits import Looks, NoReply
from posthorse.cli.wording import span
from posthorse.cli.work_checks import (
    MAX_LISTED,
    MAX_UNFIT_COUNTED,
    NEW_FOR,
    backlog_check,
    dead_letter_check,
    due_check,
    free_places,
    means_unserved,
    namesake_check,
    stalled_check,
    unfit_check,
    unserved_checks,
    worker_check,
)
from posthorse.clock import microseconds
from posthorse.errors import StoreError, StoreUnreachable
from posthorse.rules.job import State
from posthorse.rules.options.checks import checked_span
from posthorse.rules.queues import DEFAULTS, QueueSettings
from posthorse.store.base import QuerySteps, creating_no_work, operation
from posthorse.store.operations import read
from posthorse.store.operations.dead_letters import new_dead_letters
from posthorse.store.operations.limits import limits_at_work
from posthorse.store.operations.queues import live_layers, queue_rows
from posthorse.store.operations.runners import next_due
from posthorse.store.operations.store_facts import store_now
from posthorse.store.operations.unserved import Unserved
from posthorse.store.operations.unserved import unserved as unserved_jobs
from posthorse.store.postgres.obstacles import WriteObstacles, write_obstacles
from posthorse.store.sqlite.side_files import index_of, log_of

if TYPE_CHECKING:
    from posthorse.store.postgres.backend import PostgresBackend
    from posthorse.store.sqlite.backend import SqliteBackend

MARKS = {CheckVerdict.OK: ("✓", "green"), CheckVerdict.WARNING: ("!", "yellow"), CheckVerdict.ERROR: ("✗", "red")}
NAME_COLUMNS = 13
NARROW = 50
"""Below this many columns, findings are below the names of checks."""

LOOK_AGAIN = 0.5

WITHOUT_WHICH_NOTHING_GOES = frozenset({"files", "locks", "schema", "store", "writes"})
"""An error of one of these checks means that the store cannot be used."""


@creating_no_work
@operation
def nothing_at_all() -> QuerySteps[None]:
    """Commit an empty write transaction: a process that cannot do that cannot enqueue a job, either."""
    yield from ()


@click.command()
@click.option("--strict", is_flag=True, help="Let warnings fail, too: end with an error unless all is well.")
@click.option("--timeout", metavar="SPAN", default="30s", help="End after this at the latest; else 30s.")
@target_options
@json_option
def doctor(strict: bool, timeout: str, target: str | None, url: str | None, as_json: bool) -> int:
    """Check the store and the workers, and say what to do.

    Changes nothing. Ends with 0 unless there is an error: 5 if the store cannot be used, 7 if nothing is wrong but that
    jobs wait which no living worker would take, 1 for any other. Warnings are errors only with --strict. It ends in
    time even if something hangs: one check may take a third of --timeout.

    \b
      posthorse doctor --url "$POSTHORSE_URL" --strict --json
    """
    looks = Looks(checked_span(timeout, name="--timeout"))
    app = find_store(target, url)
    be_patient(app, min(FIRST_PATIENCE, looks.each / 2))
    checks: list[Check] = []
    try:
        for check in _examined(app, looks):
            checks.append(check)
            if not as_json:
                _print(check)
    finally:
        if not looks.is_stuck:  # what hangs holds locks that closing waits for
            app.close()
    tally = Counter(check.verdict for check in checks)
    code = exit_of_checks(checks, strict=strict)
    if as_json:
        shape = {"ok": code is Exit.OK, "verdict": _worst(tally), "store": app.store.where}
        out_json({**shape, "checks": [check._asdict() for check in checks]})
    else:
        say(_summary(tally))
    return code


def exit_of_checks(checks: Sequence[Check], *, strict: bool) -> Exit:
    """Return the exit code for what was found; jobs that no worker takes have one of their own if all else is well."""
    errors = {check.name for check in checks if check.verdict is CheckVerdict.ERROR}
    if errors & WITHOUT_WHICH_NOTHING_GOES:
        return Exit.UNREACHABLE
    passing = {CheckVerdict.OK} if strict else {CheckVerdict.OK, CheckVerdict.WARNING}
    failing = [check for check in checks if check.verdict not in passing]
    if not failing:
        return Exit.OK
    return Exit.UNSERVED if all(map(means_unserved, failing)) else Exit.JOB_FAILED


def _examined(app: Posthorse, looks: Looks) -> Iterator[Check]:
    """Yield the checks; one that fails or does not return is the last."""
    try:
        yield from _examine(app, looks)
    except (NoReply, StoreError) as error:
        name = error.name if isinstance(error, NoReply) else "store"
        is_blocked = isinstance(error, NoReply) or (isinstance(error, StoreUnreachable) and "locked" in str(error))
        if app.store.backend.capabilities.is_file and is_blocked:
            yield blocked_check(name, _why(error), holders(Path(app.store.where)))
        else:
            yield problem(name, _why(error), "nothing more can be checked until then")


def _why(error: Exception) -> str:
    if isinstance(error, NoReply):
        return f"no answer within {span(timedelta(seconds=error.seconds))}: it hangs, or has far too much to do"
    return str(error).partition("; find it with")[0]


def _examine(app: Posthorse, looks: Looks) -> Iterator[Check]:
    yield looks.at("secrets", _secrets)
    yield address_check(apart(app))
    store = app.store
    where = clean(store.where)
    if store.backend.capabilities.is_file:
        path = Path(store.where)
        if looks.at("store", lambda: is_empty(app)):
            yield problem(
                "store", f"there is no file {where}", "check the address; `posthorse migrate` makes a new, empty store"
            )
            return
        if looks.at("log", lambda: _has_lost_its_log(path)):
            yield lost_log_check(where)
            return
        files = looks.at("files", lambda: files_check(facts_of_files(path), me()))
        yield files
        if files.verdict is CheckVerdict.ERROR:
            return
        yield looks.at("space", lambda: space_check(free_bytes(path), why_no_room(path)))
        store.backend.wait_at_most(looks.each / 2)
    else:
        found = looks.at("store", lambda: _lasting_obstacles(cast("PostgresBackend", store.backend)))
        yield locks_check(found.lock)
        yield server_writes_check(is_read_only=found.is_read_only, may_write=found.may_write)
    began = time.perf_counter()
    version = looks.at("store", store.schema_version)
    yield ok("store", f"{where} answered in {(time.perf_counter() - began) * 1000:.0f} ms")
    schema = schema_check(version, where)
    yield schema
    if schema.verdict is CheckVerdict.ERROR:
        return
    yield from _database(app, looks)
    yield from _work(app, looks)


def _lasting_obstacles(backend: PostgresBackend) -> WriteObstacles:
    """Look again if the role may not know how old a lock is, because vacuum takes such locks for a moment."""
    found = write_obstacles(backend)
    if found.lock is not None and found.lock.seconds is None:
        time.sleep(LOOK_AGAIN)
        again = write_obstacles(backend)
        return again if again.lock is None or again.lock.pid == found.lock.pid else again._replace(lock=None)
    return found


def _database(app: Posthorse, looks: Looks) -> Iterator[Check]:
    store = app.store
    if not store.backend.capabilities.is_file:
        ours_before = time.time()
        theirs = looks.at("clock", lambda: store.read(store_now()))
        ours = (ours_before + time.time()) / 2
        yield from postgres_checks(looks.at("server", store.backend.health))
        yield clock_check(timedelta(seconds=ours - theirs / 1_000_000))
        return
    path = Path(store.where)
    try:
        looks.at("writes", lambda: store.run(nothing_at_all()))
        yield ok("writes", "a write transaction began at once")
    except (StoreError, NoReply) as error:
        yield blocked_check("writes", _why(error), holders(path))
        return
    backend = cast("SqliteBackend", store.backend)
    facts, disk = looks.at("durability", lambda: (backend.facts(), file_system(path)))
    yield from sqlite_checks(facts, disk)
    size = int(facts["file_bytes"] or 0)
    try:
        yield integrity_check(looks.at("integrity", backend.integrity), size)
    except NoReply as late:
        yield unfinished_integrity_check(size, late.seconds)


def _work(app: Posthorse, looks: Looks) -> Iterator[Check]:
    store = app.store

    def settled() -> Mapping[str, QueueSettings]:
        return app.registry.queues.settings(store.read(live_layers()))

    settings = looks.at("queues", settled)
    unserved = looks.over("queues", store, unserved_jobs(settings))
    rows = looks.over("workers", store, read.workers())
    queues = looks.over("jobs", store, queue_rows())
    counts = looks.over("jobs", store, read.parked_counts())
    running = looks.over("jobs", store, read.running_count())
    waiting = sum(queue.waiting for queue in queues)
    lease = timedelta(seconds=app.settings.lease)
    yield worker_check(rows, lease, waiting)
    yield namesake_check(rows, lease)
    yield from unserved_checks(unserved, looks.at("kinds", lambda: _waited(app, unserved)))
    limits = looks.over("stalled", store, limits_at_work(1_000))
    now = looks.at("stalled", lambda: store.read(store_now()))
    served = [queue for queue in queues if not any(jobs.queue == queue.queue for jobs in unserved)]
    begun = [queue for queue in served if not settings.get(queue.queue, DEFAULTS).is_closed(now)]
    yield stalled_check(begun, free_places(rows, lease), is_limited=any(limit.is_full for limit in limits))
    yield backlog_check(waiting, running, counts)
    yield due_check(looks.at("schedule", lambda: store.read(next_due())).job)
    yield unfit_check(looks.over("unfit", store, read.count_unfit(MAX_UNFIT_COUNTED)))
    yield dead_letter_check(counts, looks.over("dead letters", store, new_dead_letters(microseconds(NEW_FOR))))


def _waited(app: Posthorse, unserved: Sequence[Unserved]) -> timedelta:
    """Return how long the first job of an unknown kind has waited, which is its age."""
    unknown = [jobs for jobs in unserved if not jobs.is_known][:MAX_LISTED]
    waiting = (app.jobs(state=State.PENDING, queue=jobs.queue, kind=jobs.kind) for jobs in unknown)
    first = [job.id for jobs in waiting for job in islice(jobs, 1)]
    if not first:
        return timedelta(0)
    now = app.store.read(store_now()) // 1000
    return max(timedelta(0), timedelta(milliseconds=now - min(map(ids.milliseconds_of, first))))


def _secrets() -> Check:
    exposed = exposed_file()
    if exposed is None:
        return ok("secrets", "no file of settings shows a password to others")
    name = clean(str(exposed))
    finding = f"{name} holds the store's password, and everybody on this machine may read it"
    return warning("secrets", finding, f"chmod 600 {name}, or keep the address in POSTHORSE_URL")


def _has_lost_its_log(path: Path) -> bool:
    """Return True if only the log's index is left; a process that closes the file removes that first."""
    log, index = Path(log_of(path)), Path(index_of(path))
    return not log.exists() and index.exists() and not log.exists()


def _print(check: Check) -> None:
    mark, color = MARKS[check.verdict]
    painted = click.style(mark, fg=color) if has_color(sys.stdout) else mark
    is_narrow = width() < NARROW
    margin = 2 if is_narrow else NAME_COLUMNS + 3
    room = max(20, width() - margin)
    lines = wrap(clean(check.finding), room) or [""]
    if check.advice is not None:
        lines += wrap(f"→ {clean(with_commands_again(check.advice))}", room, subsequent_indent="  ")
    head = f"{painted} {check.name}" if is_narrow else f"{painted} {check.name:<{NAME_COLUMNS}} {lines.pop(0)}"
    out_as_is(head)
    for line in lines:
        out(" " * margin + line)


def _worst(tally: Mapping[CheckVerdict, int]) -> CheckVerdict:
    return next((verdict for verdict in (CheckVerdict.ERROR, CheckVerdict.WARNING) if tally[verdict]), CheckVerdict.OK)


def _summary(tally: Counter[CheckVerdict]) -> str:
    told = [
        f"{tally[verdict]} {verdict.value}{'' if tally[verdict] == 1 else 's'}"
        for verdict in (CheckVerdict.ERROR, CheckVerdict.WARNING)
        if tally[verdict]
    ]
    return f"{' and '.join(told)}." if told else "All is well."
