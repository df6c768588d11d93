"""The jobs of `posthorse bench`: an application of its own, on a queue that no other worker serves."""

from __future__ import annotations

import time

from posthorse.app.client import Posthorse

QUEUE = "posthorse-bench"

app = Posthorse()


@app.job(kind="posthorse-bench.nothing", queue=QUEUE)
async def do_nothing(number: int) -> None:
    """Do nothing, to measure the cost of a job."""


@app.job(kind="posthorse-bench.began", queue=QUEUE)
async def tell_beginning() -> int:
    """Return when its code began, in nanoseconds on the monotonic clock, which all processes of a machine share."""
    return time.monotonic_ns()
