"""A year of flights as one long job, which is killed, paused and deployed over, and never loses its place.

    make demo
    .venv/bin/python examples/flights/demo.py --url postgresql://user@host/database

The exit code is 0 if every flight was counted exactly once, otherwise 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import posthorse as ph
from examples.screen import Screen
from examples.stage import PLAYS, Failure, Stage, in_a_shell

if TYPE_CHECKING:
    from examples.flights.jobs import Summary

MAX_PLAY = 300.0
MAX_VERIFICATION = 200.0


def main() -> int:
    """Set the stage, play, and verify the outcome."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped demonstration ends its worker, too
    folder = Path(tempfile.mkdtemp(prefix="flights-"))
    url = options.url or f"sqlite:///{folder}/jobs.db"
    # The application reads these when it is imported, here and in the worker.
    os.environ.update(POSTHORSE_URL=url, FLIGHTS_FOLDER=str(folder))
    from examples.flights import tables
    from examples.flights.jobs import app, flight_report

    screen = Screen()
    stage = Stage(
        "examples.flights.jobs:app",
        url,
        folder,
        screen,
        lease=app.settings.lease,
        longest=MAX_PLAY,
        footer=lambda: f"month_page     {len(list(folder.glob('2013-??.txt')))} pages written",
    )
    try:
        app.migrate()
        tables.make_anew(url)
        with stage.open():
            stage.start_worker()
            job = flight_report.enqueue(options.slice_size)
            stage.follow(job)
            stage.play(options.acts)
            done = stage.until_done()
            summary = job.result()
            for page in summary.pages:
                app.get_job(page).result(timeout=stage.seconds_left)
            screen.say(f"{done.state}, and {len(summary.pages)} pages are written", "bold green")
            stage.stop_worker()
        tell(screen, tables.read(url), summary, begun=stage.slices_begun())
        is_right = verify(screen, url)
    except (Failure, ph.PosthorseError, TimeoutError, subprocess.TimeoutExpired) as failure:
        screen.say(f"the demonstration failed: {failure}", "bold red")
        print(stage.last_words(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    name, command = in_a_shell(url, job.id)
    screen.print(f"\nSee what happened to the job, and look around with `{name} --help`:")
    screen.print(command)
    return 0 if is_right else 1


def tell(screen: Screen, sums: dict[tuple[str, str], list[int]], summary: Summary, *, begun: int) -> None:
    """Tell what the report says, and what it cost to be killed."""
    for report, heading in (("airline", "Airlines with the most flights"), ("week", "The busiest weeks")):
        rows = sorted(((numbers, key) for (name, key), numbers in sums.items() if name == report), reverse=True)
        screen.table(
            heading,
            (report, "flights", "cancelled", "mean delay", "miles", "hours in the dark"),
            [
                (
                    key,
                    f"{flights:,}",
                    f"{cancelled:,}",
                    f"{delay / flights:.1f} min",
                    f"{miles:,}",
                    f"{dark // 60:,}",
                )
                for (flights, cancelled, delay, miles, dark, _), key in rows[:5]
            ],
        )
    committed = sums["all", ""][-1]
    screen.print(f"\nThe longest delay: {summary.longest_delay}.")
    screen.print(f"{begun} slices were begun and {committed} committed: {begun - committed} died with their process,")
    screen.print("were rolled back with everything in them, and were begun anew.")


def verify(screen: Screen, url: str) -> bool:
    """Count everything again with a program that shares no code with the job."""
    screen.print("\nVerifying: a plain pass over the same file counts again …")
    began = time.monotonic()
    command = [sys.executable, str(Path(__file__).with_name("verify.py")), url]
    code = subprocess.run(command, check=False, timeout=MAX_VERIFICATION).returncode
    screen.print(f"({time.monotonic() - began:.0f} s)")
    return code == 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="the store; a new SQLite file unless said. Its table flight_sums is made anew")
    parser.add_argument("--slice-size", type=int, default=2000, metavar="N", help="flights in a slice (2000)")
    parser.add_argument(
        "--acts",
        nargs="*",
        choices=PLAYS,
        default=PLAYS,
        metavar="ACT",
        help=f"what happens: {', '.join(PLAYS)} (all)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
