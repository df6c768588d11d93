"""Plots of what `bench.endurance` wrote: throughput, log, dead rows and sizes, and memory over time.

python -m bench.plots build/endurance-postgres.json docs/images/endurance-postgres.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

from bench.endurance import Look

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "posthorse", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}

from matplotlib import pyplot as plt  # noqa: E402 - after the choice of what it draws on

MEGABYTE = 1_000_000
SMOOTHED = 6
"""Looks over which throughput and log are averaged."""


@dataclass(frozen=True)
class Line:
    """A line of a plot: its name, and its value at each look."""

    name: str
    value: Callable[[Sequence[Look], int], float]


def _rate(looks: Sequence[Look], place: int) -> float:
    before = looks[max(0, place - SMOOTHED)] if place else None
    begun, done = (before.at, before.done) if before else (0.0, 0)
    return (looks[place].done - done) / (looks[place].at - begun)


def _log_a_job(looks: Sequence[Look], place: int) -> float:
    before = looks[max(0, place - SMOOTHED)] if place else None
    written, done = (before.log_bytes, before.done) if before else (0, 0)
    return (looks[place].log_bytes - written) / max(1, looks[place].done - done)


COMMON = (
    (Line("jobs a second", _rate),),
    (Line("memory of the worker, MB (PSS)", lambda looks, place: looks[place].memory / MEGABYTE),),
)
OF_POSTGRES = (
    (Line("bytes of WAL a job", _log_a_job),),
    (Line("dead rows, thousands", lambda looks, place: looks[place].dead_rows / 1000),),
    (Line("hot tables and their indexes, MB", lambda looks, place: looks[place].hot_bytes / MEGABYTE),),
)
OF_SQLITE = ((Line("WAL file, MB", lambda looks, place: looks[place].log_bytes / MEGABYTE),),)


def draw(looks: Sequence[Look], file: Path) -> None:
    """Draw the panels below each other, over minutes."""
    panels = (*COMMON, *(OF_POSTGRES if looks[-1].hot_bytes else OF_SQLITE))
    figure, axes = plt.subplots(len(panels), 1, sharex=True, figsize=(7, 1.5 * len(panels)), layout="constrained")
    minutes = [look.at / 60 for look in looks]
    for axis, lines in zip(axes, panels, strict=True):
        for line in lines:
            axis.plot(
                minutes, [line.value(looks, place) for place in range(len(looks))], color="#8a3b12", linewidth=1.2
            )
            axis.set_title(line.name, loc="left", fontsize=9)
        axis.set_ylim(0, axis.get_ylim()[1] * 1.1)
        axis.grid(alpha=0.25, linewidth=0.5)
    axes[-1].set_xlabel(f"minutes of full load; {looks[-1].done:,} jobs in all")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    draw([Look(**look) for look in json.loads(source.read_text(encoding="utf-8"))], target)
