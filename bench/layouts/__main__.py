"""The order of the measurements: samples of all layouts and of the yardstick alternate; medians are reported."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from statistics import median

from bench.layouts import scenarios
from bench.layouts.candidates import CANDIDATES, COUNTEREXAMPLES, Layout, ready_and_claims
from bench.layouts.scenarios import Pace
from bench.layouts.store import GUARDED, create, fill
from bench.raw_limits import RawPostgres
from tests.servers import postgres_server

SETTINGS = {
    "synchronous_commit": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
}

Key = tuple[str, str]  # measurement, layout


@dataclass
class Bench:
    """Samples by measurement and layout, each next to a sample of the yardstick."""

    dsn: str
    layouts: Sequence[Layout]
    rounds: int
    history: int
    samples: dict[Key, list[dict[str, float]]] = field(default_factory=dict)
    remarks: dict[Key, str] = field(default_factory=dict)

    def keep(self, measurement: str, layout: str, **figures: float) -> None:
        self.samples.setdefault((measurement, layout), []).append(figures)

    def keep_pace(self, measurement: str, layout: str, pace: Pace, yardstick: float) -> None:
        self.keep(measurement, layout, of_raw=pace.per_second / yardstick, **scenarios.as_figures(pace))

    def raw(self) -> float:
        """Take a sample of the yardstick: jobs per second of the naive loop, now."""
        with RawPostgres(self.dsn) as limits:
            pace = limits.claim_and_complete().both
        self.keep("claim + complete, batch 500", "raw", of_raw=1.0, per_second=pace)
        return pace

    def drain_fresh(
        self, layout: Layout, batch: int, jobs: int, *, one_commit: bool = False, as_lists: bool = False
    ) -> Pace:
        create(self.dsn, layout)
        fill(self.dsn, layout, pending=jobs)
        return scenarios.drain(self.dsn, layout, batch, one_commit=one_commit, as_lists=as_lists)


def throughput(bench: Bench) -> None:
    for _ in range(bench.rounds):
        for layout in bench.layouts:
            yardstick = bench.raw()
            for batch, jobs in ((100, 20_000), (500, 20_000), (1000, 20_000)):
                pace = bench.drain_fresh(layout, batch, jobs)
                bench.keep_pace(f"claim + complete, batch {batch}", layout.name, pace, yardstick)
            pace = bench.drain_fresh(layout, 500, 20_000, one_commit=True)
            bench.keep_pace("one commit a cycle, batch 500", layout.name, pace, yardstick)
            create(bench.dsn, layout)
            fill(bench.dsn, layout, pending=60_000)
            both = scenarios.drain_with_two_processes(bench.dsn, layout, 500, 60_000)
            bench.keep("two processes, batch 500", layout.name, of_raw=both / yardstick, per_second=both)


def small_batches(bench: Bench) -> None:
    for _ in range(bench.rounds):
        for batch, jobs in ((1, 1_000), (10, 5_000)):
            yardstick = bench.raw()
            for layout in bench.layouts:
                pace = bench.drain_fresh(layout, batch, jobs)
                bench.keep_pace(f"claim + complete, batch {batch}", layout.name, pace, yardstick)


def writing(bench: Bench) -> None:
    compact = [ready_and_claims(f"D ff{fillfactor}", fillfactor) for fillfactor in ("100", "70", "40")]
    for layout in chain(bench.layouts, compact):
        bench.keep("written per job", layout.name, **scenarios.written_per_job(bench.dsn, layout))
        if layout in compact:
            yardstick = bench.raw()
            pace = bench.drain_fresh(layout, 500, 20_000)
            bench.keep_pace("fillfactor, batch 500", layout.name, pace, yardstick)


def weight(bench: Bench) -> None:
    """Measure with a large backlog, and with a long history."""
    loads = {"1,000,000 pending": (1_000_000, 0), f"{bench.history:,} finished": (100_000, bench.history)}
    for layout in bench.layouts:
        for load, (pending, finished) in loads.items():
            create(bench.dsn, layout)
            fill(bench.dsn, layout, pending=pending, finished=finished)
            for _ in range(bench.rounds):
                yardstick = bench.raw()
                pace = scenarios.drain(bench.dsn, layout, 500, limit=20_000)
                bench.keep_pace(load, layout.name, pace, yardstick)


def pinning(bench: Bench) -> None:
    """Measure while the snapshot of an idle transaction keeps all dead rows."""
    for _ in range(bench.rounds):
        for layout in bench.layouts:
            yardstick = bench.raw()
            pace = scenarios.pinned(bench.dsn, layout, 200_000)
            bench.keep_pace("pinned snapshot, 200,000 jobs", layout.name, pace, yardstick)


def planning(bench: Bench) -> None:
    """Measure with every kind of statistics, and with the plainer ways to write a completion."""
    for layout in chain(bench.layouts, COUNTEREXAMPLES):
        lost = scenarios.completions_lost_to_a_neighbour(bench.dsn, layout)
        bench.keep("completions lost to a neighbour", layout.name, lost=lost)
        for planner, settings in scenarios.PLANNERS.items():
            may_flip = settings is not GUARDED or layout in COUNTEREXAMPLES
            batches = (100,) if may_flip else (1, 100, 1000)  # a flip takes minutes at 1,000
            for statistics in scenarios.STATISTICS:
                for batch in batches:
                    per_second, shapes = scenarios.plans(bench.dsn, layout, statistics, batch, settings)
                    measurement = f"{planner}, {statistics} statistics, batch {batch}"
                    bench.keep(measurement, layout.name, per_second=per_second)
                    bench.remarks[measurement, layout.name] = ", ".join(shapes)


def insertion(bench: Bench) -> None:
    for _ in range(bench.rounds):
        for measurement, jobs, batch in (
            ("insert, 1,000 a commit", 20_000, 1000),
            ("insert, one a commit", 2_000, 1),
        ):
            with RawPostgres(bench.dsn) as limits:
                yardstick = limits.insert_in_bulk(jobs, batch=batch)
            bench.keep(measurement, "raw", of_raw=1.0, per_second=yardstick)
            for layout in bench.layouts:
                pace = scenarios.inserted_per_second(bench.dsn, layout, jobs=jobs, batch=batch)
                bench.keep(measurement, layout.name, of_raw=pace / yardstick, per_second=pace)


def parameters(bench: Bench) -> None:
    layout = bench.layouts[-1]
    for _ in range(bench.rounds):
        yardstick = bench.raw()
        for form, as_lists in (("as text", False), ("as lists", True)):
            pace = bench.drain_fresh(layout, 500, 20_000, as_lists=as_lists)
            bench.keep_pace(f"parameters {form}, batch 500", layout.name, pace, yardstick)


GROUPS: dict[str, Callable[[Bench], None]] = {
    group.__name__: group
    for group in (throughput, small_batches, writing, insertion, parameters, weight, pinning, planning)
}


def table(bench: Bench) -> str:
    """Return one line for each measurement and layout: the medians, and remarks on the plan."""
    lines = []
    for (measurement, layout), samples in bench.samples.items():
        figures = {name: median(sample[name] for sample in samples) for name in samples[0]}
        words = "  ".join(f"{name} {value:,.2f}" for name, value in figures.items())
        lines.append(f"{measurement:50} {layout:8} {words}  {bench.remarks.get((measurement, layout), '')}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.layouts", description=__doc__)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--layouts", nargs="+", help="names, such as C D; default: all")
    parser.add_argument("--postgres", default="18", help="major version of the server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--history", type=int, default=3_000_000, help="finished jobs in the long history")
    parser.add_argument("--json", type=Path, default=Path("layouts.json"), help="where every sample goes")
    chosen = parser.parse_args()
    layouts = [layout for layout in CANDIDATES if not chosen.layouts or layout.name in chosen.layouts]
    with postgres_server(chosen.postgres, fsync=True, settings=SETTINGS) as server:
        bench = Bench(server.url(), layouts, chosen.rounds, chosen.history)
        try:
            for name in chosen.groups:
                GROUPS[name](bench)
        finally:  # samples from before an interruption count
            print(table(bench))
            chosen.json.write_text(json.dumps(every_sample(bench), indent=1))


def every_sample(bench: Bench) -> list[dict[str, object]]:
    return [
        {
            "measurement": measurement,
            "layout": layout,
            "samples": samples,
            "plan": bench.remarks.get((measurement, layout)),
        }
        for (measurement, layout), samples in bench.samples.items()
    ]


if __name__ == "__main__":
    main()
