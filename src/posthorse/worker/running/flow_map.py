"""`flow.map` over a list that an earlier step returned: its job adds a job for each item, instead of running the code.

The list is known only when the job runs. It is a long job with slices: each adds its jobs, and its cursor, in one
commit, so none is added twice however often the job is interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from posthorse import ids
from posthorse.rules.in_flow import InFlow
from posthorse.rules.job import NewJob, Options
from posthorse.rules.registry import KindOptions, Registered, Registry, register
from posthorse.store.operations.families import NewFamily, add_children
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.submit import EntryTerms
from posthorse.store.store import Store
from posthorse.worker.checkpoints.context import Context
from posthorse.worker.running.running_job import RunningJob

SLICE = 1_000
"""How many jobs one commit adds, at most."""


def spread_instead(running: RunningJob, store: Store, runner: str, registry: Registry) -> None:
    """Let a job that was claimed add jobs for the items of its list, if its options say so."""
    place = running.options.flow
    if place is None or place.spreads is None:
        return
    spreader = _Spreader(running, place, store, runner, registry)
    options = KindOptions(max_attempts=running.kind.options.max_attempts, backoff=running.kind.options.backoff)
    running.kind = register(spreader.spread, kind=running.kind.kind, options=options, context_type=Context)
    running.options = Options(tenant=running.options.tenant, flow=place)


class _Spreader:
    """What one such job does: its code is `spread`."""

    def __init__(self, running: RunningJob, place: InFlow, store: Store, runner: str, registry: Registry) -> None:
        self._attempt = Fence(running.claimed.job, running.claimed.epoch, runner)
        self._kind: Registered = running.kind
        self._lane = msgspec.structs.replace(running.lane, solo=False)
        self._options = running.options
        self._place = place
        self._store = store
        self._packing = registry.packing

    def spread(self, ctx: Context, items: list[Any]) -> None:
        """Add a job for each item. Raises InputsUnfit for an item that the function does not take."""
        lanes = self._store.lanes({self._lane})
        for batch in ctx.slices([*enumerate(items)], size=SLICE):
            jobs = self._jobs(batch)
            with batch.transaction():
                # Without its lease it adds nothing, and neither would the cursor be saved.
                self._store.run(add_children(self._attempt, NewFamily(jobs), EntryTerms(lanes, packing=self._packing)))

    def _jobs(self, items: Sequence[tuple[int, Any]]) -> list[NewJob]:
        name = self._kind.signature.names[0]
        tags = self._kind.options.tags if self._options.tags is None else self._options.tags
        given = msgspec.json.encode(tags).decode() if tags else None
        return [
            NewJob(
                id=job,
                lane=self._lane,
                arguments=self._kind.signature.filled_in("{}", {name: msgspec.json.encode(item).decode()}),
                options=self._options_of(place).encode(),
                tenant=self._options.tenant,
                tags=given,
                parent=self._place.spreads,
            )
            for job, (place, item) in zip(ids.new_ids(len(items)), items, strict=True)
        ]

    def _options_of(self, item: int) -> Options:
        place = InFlow(id=self._place.id, step=f"{self._place.step}[{item}]", item=item)
        return msgspec.structs.replace(self._options, flow=place)
