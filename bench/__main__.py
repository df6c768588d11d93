"""The order of the measurements: each round runs each bench once on each store, so that noise affects all alike."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench import (
    batches,
    crowd,
    enqueueing,
    events,
    instructions,
    keep,
    limits,
    lists,
    logs,
    memory,
    pickup,
    reading,
    resting,
    shards,
    slices,
    stock,
    throughput,
    weight,
)
from bench.environment import look_around
from bench.measure import FULL, QUICK, Measure, Sample, Setup, Sizes
from bench.numbers import positive, thousands
from bench.report import as_json, gather, print_report
from bench.stores import STORES, MeasuredStore
from tests.servers import ServerMissing

BENCHES: dict[str, Measure] = {
    "throughput": throughput.measure,
    "enqueueing": enqueueing.measure,
    "pickup": pickup.measure,
    "slices": slices.measure,
    "resting": resting.measure,
    "batches": batches.measure,
    "crowd": crowd.measure,
    "limits": limits.measure,
    "weight": weight.measure,
}
ON_REQUEST: dict[str, Measure] = {
    "instructions": instructions.measure,
    "memory": memory.measure,
    "events": events.measure,
    "keep": keep.measure,
    "lists": lists.measure,
    "logs": logs.measure,
    "reading": reading.measure,
    "shards": shards.measure,
    "stock": stock.measure,
}
"""Benches that run only if they are named."""

ROUNDS, QUICK_ROUNDS = 5, 1
PROCESSES, QUICK_PROCESSES = (1, 2), (1,)
CONCURRENCY = 10
"""The default of `posthorse worker`."""


@dataclass(frozen=True)
class Wanted:
    """The options of the command line."""

    stores: Sequence[str]
    benches: Sequence[str]
    rounds: int
    sizes: Sizes
    processes: Sequence[int]
    concurrency: int
    json: Path | None


def main(wanted: Wanted) -> None:
    """Measure and report. Raises ServerMissing."""
    with ExitStack() as stack:
        stores: list[MeasuredStore] = [stack.enter_context(STORES[name]()) for name in wanted.stores]
        environment = look_around(stores)
        setups = [
            Setup(
                store=store,
                raw=stack.enter_context(store.yardstick()),
                sizes=wanted.sizes,
                concurrency=wanted.concurrency,
                processes=wanted.processes,
            )
            for store in stores
        ]
        figures = gather(_samples(wanted, setups))
        environment = environment.at_end()
    shape = {
        "rounds": wanted.rounds,
        **asdict(wanted.sizes),
        "processes": list(wanted.processes),
        "concurrency": wanted.concurrency,
    }
    print_report(environment, figures, shape)
    if wanted.json is not None:
        wanted.json.write_text(as_json(environment, figures, shape) + "\n", encoding="utf-8")


def _samples(wanted: Wanted, setups: Sequence[Setup]) -> Iterator[tuple[str, Sample]]:
    """Yield each sample with the name of its store."""
    for number in range(1, wanted.rounds + 1):
        for setup in setups:
            for name in wanted.benches:
                print(f"round {number} of {wanted.rounds}: {setup.store.name}, {name}", file=sys.stderr, flush=True)
                for sample in (BENCHES | ON_REQUEST)[name](setup):
                    yield setup.store.name, sample


def _wanted(words: Sequence[str] | None = None) -> Wanted:
    given = _parser().parse_args(words)
    sizes = QUICK if given.quick else FULL
    return Wanted(
        stores=[given.store] if given.store else list(STORES),
        benches=given.only or list(BENCHES),
        rounds=given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS),
        sizes=replace(sizes, jobs=given.jobs or sizes.jobs, finished=given.finished or sizes.finished),
        processes=given.processes or (QUICK_PROCESSES if given.quick else PROCESSES),
        concurrency=given.concurrency,
        json=given.json,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Posthorse beside the bare databases.")
    add = parser.add_argument
    add("--store", choices=STORES, help="one store; otherwise both")
    add(
        "--only",
        choices=[*BENCHES, *ON_REQUEST],
        action="append",
        help=f"one bench, may be repeated; otherwise all but {', '.join(ON_REQUEST)}",
    )
    add("--quick", action="store_true", help="small, one round, one process: shows that it runs, not how fast")
    add("--rounds", type=positive, metavar="N", help=f"otherwise {ROUNDS}")
    add("--jobs", type=thousands, metavar="N", help=f"queued for throughput; otherwise {FULL.jobs:,}")
    add("--finished", type=positive, metavar="N", help=f"jobs that weigh on a store; otherwise {FULL.finished:,}")
    add("--processes", type=positive, metavar="N", action="append", help="may be repeated; otherwise 1 and 2")
    add("--concurrency", type=positive, metavar="N", default=CONCURRENCY, help=f"otherwise {CONCURRENCY}")
    add("--json", type=Path, metavar="FILE", help="every sample goes there as JSON, too")
    return parser


if __name__ == "__main__":
    try:
        main(_wanted())
    except ServerMissing as missing:
        sys.exit(f"{missing}; or measure SQLite alone: --store sqlite")
