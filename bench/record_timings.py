"""Record the timings of slices of real work, for the replays in tests/rules/test_forecast_replays.py.

`python -m bench.record_timings FOLDER` records each kind of work under each circumstance, each in a process of its own.
It knows nothing of forecasts. A recording is a line of JSON: the items and the microseconds of each slice, and the
stops: [slice, microseconds of a slice that was lost with the process and done again, or 0].
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench import recorded_jobs as jobs
from bench.recorded_jobs import Scene, Work

ORDINARY = (
    jobs.inserting_flights,
    jobs.inserting_indexed_flights,
    jobs.updating_rows,
    jobs.indexing_texts,
    jobs.hashing_files,
    jobs.compiling_sources,
    jobs.searching_texts,
    jobs.compressing_with_zlib,
    jobs.growing_documents,
    jobs.sorting_unequal_batches,
    jobs.asking_a_server,
    jobs.finding_primes,
    jobs.parsing_flights,
    jobs.adding_up_flights,
    jobs.deleting_rows,
    jobs.copying_files,
    jobs.parsing_sources,
    jobs.counting_words,
    jobs.comparing_texts,
    jobs.compressing_with_lzma,
    jobs.sorting_weighed_batches,
    jobs.hashing_passwords,
    jobs.starting_processes,
)
SHAPED = (
    jobs.documents_that_become_ten_times_as_large,
    jobs.drawing_a_fractal,
    jobs.hashing_files_by_weight,
    jobs.hashing_files_from_small_to_large,
)
GROUPS = {"ordinary": ORDINARY, "shaped": SHAPED}

CIRCUMSTANCES = ("quiet", "busy", "bursts", "stops", "stops and bursts", "long", "long, stops")
MIN_WORK = 2.0  # in seconds
LARGER_WHEN_LONG = 5.0


@dataclass(frozen=True)
class Assignment:
    """One recording to make."""

    group: str
    prepare: Callable[[Scene], Work]
    circumstances: str
    seed: int
    longest: float = 60.0
    """Seconds of work after which the recording ends."""


def record(assignment: Assignment, larger: float = 1.0) -> str:
    """Do the work and record its timings, as a line of JSON; repeat it with larger slices if it took no time."""
    random = Random(assignment.seed)
    slices = round(40 * 10 ** random.random())
    if "long" in assignment.circumstances:
        slices, larger = random.randint(200, 400), larger * LARGER_WHEN_LONG * assignment.longest / 60.0
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(random, Path(folder), slices, random.uniform(0.25, 0.8) * larger)
        work = assignment.prepare(scene)
        commit = _checkpoints(Path(folder))
        at_stops = sorted(random.sample(range(5, slices), random.choice((1, 2, 3))))
        with _load(assignment.circumstances, random):
            items, micros, stops = _timings(
                work, commit, slices, at_stops if "stops" in assignment.circumstances else [], assignment.longest
            )
    if sum(micros) < MIN_WORK * 1e6:
        return record(assignment, larger * 2)
    return json.dumps(
        {
            "job": assignment.prepare.__name__.replace("_", " "),
            "group": assignment.group,
            "circumstances": assignment.circumstances,
            "items": items if len(set(items)) > 1 else items[0],
            "stops": stops,
            "micros": micros,
        },
        separators=(",", ":"),
    )


def _timings(
    work: Work, commit: Callable[[int], None], slices: int, at_stops: list[int], longest: float
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    items: list[int] = []
    micros: list[int] = []
    stops: list[tuple[int, int]] = []
    for number in range(slices):
        began = time.monotonic_ns()
        if number in at_stops:
            is_crash = len(stops) % 2 == 0
            if is_crash:  # done, lost before its commit, and done again
                work(number)
            stops.append((number, (time.monotonic_ns() - began) // 1000 if is_crash else 0))
            time.sleep(0.5)
            began = time.monotonic_ns()
        items.append(work(number))
        commit(number)
        micros.append((time.monotonic_ns() - began) // 1000)
        if sum(micros) > longest * 1e6 and number >= 40:
            break
    return items, micros, stops


def _checkpoints(folder: Path) -> Callable[[int], None]:
    """End each slice with a durable commit of its position, as in a store."""
    connection = sqlite3.connect(folder / "checkpoints.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=wal")
    connection.execute("PRAGMA synchronous=full")
    connection.execute("CREATE TABLE checkpoints (job INTEGER PRIMARY KEY, number INTEGER, pace TEXT)")

    def commit(number: int) -> None:
        connection.execute("INSERT OR REPLACE INTO checkpoints VALUES (1, ?, ?)", (number, "x" * 300))

    return commit


@contextmanager
def _load(circumstances: str, random: Random) -> Iterator[None]:
    """Run other processes that use the processors, all the time or now and then."""
    rest = None if "bursts" in circumstances else 0.0
    if rest is not None and circumstances != "busy":
        yield
        return
    spawn = multiprocessing.get_context("spawn")
    others = [
        spawn.Process(target=_other_work, args=(rest, random.random()), daemon=True)
        for _ in range(random.choice((1, 2)))
    ]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.terminate()
            other.join()


def _other_work(rest: float | None, seed: float) -> None:
    random = Random(seed)
    while True:
        until = time.monotonic() + random.expovariate(1.0)
        while time.monotonic() < until:
            sorted(random.random() for _ in range(1000))
        time.sleep(random.expovariate(0.5) if rest is None else rest)


def main() -> None:
    """Record everything, or the kinds that are named, into one file for each group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="kinds with this in their names")
    parser.add_argument("--circumstances", nargs="+", choices=CIRCUMSTANCES, default=CIRCUMSTANCES)
    parser.add_argument("--at-once", type=int, default=2, help="recordings that are made side by side")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--longest", type=float, default=60.0, help="seconds after which a recording ends")
    parser.add_argument("--first-round", type=int, default=0, help="another one gives other sizes and lengths")
    wanted = parser.parse_args()
    assignments = [
        Assignment(
            group,
            prepare,
            circumstances,
            1000 * turn + 10 * number + CIRCUMSTANCES.index(circumstances),
            wanted.longest,
        )
        for turn in range(wanted.first_round, wanted.first_round + wanted.rounds)
        for circumstances in wanted.circumstances
        for group, kinds in GROUPS.items()
        for number, prepare in enumerate(kinds)
        if wanted.only in prepare.__name__
    ]
    lines: dict[str, list[str]] = {group: [] for group in GROUPS}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(wanted.at_once, mp_context=spawn, max_tasks_per_child=1) as pool:
        for assignment, line in zip(assignments, pool.map(record, assignments), strict=True):
            seconds = sum(json.loads(line)["micros"]) / 1e6
            print(f"{seconds:6.2f} s  {assignment.prepare.__name__}, {assignment.circumstances}", flush=True)
            recorded = lines[assignment.group]
            recorded.append(line)
            path = wanted.folder / f"{assignment.group.replace(' ', '_')}.jsonl"
            path.write_text("".join(line + "\n" for line in sorted(recorded)), encoding="utf-8")


if __name__ == "__main__":
    main()
