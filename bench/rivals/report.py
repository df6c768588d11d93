"""The report: the figures as a table in Markdown, with where and how they were measured, and what speed costs.

Ours is compared round by round: a ratio is the median of theirs over ours, both from the same round. It knows no
processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.environment import Environment
from bench.report import told_environment
from bench.rivals.measuring import Sample
from bench.rivals.table import Place, Price

Rate = Callable[[Sample], float]

LEGEND = """\
Medians over the rounds, least and most behind them. Every system had the same servers and a fresh database or file each
time; the rounds went from system to system, so that noise hit all alike.

- **jobs/s**: so many queued jobs that do nothing, worked off by one process and by two, the better of both; from the
  first start to the end of the last job's code. Ours ends later, with the commit that completes the last job.
- **acknowledged/s**: the same until the store knows that all are done.
- **one by one/s**: enqueued, each awaited before the next. **in bulk/s**: in the best way that the system has for many.
- **pickup**: p50, from the call that enqueues to the first line of the job's code, by an idle worker."""


@dataclass(frozen=True)
class System:
    """One row."""

    title: str
    place: Place
    version: str
    settings: str
    durable: str
    price: Price
    is_ours: bool = False

    @property
    def full_title(self) -> str:
        """The title with the place."""
        return f"{self.title} ({self.place})"


@dataclass(frozen=True)
class Measured:
    """A system and its samples by the number of the round."""

    system: System
    samples: Mapping[int, Sample]


COLUMNS: Mapping[str, Rate] = {
    "jobs/s": lambda sample: max(sample.worked.values()),
    "acknowledged/s": lambda sample: max(sample.acknowledged.values()),
    "one by one/s": lambda sample: sample.singly,
    "in bulk/s": lambda sample: sample.bulk,
    "pickup, ms": lambda sample: sample.pickup_ms,
}


def as_markdown(
    environment: Environment, servers: Sequence[str], measured: Sequence[Measured], missing: Mapping[str, str]
) -> str:
    """Return the whole report. `missing` says by title what could not be measured, and why."""
    rows = sorted((one for one in measured if one.samples), key=_fastest_first)
    rounds = max((len(one.samples) for one in rows), default=0)
    parts = [
        "# Beside others",
        "\n".join(f"- {line}" for line in (*told_environment(environment), *servers)),
        f"{rounds} round{'s' if rounds != 1 else ''}.",
        _table(("system", "version", "jobs", *COLUMNS), [_figures(one) for one in rows], left=2),
        LEGEND,
        *_ratios(rows),
        "## What each keeps and promises",
        _table(
            ("system", "finished job kept", "result kept", "an enqueued job survives", "a worker dies"),
            [_promises(one.system) for one in rows],
            left=5,
        ),
        "## Settings",
        _table(("system", "settings"), [(one.system.full_title, one.system.settings) for one in rows], left=2),
    ]
    if missing:
        parts += ["## Not measured", "\n".join(f"- {title}: {reason}" for title, reason in missing.items())]
    return "\n\n".join(parts) + "\n"


def as_json(
    environment: Environment, servers: Sequence[str], measured: Sequence[Measured], missing: Mapping[str, str]
) -> str:
    """Return everything, with every sample."""
    report = {
        "environment": asdict(environment),
        "servers": list(servers),
        "systems": [asdict(one) for one in measured],
        "missing": dict(missing),
    }
    return json.dumps(report, indent=2) + "\n"


def _promises(system: System) -> Sequence[str]:
    price = system.price
    return (system.full_title, price.row_kept, price.result_kept, system.durable, price.delivery)


def _fastest_first(measured: Measured) -> float:
    return -median(COLUMNS["jobs/s"](sample) for sample in measured.samples.values())


def _figures(measured: Measured) -> Sequence[str]:
    samples = list(measured.samples.values())
    jobs = max(sample.jobs for sample in samples)
    figures = [_spread([rate(sample) for sample in samples]) for rate in COLUMNS.values()]
    title = f"**{measured.system.full_title}**" if measured.system.is_ours else measured.system.full_title
    return (title, measured.system.version, f"{jobs:,}", *figures)


def _ratios(rows: Sequence[Measured]) -> Sequence[str]:
    """Return a table beside each of ours, with the systems that keep jobs in a similar place."""
    parts = []
    for ours in (one for one in rows if one.system.is_ours):
        others = [one for one in rows if not one.system.is_ours and _are_alike(one.system.place, ours.system.place)]
        if others:
            parts += [
                f"## Theirs over ours: {ours.system.full_title}",
                _table(
                    ("system", *COLUMNS),
                    [
                        (one.system.full_title, *(_ratio(one, ours, rate) for rate in COLUMNS.values()))
                        for one in others
                    ],
                    left=1,
                ),
                "More than 1 is more than ours: faster for rates, slower for the pickup.",
            ]
    return parts


def _are_alike(theirs: Place, ours: Place) -> bool:
    """Return whether both are files, or both are servers."""
    return (theirs is Place.SQLITE) == (ours is Place.SQLITE)


def _ratio(theirs: Measured, ours: Measured, rate: Rate) -> str:
    rounds = theirs.samples.keys() & ours.samples.keys()
    if not rounds:
        return ""
    return f"{median(rate(theirs.samples[number]) / rate(ours.samples[number]) for number in rounds):.2f}"


def _spread(values: Sequence[float]) -> str:
    told = _number(median(values))
    return told if len(values) == 1 else f"{told} ({_number(min(values))} – {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """Return a table whose first `left` columns are text and whose others are figures."""
    rules = ["---" if place < left else "--:" for place in range(len(headings))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rules, *rows))
