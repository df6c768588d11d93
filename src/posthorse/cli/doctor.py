"""`posthorse doctor`: asks the store and the workers how they are, and says what to do."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from textwrap import wrap

import click

from posthorse.app.client import Posthorse
from posthorse.app.configure import exposed_file
from posthorse.cli.checks import (
    NEW_FOR,
    Check,
    Verdict,
    backlog_check,
    clock_check,
    dead_letter_check,
    due_check,
    lost_log_check,
    ok,
    postgres_checks,
    problem,
    sqlite_checks,
    unserved_checks,
    warning,
    worker_check,
)
from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, has_color, out, out_json, say, width
from posthorse.cli.target import is_empty, json_option, open_store, target_options
from posthorse.clock import microseconds
from posthorse.errors import StoreError
from posthorse.store.migrate import SCHEMA_VERSION
from posthorse.store.operations import read
from posthorse.store.operations.dead_letters import new_dead_letters
from posthorse.store.operations.runners import next_due
from posthorse.store.store import store_now

MARKS = {Verdict.OK: ("✓", "green"), Verdict.WARNING: ("!", "yellow"), Verdict.PROBLEM: ("✗", "red")}
NAME_COLUMNS = 13


@click.command()
@target_options
@json_option
def doctor(target: str | None, url: str | None, as_json: bool) -> int:
    """Check the store and the workers, and say what to do.

    Changes nothing. Ends with 0 unless there is a problem: 5 when the store cannot be used, 1 for any other.
    Warnings are worth a look and fail nothing.
    """
    app = open_store(target, url)
    checks: list[Check] = []
    code = Exit.OK
    try:
        for check in _examine(app):
            checks.append(check)
            if not as_json:
                _print(check)
    except StoreError as error:
        checks.append(problem("store", str(error), "nothing more can be checked until then"))
        code = Exit.UNREACHABLE
        if not as_json:
            _print(checks[-1])
    tally = Counter(check.verdict for check in checks)
    if tally[Verdict.PROBLEM] and code is Exit.OK:
        code = Exit.JOB_FAILED
    if as_json:
        out_json({"ok": code is Exit.OK, "store": app.store.where, "checks": [check._asdict() for check in checks]})
    else:
        say(_summary(tally))
    return code


def _examine(app: Posthorse) -> Iterator[Check]:
    store = app.store
    where = clean(store.where)
    exposed = exposed_file()
    if exposed is not None:
        finding = f"{clean(str(exposed))} holds the store's password, and everybody on this machine may read it"
        yield warning("secrets", finding, f"chmod 600 {clean(str(exposed))}, or keep the address in POSTHORSE_URL")
    if is_empty(app):
        yield warning("store", f"there is no file {where} yet", "`posthorse migrate` or the first use makes it")
        return
    if store.is_sqlite and _has_lost_its_log(Path(store.where)):
        yield lost_log_check(where)
        return
    began = time.perf_counter()
    version = store.schema_version()
    if version is None or version < SCHEMA_VERSION:
        found = "no tables of Posthorse" if version is None else f"version {version} of the schema"
        finding = f"{where} has {found}; this Posthorse needs {SCHEMA_VERSION}"
        yield warning("schema", finding, "run `posthorse migrate`")
        return
    ours_before = time.time()
    theirs = store.read(store_now())
    ours = (ours_before + time.time()) / 2
    yield ok("store", f"{where} answered in {(time.perf_counter() - began) * 1000:.0f} ms")
    yield ok("schema", f"version {version}")
    if store.is_sqlite:
        yield from sqlite_checks(store.backend.health(), _file_system(Path(store.where)))
    else:
        yield from postgres_checks(store.backend.health())
        yield clock_check(timedelta(seconds=ours - theirs / 1_000_000))
    yield from _work(app)


def _work(app: Posthorse) -> Iterator[Check]:
    store = app.store
    waiting = sum(depth.waiting for depth in store.read(read.depths()))
    counts = store.read(read.parked_counts())
    rows = store.read(read.workers())
    unserved = store.read(read.unserved())
    yield worker_check(rows, timedelta(seconds=app.settings.lease), waiting)
    yield from unserved_checks(unserved)
    yield backlog_check(waiting, store.read(read.running_count()), counts)
    yield due_check(store.read(next_due()).job)
    yield dead_letter_check(counts, store.read(new_dead_letters(microseconds(NEW_FOR))))


def _has_lost_its_log(path: Path) -> bool:
    """True when only the log's index is left; whoever closes the file removes that first."""
    log, index = Path(f"{path}-wal"), Path(f"{path}-shm")
    return not log.exists() and index.exists() and not log.exists()


def _file_system(path: Path) -> str | None:
    """The kind of file system that a file lies on; None where that cannot be known."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    target = path.resolve()
    best, found = -1, None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        if target.is_relative_to(place) and len(place) >= best:
            best, found = len(place), after.split()[0]
    return found


def _print(check: Check) -> None:
    mark, color = MARKS[check.verdict]
    painted = click.style(mark, fg=color) if has_color(sys.stdout) else mark
    room = max(20, width() - NAME_COLUMNS - 3)
    lines = wrap(clean(check.finding), room)
    if check.advice is not None:
        lines += wrap(f"→ {clean(check.advice)}", room, subsequent_indent="  ")
    out(f"{painted} {check.name:<{NAME_COLUMNS}} {lines[0]}")
    for line in lines[1:]:
        out(f"  {'':<{NAME_COLUMNS}} {line}")


def _summary(tally: Counter[Verdict]) -> str:
    told = [
        f"{tally[verdict]} {verdict.value}{'' if tally[verdict] == 1 else 's'}"
        for verdict in (Verdict.PROBLEM, Verdict.WARNING)
        if tally[verdict]
    ]
    return f"{' and '.join(told)}." if told else "All is well."
