"""A box office that has its tickets ready: buyers take them in a millisecond, while buyers and workers are killed.

    .venv/bin/python examples/ticket_stock/demo.py --url postgresql://user@host/database

The exit code is 0 if every ticket that was sold is genuine and was sold once, otherwise 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import posthorse as ph

PROJECT = Path(__file__).parents[2]
BUYERS = 3
PATIENCE = 120.0


def main() -> int:
    """Open the box office, let buyers come and go, and verify the sales."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="tickets-"))
    url = options.url or f"sqlite:///{folder}/jobs.db"
    # The application reads these when it is imported, here and in the other processes.
    os.environ.update(POSTHORSE_URL=url, TICKET_SECRET=folder.name)
    from examples.subscriptions.tables import connected
    from examples.ticket_stock.jobs import app, tickets

    app.migrate()
    with connected(url) as connection:
        connection.cursor().execute("DROP TABLE IF EXISTS demo_sales")
        connection.cursor().execute(
            "CREATE TABLE demo_sales (number text NOT NULL, seal text NOT NULL, buyer text NOT NULL)"
        )
        connection.commit()
    worker = _start("posthorse", "worker", "--app", "examples.ticket_stock.jobs:app", "--url", url, "--processes", "2")
    others = [worker]
    try:
        _until(lambda: tickets.status().made == tickets.status().level, "the shelf is full")
        _say(f"{tickets.status().made} tickets are printed, before the first visitor comes")
        buyers = [_buyer(folder, f"buyer {number}", options.tickets // BUYERS) for number in range(BUYERS)]
        others += buyers
        _until(lambda: _sales(url) >= options.tickets // 6, "the first tickets are sold")
        buyers[0].kill()
        worker.kill()
        _say(f"kill -9 {buyers[0].pid} {worker.pid}: a buyer with a ticket in hand, and the worker")
        worker = _start("posthorse", "worker", "--app", "examples.ticket_stock.jobs:app", "--url", url)
        others.append(worker)
        for buyer in buyers[1:]:
            if buyer.wait(PATIENCE):
                raise TimeoutError("a buyer failed")
        _until(lambda: tickets.status().ordered == 0 and tickets.status().made >= 30, "the shelf is refilled")
        status = tickets.status()
        _say(f"{_sales(url)} tickets are sold; {status.made} are on the shelf again")
        worker.terminate()
        worker.wait(30)
    except (ph.PosthorseError, TimeoutError, subprocess.TimeoutExpired) as failure:
        _say(f"the demonstration failed: {failure}; {tickets.why()}")
        return 1
    finally:
        for process in others:
            if process.poll() is None:
                process.kill()
                process.wait()
    took = sorted(float(line) for path in folder.glob("buyer*") for line in path.read_text().split("\n")[:-1])
    p99 = statistics.quantiles(took, n=100)[98]
    _say(f"take(): half took {statistics.median(took):.1f} ms at most, 99 of 100 {p99:.1f} ms, of {len(took)}")
    return verify(url)


def verify(url: str) -> int:
    """Check the sales with a program that shares no code with the box office."""
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("verify.py")), url, os.environ["TICKET_SECRET"]],
        check=False,
        timeout=PATIENCE,
    ).returncode


def _start(*words: str, said: Path | None = None) -> subprocess.Popen[bytes]:
    with (Path(os.devnull) if said is None else said).open("wb") as file:
        return subprocess.Popen([sys.executable, "-m", *words], cwd=PROJECT, stdout=file, stderr=subprocess.DEVNULL)


def _buyer(folder: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    return _start("examples.ticket_stock.buyer", name, str(count), said=folder / name)


def _sales(url: str) -> int:
    from examples.subscriptions.tables import read

    [[count]] = read(url, "SELECT count(*) FROM demo_sales")
    return int(count)


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain until {what}")
        time.sleep(0.05)


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped demonstration ends its processes, too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="the store; a new SQLite file unless said. Its table demo_sales is made anew")
    parser.add_argument("--tickets", type=int, default=300, metavar="N", help="how many buyers want in all (300)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
