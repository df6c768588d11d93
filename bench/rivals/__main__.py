"""The order of the measurements: each round runs each rival once and then ours, so that noise affects all alike.

What cannot be installed, started or measured is named in the report with its error; the others go on.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.environment import look_around
from bench.numbers import positive, thousands
from bench.rivals import ours
from bench.rivals.conversation import RivalFailed
from bench.rivals.environments import BUILD, Home, NotInstalled, environment
from bench.rivals.measuring import Arena, Counts, Sample, measure
from bench.rivals.places import FreshPlaces, PostgresPlaces, RedisPlaces, SqlitePlaces, redis_places
from bench.rivals.report import Measured, System, as_json, as_markdown
from bench.rivals.table import (
    APPENDFSYNC,
    ENVIRONMENTS,
    EVERY_COMMIT,
    JOBS,
    NOT_MEASURED,
    OURS,
    RIVALS,
    SERVER,
    SERVER_PACKAGES,
    Place,
    Rival,
    durability,
    named,
)
from bench.stores import MeasuredStore, postgres_store, sqlite_store
from posthorse.version import VERSION
from tests.servers import ServerDidNotStart, ServerMissing

ROUNDS = 3
SINGLES, PICKUPS = 1_000, 100
MAX_ERROR = 500


Take = Callable[[], Sample]


@dataclass(frozen=True)
class Wanted:
    """The options of the command line."""

    rivals: Sequence[Rival]
    rounds: int
    counts: Counts
    appendfsync: str
    report: Path


@dataclass(frozen=True)
class Contender:
    """A system that every round measures."""

    system: System
    take: Take


def main(wanted: Wanted) -> None:
    """Measure and report. Raises ServerMissing if there is no PostgreSQL."""
    missing = dict(NOT_MEASURED)
    homes = _installed(wanted.rivals, missing)
    rivals = [rival for rival in wanted.rivals if rival.environment in homes]
    with ExitStack() as stack:
        stores = {
            Place.POSTGRES: stack.enter_context(postgres_store()),
            Place.SQLITE: stack.enter_context(sqlite_store()),
        }
        places: dict[Place, FreshPlaces] = {
            Place.POSTGRES: PostgresPlaces(stores[Place.POSTGRES]),
            Place.SQLITE: SqlitePlaces(stores[Place.SQLITE]),
        }
        servers = ["PostgreSQL: fsync and synchronous_commit on; SQLite: WAL, synchronous=FULL"]
        if any(rival.place is Place.REDIS for rival in rivals):
            try:
                redis = stack.enter_context(_redis(wanted.appendfsync))
            except (NotInstalled, ServerDidNotStart, OSError) as error:
                missing |= {_title(rival): _told(error) for rival in rivals if rival.place is Place.REDIS}
            else:
                places[Place.REDIS] = redis
                servers.append(f"Redis: {redis.version()}, appendonly, appendfsync {wanted.appendfsync}")
        surroundings = look_around(list(stores.values()))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scratch-", dir=BUILD)))
        contenders = [
            *(
                _rival(rival, Arena(homes[rival.environment], places[rival.place], scratch), wanted)
                for rival in rivals
                if rival.place in places
            ),
            *(_own(place, store, stack, wanted.counts) for place, store in stores.items()),
        ]
        measured = _measured(contenders, wanted.rounds, missing)
        surroundings = surroundings.at_end()
    text = as_markdown(surroundings, servers, measured, missing)
    print(text)
    wanted.report.write_text(text, encoding="utf-8")
    wanted.report.with_suffix(".json").write_text(as_json(surroundings, servers, measured, missing), encoding="utf-8")


def _installed(rivals: Sequence[Rival], missing: dict[str, str]) -> dict[str, Home]:
    """Return the environments that could be made, and note the others as missing."""
    homes: dict[str, Home] = {}
    for name in dict.fromkeys(rival.environment for rival in rivals):
        _say(f"environment: {name}")
        try:
            homes[name] = environment(name, ENVIRONMENTS[name])
        except NotInstalled as error:
            missing |= {_title(rival): _told(error) for rival in rivals if rival.environment == name}
    return homes


def _redis(appendfsync: str) -> AbstractContextManager[RedisPlaces]:
    """Raise NotInstalled at once; ServerDidNotStart and OSError when it is entered."""
    _say(f"environment: {SERVER}")
    return redis_places(environment(SERVER, SERVER_PACKAGES), appendfsync=appendfsync)


def _rival(rival: Rival, arena: Arena, wanted: Wanted) -> Contender:
    version = ENVIRONMENTS[rival.environment].version
    durable = durability(rival.place, wanted.appendfsync)
    system = System(rival.title, rival.place, version, rival.settings, durable, rival.price)
    return Contender(system, lambda: measure(rival, arena, wanted.counts))


def _own(place: Place, store: MeasuredStore, stack: ExitStack, counts: Counts) -> Contender:
    raw = stack.enter_context(store.yardstick())
    system = System("Posthorse", place, VERSION, ours.SETTINGS, EVERY_COMMIT, OURS, is_ours=True)
    return Contender(system, lambda: ours.measure(store, raw, counts))


def _measured(contenders: Sequence[Contender], rounds: int, missing: dict[str, str]) -> Sequence[Measured]:
    """Measure every contender in every round; one that fails is left out of later rounds."""
    samples: dict[str, dict[int, Sample]] = {contender.system.full_title: {} for contender in contenders}
    for number in range(1, rounds + 1):
        for contender in contenders:
            title = contender.system.full_title
            if title in missing:
                continue
            _say(f"round {number} of {rounds}: {title}")
            try:
                samples[title][number] = contender.take()
            except (RivalFailed, OSError, ValueError) as error:
                missing[title] = f"round {number}: {_told(error)}"
                _say(f"  {missing[title]}")
    return [Measured(contender.system, samples[contender.system.full_title]) for contender in contenders]


def _title(rival: Rival) -> str:
    return f"{rival.title} ({rival.place})"


def _told(error: Exception) -> str:
    return textwrap.shorten(str(error), MAX_ERROR) or type(error).__name__


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _wanted(words: Sequence[str] | None = None) -> Wanted:
    given = _parser().parse_args(words)
    return Wanted(
        rivals=named(given.only),
        rounds=given.rounds,
        counts=Counts(jobs=given.jobs, singles=given.singles, pickups=given.pickups),
        appendfsync=given.appendfsync,
        report=given.report,
    )


def _parser() -> argparse.ArgumentParser:
    names = sorted({rival.name for rival in RIVALS} | {rival.environment for rival in RIVALS})
    parser = argparse.ArgumentParser(prog="python -m bench.rivals", description="Posthorse beside other job systems.")
    add = parser.add_argument
    add("--only", choices=names, nargs="+", default=[], help="these rivals; otherwise all. Ours is always measured")
    add("--rounds", type=positive, metavar="N", default=ROUNDS, help=f"otherwise {ROUNDS}")
    add("--jobs", type=thousands, metavar="N", default=JOBS, help=f"queued at once; otherwise {JOBS:,}")
    add("--singles", type=positive, metavar="N", default=SINGLES, help=f"one by one; otherwise {SINGLES:,}")
    add("--pickups", type=positive, metavar="N", default=PICKUPS, help=f"otherwise {PICKUPS}")
    add(
        "--appendfsync", choices=list(APPENDFSYNC), default=next(iter(APPENDFSYNC)), help="of Redis; otherwise everysec"
    )
    add("--report", type=Path, metavar="FILE", default=BUILD / "report.md", help="and beside it the same as JSON")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that no worker outlives its bench
    try:
        main(_wanted())
    except ServerMissing as missing:
        sys.exit(str(missing))
