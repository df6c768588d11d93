"""The entry: `python -m bench.rivals.workers NAME` runs a rival's client; `… NAME work` runs a worker without a
command.

A rival's module is imported, never run: its jobs must have the same names here as in a worker that imports it.
"""

from __future__ import annotations

import importlib
import sys

from bench.rivals.workers.questions import answer


def main(name: str, *, works: bool) -> None:
    """Serve until the harness hangs up."""
    module = importlib.import_module(f"{__package__}.{name}")
    if works:
        module.work()
    else:
        answer(module.client())


if __name__ == "__main__":
    main(sys.argv[1], works=sys.argv[2:] == ["work"])
