"""The demonstration: one act after the other, each a program of its own that verifies itself at its end.

    make demo
    .venv/bin/python -m examples.demo subscriptions --url postgresql://user@host/database

The exit code is that of the first act that failed, or 0 if none did.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

ACTS = {
    "flights": "A year of flights, and nothing is counted twice",
    "subscriptions": "A ledger that balances, whatever is killed",
    "ticket_stock": "Tickets that are ready before the first visitor comes",
    "thumbnails": "Photographs in processes of their own, and a broken one",
}
"""The folder of each act in examples, which has a demo.py, and what the act is about."""


def main() -> int:
    """Play the acts that were named, or all."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for number, name in enumerate(options.acts or ACTS, 1):
        print(f"\nAct {number}: {ACTS[name]}\n", flush=True)
        command = [sys.executable, str(Path(__file__).parent / name / "demo.py")]
        command += ["--url", options.url] if options.url else []
        if code := _play(command):
            return code
    return 0


def _play(command: list[str]) -> int:
    """Play an act. If this program is interrupted, pass that on and wait, because an act ends its workers itself."""
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("acts", nargs="*", metavar="ACT", help=f"{', '.join(ACTS)} (all)")
    parser.add_argument("--url", help="the store; new SQLite files unless said. Tables of the examples are made anew")
    options = parser.parse_args()
    if unknown := set(options.acts) - ACTS.keys():
        parser.error(f"there is no act {' or '.join(sorted(unknown))}; there are {', '.join(ACTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
