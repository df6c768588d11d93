"""Twenty thousand subscriptions and a ledger that must balance, while runners and workers are killed.

    make demo
    .venv/bin/python examples/subscriptions/demo.py --url postgresql://user@host/database

The exit code is 0 if every due subscription was expired and booked exactly once, otherwise 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import posthorse as ph
from examples.screen import Screen
from examples.stage import PLAYS, Failure, Stage, in_a_shell

KILLS = ("kill-runner", "kill-worker", "kill-runner")
MAX_PLAY = 120.0
MAX_VERIFICATION = 60.0


def main() -> int:
    """Set the stage, play, and verify the ledger."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped demonstration ends its worker, too
    folder = Path(tempfile.mkdtemp(prefix="subscriptions-"))
    url = options.url or f"sqlite:///{folder}/jobs.db"
    # The application reads these when it is imported, here and in the worker.
    os.environ.update(POSTHORSE_URL=url, SUBSCRIPTIONS_FOLDER=str(folder))
    from examples.subscriptions import tables
    from examples.subscriptions.jobs import app, expire_subscriptions

    today = str(tables.TODAY)
    screen = Screen()
    stage = Stage("examples.subscriptions.jobs:app", url, folder, screen, lease=app.settings.lease, longest=MAX_PLAY)
    try:
        app.migrate()
        tables.make_anew(url, options.subscriptions)
        with stage.open():
            screen.say(f"{options.subscriptions:,} subscriptions; {tables.count_due(url, today):,} of them have ended")
            stage.start_worker()
            job = expire_subscriptions.enqueue(today, options.slice_size)
            stage.follow(job)
            stage.play(options.acts)
            done = stage.until_done()
            totals = job.result()
            screen.say(f"{done.state}: {totals['subscriptions']:,} subscriptions are expired", "bold green")
            stage.stop_worker()
        begun, committed = stage.slices_begun(), -(-totals["subscriptions"] // options.slice_size)
        screen.print(f"\n{begun} slices were begun and {committed} committed; what the others wrote was rolled back.")
        is_right = verify(url, today)
    except (Failure, ph.PosthorseError, TimeoutError, subprocess.TimeoutExpired) as failure:
        screen.say(f"the demonstration failed: {failure}", "bold red")
        print(stage.last_words(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _, command = in_a_shell(url, job.id)
    screen.print(f"\n{command}")
    return 0 if is_right else 1


def verify(url: str, today: str) -> bool:
    """Check the tables with a program that shares no code with the job."""
    command = [sys.executable, str(Path(__file__).with_name("verify.py")), url, today]
    return subprocess.run(command, check=False, timeout=MAX_VERIFICATION).returncode == 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="the store; a new SQLite file unless said. Its tables demo_… are made anew")
    parser.add_argument("--subscriptions", type=int, default=20_000, metavar="N", help="how many (20,000)")
    parser.add_argument("--slice-size", type=int, default=100, metavar="N", help="subscriptions in a slice (100)")
    parser.add_argument(
        "--acts",
        nargs="*",
        choices=PLAYS,
        default=KILLS,
        metavar="ACT",
        help=f"what happens: {', '.join(PLAYS)} ({', '.join(KILLS)})",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
