"""Resting: what it costs to have Posthorse, that is, to import it and to keep a worker that has nothing to do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from bench.application import TARGET, opened
from bench.measure import Sample, Setup
from bench.processes import family, processor_time, proportional_size
from posthorse.cli.bench_measures import running_worker

RUNNERS = 2
STARTS = 5
"""Starts of each program in a round. The fastest counts, because other load on the machine only slows them down."""

BARE = "import asyncio, sqlite3, msgspec"
PROGRAMS = {
    "import of posthorse": "import posthorse",
    "import of posthorse, one job declared": (
        "import posthorse as ph\n"
        "app = ph.Posthorse('sqlite:///never-made.db')\n"
        "@app.job\n"
        "def welcome(user: int) -> None: ...\n"
        "welcome.bind(1)"
    ),
    "posthorse --version": "import sys; sys.argv = ['posthorse', '--version']; from posthorse.cli import main; main()",
}


def measure(setup: Setup) -> Iterator[Sample]:
    """Yield milliseconds of starts, beside the start of Python with unavoidable imports; then a worker at rest."""
    raw = _start_time(BARE)
    for name, program in PROGRAMS.items():
        yield Sample(name, "ms", _start_time(program), raw)
    yield from _rest(setup)


def _start_time(program: str) -> float:
    return min(_once([sys.executable, "-c", program]) for _ in range(STARTS))


def _once(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1_000


def _rest(setup: Setup) -> Iterator[Sample]:
    store, seconds = setup.store, setup.sizes.rest
    with (
        store.fresh() as url,
        opened(url),
        store.asking(url) as ask,
        running_worker(TARGET, url, processes=RUNNERS, concurrency=setup.concurrency) as worker,
    ):
        worker.wait_until(lambda: store.runner_count(ask) == RUNNERS)
        time.sleep(min(seconds, 2.0))  # the first looks, and imports on first use
        before = processor_time(family(worker.pid))
        time.sleep(seconds)
        used = processor_time(family(worker.pid)) - before
        held = proportional_size(family(worker.pid))
    name = f"worker at rest, {RUNNERS} runners"
    yield Sample(f"{name}, processor time", "ms/s", used * 1_000 / seconds)
    yield Sample(f"{name}, memory (PSS)", "MB", held / 1_000_000)
