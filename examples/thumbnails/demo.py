"""Thumbnails of real photographs, each made in a process of its own; one file is broken, and one process is killed.

    make demo
    .venv/bin/python examples/thumbnails/demo.py --url postgresql://user@host/database

The exit code is 0 if every photograph has its thumbnail and the broken file is a dead letter with its reason, otherwise
1.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import posthorse as ph
from examples.screen import Screen
from examples.stage import Failure, Stage, in_a_shell

MAX_PLAY = 120.0
MAX_VERIFICATION = 60.0


def main() -> int:
    """Set the stage, play, and verify the pictures."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped demonstration ends its worker, too
    folder = Path(tempfile.mkdtemp(prefix="thumbnails-"))
    url = options.url or f"sqlite:///{folder}/jobs.db"
    os.environ["POSTHORSE_URL"] = url  # the application reads it when it is imported, here and in the worker
    from examples.thumbnails.jobs import app, thumbnail
    from examples.thumbnails.photos import make_broken, photographs

    screen = Screen()
    stage = Stage("examples.thumbnails.jobs:app", url, folder, screen, lease=app.settings.lease, longest=MAX_PLAY)
    (folder / "thumbnails").mkdir()
    try:
        app.migrate()
        photos = [*photographs(), make_broken(folder)]
        with stage.open():
            jobs = app.enqueue_many([thumbnail.bind(str(photo), str(folder / "thumbnails")) for photo in photos])
            screen.say(f"{len(jobs)} photographs are enqueued in one commit, a broken file among them")
            stage.start_worker()
            failed = _outcomes(stage, screen, jobs, photos)
            stage.stop_worker()
        is_right = verify(folder, photos[:-1]) and len(failed) == 1
    except (Failure, ph.PosthorseError, TimeoutError, subprocess.TimeoutExpired) as failure:
        screen.say(f"the demonstration failed: {failure}", "bold red")
        print(stage.last_words(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _, command = in_a_shell(url, failed[0].id)
    screen.print(f"The thumbnails lie in {folder}/thumbnails. The dead letter, with its evidence:\n\n{command}")
    return 0 if is_right else 1


def verify(folder: Path, photos: Sequence[Path]) -> bool:
    """Compare each thumbnail with its photograph, with a program that shares no code with the job."""
    command = [sys.executable, str(Path(__file__).with_name("verify.py")), str(folder / "thumbnails")]
    command += map(str, photos)
    return subprocess.run(command, check=False, timeout=MAX_VERIFICATION).returncode == 0


def _outcomes(
    stage: Stage, screen: Screen, jobs: Sequence[ph.Job[object]], photos: Sequence[Path]
) -> list[ph.Job[object]]:
    failed: list[ph.Job[object]] = []
    for job, photo in zip(jobs, photos, strict=True):
        try:
            job.result(timeout=stage.seconds_left)
        except ph.JobFailed as error:
            failed.append(job)
            screen.say(f"{photo.name}: {error}", "red")
    done = len(jobs) - len(failed)
    screen.say(f"completed: {done} thumbnails, {len(failed)} dead letter{'s' * (len(failed) != 1)}", "bold green")
    return failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="the store; a new SQLite file unless said")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
