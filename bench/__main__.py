"""The order of the measurements: in every round each store and each bench once, so that noise hits all alike."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from bench import enqueueing, pickup, slices, throughput
from bench.environment import look_around
from bench.measure import FULL, QUICK, Measure, Sample, Setup
from bench.report import as_json, gather, print_report
from bench.stores import MeasuredStore, postgres_store, sqlite_store
from tests.servers import ServerMissing

BENCHES: dict[str, Measure] = {
    "throughput": throughput.measure,
    "enqueueing": enqueueing.measure,
    "pickup": pickup.measure,
    "slices": slices.measure,
}
STORES = ("sqlite", "postgres")
ROUNDS = 5
CONCURRENCY = 10
"""What `posthorse worker` has when nobody says otherwise."""

PROCESSES = (1, 2)


def main(words: Sequence[str]) -> None:
    """Measures and reports."""
    wanted = _parsed(words)
    sizes = QUICK if wanted.quick else FULL
    if wanted.jobs is not None:
        sizes = replace(sizes, jobs=wanted.jobs)
    rounds: int = wanted.rounds or (1 if wanted.quick else ROUNDS)
    chosen: list[str] = wanted.only or list(BENCHES)
    processes = tuple(wanted.processes or PROCESSES)
    concurrency: int = wanted.concurrency
    samples: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    with ExitStack() as stack:
        stores: list[MeasuredStore] = []
        postgres = None
        if wanted.store in (None, "sqlite"):
            stores.append(stack.enter_context(sqlite_store()))
        if wanted.store in (None, "postgres"):
            store = stack.enter_context(postgres_store())
            stores.append(store)
            postgres = store.version()
        environment = look_around({store.name: store.folder for store in stores}, postgres=postgres)
        setups = [
            Setup(store, stack.enter_context(store.yardstick()), sizes, concurrency, processes) for store in stores
        ]
        for number in range(1, rounds + 1):
            for setup in setups:
                for name in chosen:
                    print(f"round {number} of {rounds}: {setup.store.name}, {name}", file=sys.stderr, flush=True)
                    for sample in BENCHES[name](setup):
                        samples[setup.store.name, sample.name].append(sample)
        environment = environment.at_end()
    shape = {**asdict(sizes), "concurrency": concurrency, "processes": processes}
    # By store, then in the order of the rounds.
    figures = sorted(gather(samples), key=lambda figure: STORES.index(figure.store))
    told = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in shape.items() if isinstance(value, int))
    print_report(environment, figures, rounds=rounds, shape=told)
    if wanted.json is not None:
        Path(wanted.json).write_text(as_json(environment, figures, rounds=rounds, shape=shape) + "\n")


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Posthorse beside the bare databases.")
    parser.add_argument("--store", choices=STORES, help="one store; otherwise both")
    parser.add_argument("--only", choices=BENCHES, action="append", help="one bench, may be repeated; otherwise all")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: shows that it runs, not how fast")
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"otherwise {ROUNDS}, with --quick 1")
    parser.add_argument("--jobs", type=_thousands, metavar="N", help=f"queued for throughput; otherwise {FULL.jobs:,}")
    parser.add_argument(
        "--processes",
        type=_positive,
        metavar="N",
        action="append",
        help="of the worker, may be repeated; otherwise 1, 2",
    )
    parser.add_argument(
        "--concurrency", type=_positive, metavar="N", default=CONCURRENCY, help=f"of each; otherwise {CONCURRENCY}"
    )
    parser.add_argument("--json", metavar="FILE", help="writes every sample as JSON, too")
    return parser.parse_args(words)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _thousands(text: str) -> int:
    number = int(text)
    if number < 1 or number % 1_000:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of thousands, in which the jobs are enqueued")
    return number


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ServerMissing as missing:
        sys.exit(f"{missing}; or measure SQLite alone: --store sqlite")
