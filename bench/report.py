"""The report: figures from samples, and a table and JSON from figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.environment import Environment
from bench.measure import Sample

HEADINGS = ("STORE", "WHAT", "UNIT", "OURS", "RAW", "OURS/RAW")
RIGHT_FROM = 3
LEGEND = (
    "Medians over the rounds. RAW is the bare database, measured just before; of imports it is bare Python, of limits "
    "and of weight the same run without them. OURS/RAW is the median of the ratios of each round: for rates more is "
    "better, for times and instructions less."
)


@dataclass(frozen=True)
class Figure:
    """All samples of one measurement on one store."""

    store: str
    samples: Sequence[Sample]

    @property
    def ours(self) -> float:
        """The median."""
        return median(sample.ours for sample in self.samples)

    @property
    def raw(self) -> float | None:
        """The median of the bare database; None if there is nothing to compare."""
        return median(raw) if (raw := [sample.raw for sample in self.samples if sample.raw is not None]) else None

    @property
    def ratio(self) -> float | None:
        """The median of the ratios of ours to raw, both from the same round."""
        ratios = [sample.ours / sample.raw for sample in self.samples if sample.raw is not None]
        return median(ratios) if ratios else None


def gather(samples: Iterable[tuple[str, Sample]]) -> list[Figure]:
    """Return figures from samples with the names of their stores: store by store, in their original order."""
    by_store: dict[str, dict[str, list[Sample]]] = {}
    for store, sample in samples:
        by_store.setdefault(store, {}).setdefault(sample.name, []).append(sample)
    return [Figure(store, taken) for store, by_name in by_store.items() for taken in by_name.values()]


def print_report(environment: Environment, figures: Sequence[Figure], shape: Mapping[str, object]) -> None:
    """Print the table, and above it where and how it was measured."""
    for line in told_environment(environment):
        print(line)
    print(", ".join(f"{name.replace('_', ' ')} {_told_value(value)}" for name, value in shape.items()))
    print()
    cells = [HEADINGS, *(_cells(figure) for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        aligned = [
            cell.rjust(width) if place >= RIGHT_FROM else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(aligned).rstrip())
    print()
    print(LEGEND)


def as_json(environment: Environment, figures: Sequence[Figure], shape: Mapping[str, object]) -> str:
    """Return everything, with every sample."""
    report = {
        "environment": asdict(environment),
        "shape": shape,
        "figures": [_as_object(figure) for figure in figures],
    }
    return json.dumps(report, indent=2)


def told_environment(environment: Environment) -> Sequence[str]:
    """Return where and with what it was measured, one line for each."""
    disks = [
        f"{store}: {disk.file_system}, fdatasync {disk.sync_ms:.3f} ms" for store, disk in environment.disks.items()
    ]
    in_memory = [store for store, disk in environment.disks.items() if disk.is_in_memory]
    warning = [f"WARNING: {', '.join(in_memory)} in memory, where commits cost nothing; set TMPDIR to a disk"]
    return [
        f"{environment.cores} cores, {environment.processor}; "
        f"load {environment.load_at_start:.2f} at the start, {environment.load_at_end:.2f} at the end",
        ", ".join(environment.versions),
        "; ".join(disks),
        *(warning if in_memory else ()),
    ]


def _told_value(value: object) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(map(str, value))
    return f"{value:,}"


def _cells(figure: Figure) -> tuple[str, ...]:
    first = figure.samples[0]
    return (
        figure.store,
        first.name,
        first.unit,
        _number(figure.ours),
        "" if figure.raw is None else _number(figure.raw),
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _as_object(figure: Figure) -> dict[str, object]:
    first = figure.samples[0]
    return {
        "store": figure.store,
        "name": first.name,
        "unit": first.unit,
        "ours": figure.ours,
        "raw": figure.raw,
        "ratio": figure.ratio,
        "samples": [{"ours": sample.ours, "raw": sample.raw} for sample in figure.samples],
    }
