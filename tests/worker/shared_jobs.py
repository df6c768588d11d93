"""Jobs in parts, in processes of their own, which import this module. The tests point it at a store."""

from __future__ import annotations

import os
import time

from msgspec.structs import replace

import posthorse as ph
from posthorse.rules.tuning import DEFAULTS

app = ph.Posthorse(tuning=replace(DEFAULTS, share_interval=0.0, shared_seconds=0.0, shared_slices=0.0))


@app.job(isolation="process", shards=2)
def isolated(ctx: ph.Context, count: int) -> list[int]:
    """Return the process that ran it, and its numbers; all but the first part lag."""
    met = ctx.keep("met", list[int]())
    for batch in ctx.slices(range(count), size=2):
        met.extend(batch)
        time.sleep(0.01 if ctx.shard else 0)
    return [os.getpid(), *met]


@isolated.combine
def joined(parts: list[list[int]]) -> list[list[int]]:
    """Return the numbers, and in which processes they were met and joined."""
    return [[number for _, *numbers in parts for number in numbers], [pid for pid, *_ in parts], [os.getpid()]]
