"""Long runs under fault: `python -m tests.faults --minutes 10 --store sqlite --seed 7`, or `make soak MINUTES=10`.

Trials run one after the other, each with a seed of its own, until the time is over or one has violations.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.faults.trial import Judgement, judged, trial
from tests.faults.workloads import WORKLOADS
from tests.servers import ServerMissing
from tests.servers.postgres import postgres_server

TRIAL = 60.0
"""Seconds of faults in one trial."""


def main() -> int:
    """Return the exit code: 1 if there were violations."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--store", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--seed", type=int, default=None, help="of the first trial; else drawn")
    parser.add_argument("--seconds", type=float, default=TRIAL, help="of faults in one trial")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="separated by commas")
    parser.add_argument("--keep", type=Path, default=None, help="where histories are kept, also good ones")
    parser.add_argument("--judge", type=Path, default=None, help="a folder that was kept: judge it again, run nothing")
    wanted = parser.parse_args()
    if wanted.judge is not None:
        judgement = judged(wanted.judge)
        _say(str(judgement))
        return int(bool(judgement.violations))
    seed = random.randrange(10**6) if wanted.seed is None else wanted.seed
    stores = ("sqlite", "postgres") if wanted.store == "both" else (wanted.store,)
    end = time.monotonic() + wanted.minutes * 60
    number = 0
    while number == 0 or time.monotonic() < end:
        for store in stores:
            _say(f"trial on {store}, seed {seed}")
            judgement = run_trial(
                store, seed=seed, seconds=wanted.seconds, keep=wanted.keep, workloads=wanted.workloads.split(",")
            )
            _say(f"  {sum(judgement.counts.values())} events, {len(judgement.faults)} faults")
            if judgement.violations:
                _say(f"{judgement}\nagain: {again(store, seed, wanted.seconds)}")
                return 1
        number += 1
        seed += 1
    _say(f"{number} trials on {' and '.join(stores)}: no violation")
    return 0


def run_trial(store: str, *, seed: int, seconds: float, keep: Path | None, workloads: list[str]) -> Judgement:
    """Run one trial on a store of its own; keep its folder if it has violations, or if asked to."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"posthorse-faults-{store}-{seed}-", dir=keep))
    try:
        with ExitStack() as open_until_then:
            if store == "sqlite":
                server, url = None, f"sqlite:///{directory}/jobs.db"
            else:
                server = open_until_then.enter_context(postgres_server("18", fsync=True))
                url = server.url()
            one = open_until_then.enter_context(trial(url, directory, seed=seed, server=server, workloads=workloads))
            judgement = one.run(seconds)
    except ServerMissing:
        shutil.rmtree(directory)
        raise
    except Exception as error:
        error.add_note(f"seed {seed}; again: {again(store, seed, seconds)}; kept: {directory}")
        raise
    if not judgement.violations and keep is None:
        shutil.rmtree(directory)
    return judgement


def again(store: str, seed: int, seconds: float) -> str:
    """Return the command that repeats a trial."""
    return f"python -m tests.faults --minutes 0 --store {store} --seed {seed} --seconds {seconds:g}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
