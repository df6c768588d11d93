"""How many workers a queue needs now, for autoscalers. Pure.

It counts what runs, because a worker that keeps up has no backlog, and would be taken away by a rule that looks at the
backlog alone.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

HEADROOM = 1.2
"""How much more work is expected than came lately."""

MAX_WORKERS = 10_000


class Load(NamedTuple):
    """What a queue has to do. arrivals: jobs a second, lately. service: seconds that one takes; 0 if unknown."""

    backlog: int
    running: int
    arrivals: float
    service: float


def desired_workers(load: Load, *, concurrency: int, target_wait: float) -> int:
    """Return how many workers are enough, each with so many jobs at once, so that a new job waits for so many seconds.

    Little's law: arrivals times service is how many jobs run at once when none waits. A backlog is worked off within
    the target. Jobs whose time is unknown count as one place each.
    """
    service = load.service or target_wait
    keeping_up = load.arrivals * service * HEADROOM
    working_off = load.backlog * service / target_wait
    return min(MAX_WORKERS, ceil(max(keeping_up, load.running, working_off) / concurrency))
