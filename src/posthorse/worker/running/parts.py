"""Parts of a job: made of an attempt whose loop was cut, and joined when they are over.

This module knows neither loops nor sources.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from posthorse import ids
from posthorse.failpoints import failpoint
from posthorse.rules.job import NewJob, Options, State
from posthorse.rules.outcomes import Split
from posthorse.rules.packing import PACKED, Packing
from posthorse.rules.parts import Part, in_range_order, numbers_of
from posthorse.rules.registry import Registered
from posthorse.rules.steering import GiveUp
from posthorse.rules.values.results import decode_result
from posthorse.store.operations.parts import PartRow
from posthorse.worker.checkpoints.splitting import as_part, packed_range
from posthorse.worker.running.running_job import RunningJob

Combine = Callable[[list[object]], object]


def parts_of_attempt(running: RunningJob, split: Split, packing: Packing) -> list[NewJob]:
    """Return the parts of a job, to be stored, in the order of their ranges."""
    claimed, options = running.claimed, running.options
    arguments = claimed.arguments
    assert arguments is not None, "long ones are brought before a job begins"
    tenant = options.tenant or running.lane.tenant or None
    if arguments.startswith(PACKED):
        arguments = packing.of(claimed.job, tenant).unpack(arguments, "arguments")
    tags = running.kind.options.tags if options.tags is None else options.tags
    parts: list[NewJob] = []
    for number, range in enumerate(split.ranges):
        job = ids.new_id()
        part = Part(number, split.loop, packed_range(range, packing.of(job, tenant)), of=len(split.ranges))
        parts.append(as_part(job, part, arguments, running.lane, options, tags, claimed.job))
    return parts


def are_over(rows: Sequence[PartRow]) -> bool:
    """Return whether all parts ended, or there are none."""
    return all(State(row.state).is_final for row in rows)


def joining(
    rows: Sequence[PartRow], kind: Registered, combine: Combine | None, packing: Packing
) -> Callable[..., object]:
    """Return what a job runs when its parts are over, in place of its code: it joins their results."""

    def join(*args: object, **kwargs: object) -> object:
        results = _results(rows, kind, packing)
        failpoint("before_combine")
        if combine is not None:
            return combine(results)
        return None if all(result is None for result in results) else results

    async def ajoin(*args: object, **kwargs: object) -> object:
        joined = await asyncio.to_thread(join)  # a plain function may block
        return await cast("Awaitable[object]", joined) if hasattr(type(joined), "__await__") else joined

    return ajoin if kind.is_async else join


def _results(rows: Sequence[PartRow], kind: Registered, packing: Packing) -> list[object]:
    """Return the results of parts, in the order of their ranges. Raises GiveUp unless all are completed."""
    states = Counter(row.state for row in rows)
    if left := [state for state in (State.FAILED, State.CANCELLED) if states[state.value]]:
        told = " and ".join(f"{states[state.value]:,} of {len(rows):,} parts {_ENDED[state]}" for state in left)
        first = next(row for row in rows if row.state == left[0].value)
        raise GiveUp(f"{told}; the first one is {first.job}: {first.reason}")
    results: dict[int, object] = {}
    parts: list[Part] = []
    for row in rows:
        part = Options.decode(row.options).part
        assert part is not None, "children of a job that was cut are its parts"
        parts.append(part)
        result = packing.of_stored(row.job, row.options).unpack(row.result or "null", "result")
        results[part.number] = decode_result(result, kind.signature.result_type)
    return [results[number] for number in in_range_order(numbers_of(parts))]


_ENDED = {State.FAILED: "failed", State.CANCELLED: "were cancelled"}
