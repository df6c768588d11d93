"""Claiming: where a runner finds its next jobs, and what it is told of lanes and queues on the way.

Knows no slots and no outcomes. A suspect runs alone: it is claimed when nothing else is here, and then nothing else is.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Literal

from posthorse.clock import monotonic
from posthorse.rules.fair_share import FairShares
from posthorse.rules.job import Lane
from posthorse.rules.labels import as_labels
from posthorse.rules.queues import QueueSettings
from posthorse.rules.registry import Registry
from posthorse.store.operations.by_fair_share import claim_by_fair_share
from posthorse.store.operations.claim import (
    Claimed,
    Probe,
    claim,
    filled_lanes,
    first_places,
    lanes_with_jobs,
    news,
    waits,
)
from posthorse.store.operations.queues import live_layers
from posthorse.store.operations.runners import Runner, set_idle
from posthorse.store.operations.through_gates import claim_through_gates, depth_of_sight, in_sight
from posthorse.store.store import Store
from posthorse.worker.claiming.lanes import Lanes
from posthorse.worker.claiming.limits import Limits
from posthorse.worker.claiming.one_job import OneJob

log = logging.getLogger("posthorse.worker")

NEWS_INTERVAL = 0.05
NEWS_WHEN_IDLE = 0.9
"""Seconds after which an idle runner looks before it claims: a queue that was paused is left alone within a second."""

SHUT_FOR = 0.2
"""Seconds after which a gate is looked at again that opens when a job of another runner ends."""

Suspects = Literal["never", "when empty", "only"]
"""Which runners take suspects: none, whenever nothing else runs in it, or nothing else at all."""


class Claiming:
    """The claims of one runner."""

    def __init__(
        self, store: Store, registry: Registry, runner: Runner, *, suspects: Suspects, only: OneJob | None
    ) -> None:
        self.suspects: Suspects = suspects
        self.only = only
        self.has_suspect = False
        """True from the claim of a suspect until its end is told by setting it."""
        self.is_idle = False
        """True when the store was told that this runner waits."""
        self.expects_work = False
        """True when somebody told for certain that there is work."""
        self._was_told_in_vain = False
        self._store = store
        self._registry = registry
        self._runner = runner
        self._limits = Limits(registry, self.lane_numbered)
        self._lanes = Lanes(
            self._serves,
            keeps_marks=not store.is_sqlite,
            labels=as_labels(list(runner.labels)),
            keeps_mark_of=self._keeps_mark_of,
        )
        self._gates: dict[str, Sequence[str]] = {}
        self._sees_far = False
        self.has_more = False
        """True when a claim that found nothing should be tried again at once: it set jobs aside on its way."""
        self.wants_room = False
        """True when it is the turn of a job with limits, which are not claimed ahead, and there was no free slot."""
        self._wanted_room = False
        self._looked_at = -math.inf
        self._heard_changes: int | None = None
        self._free = 0
        self._is_plain = False
        """True when the last claim asked for all that its lanes had: no gate and no turn kept anything back."""
        self._limited: set[int] = set()
        """Lanes for whose jobs there are limits."""

    @property
    def is_one_by_one(self) -> bool:
        """True when no second job is to be claimed beside a first."""
        return self.suspects == "only" or self.only is not None

    def lane(self, claimed: Claimed) -> Lane:
        """Where a job was claimed."""
        return self._lanes.served[claimed.lane]

    def lane_numbered(self, number: int) -> Lane:
        """A lane that is served."""
        return self._lanes.served[number]

    def gates(self, claimed: Claimed) -> Sequence[str] | None:
        """The gates of its own that a job passed, once; None for a job without limits."""
        return self._gates.pop(claimed.job, None)

    def reopen(self) -> None:
        """A job with limits ended here: there may be room."""
        self._lanes.shut_gates.reopen()

    @property
    def opens_at(self) -> float:
        """When a gate may open that was shut, in monotonic seconds."""
        return self._lanes.shut_gates.opens_at()

    def settings(self, queue: str) -> QueueSettings:
        """What holds for a queue."""
        return self._lanes.served.settings(queue)

    async def next(self, room: int, *, free: int, is_empty: bool) -> list[Claimed]:
        """Up to `room` jobs, those of the highest priority first, no more than `free` of them with limits.

        `is_empty`: whether nothing else runs here.
        """
        self._free = free
        looks_first = monotonic() - self._looked_at >= (NEWS_WHEN_IDLE if self.is_idle else NEWS_INTERVAL)
        if looks_first:
            await self._hear_news()
        if not self.is_idle:
            await self._hear_ages()
        claimed = await self._claim(room, is_empty=is_empty)
        while not claimed and self._lanes.sample.is_partial:
            claimed = await self._claim(room, is_empty=is_empty)
        if not claimed and not (looks_first and self.is_idle) and await self._hear_news():
            claimed = await self._claim(room, is_empty=is_empty)
        if self.expects_work:
            self._was_told_in_vain = not claimed
        if self.is_idle and len(claimed) > 1:
            await self.say_idle(False)
        claimed.sort(key=lambda job: -self._lanes.served[job.lane].priority)
        return claimed

    async def say_idle(self, idle: bool) -> None:
        """Whoever enqueues wakes those that said so."""
        self.is_idle = idle
        if not self._store.is_sqlite:
            await self._store.arun(set_idle(self._runner.id, idle=idle))

    async def suspects_wait(self) -> bool:
        """Whether there is a suspect that this runner would take if it were empty."""
        probes = self._lanes.served.probes_for_suspects() if self.suspects == "when empty" else ()
        return bool(probes) and bool(await self._store.aread(lanes_with_jobs(probes)))

    async def _claim(self, room: int, *, is_empty: bool) -> list[Claimed]:
        self._sees_far = self.has_more  # where all were set aside, there may be many more of them
        self.has_more, self._wanted_room, self.wants_room = False, self.wants_room, False
        if self.only is not None:
            await self._hear_news()
            return await self.only.claim(self._store, self._runner.id)
        if self.suspects != "never" and is_empty:
            suspect = await self._claim_from(self._lanes.served.probes_for_suspects(), 1)
            self.has_suspect = bool(suspect)
            if suspect or self.suspects == "only":
                return suspect
        began = monotonic()
        if self._lanes.has_to_look(began):
            began = await self._look_into_all(began)
        self._is_plain = False
        # Where others came first to the work that all were told of, they may do so again.
        is_sure = self.expects_work and not self._was_told_in_vain
        claimed = await self._claim_from(self._lanes.probes(began, room), room, is_sure=is_sure)
        now = monotonic()
        exhausted = self._is_plain and len(claimed) < room
        self._lanes.note(claimed, room=room, now=now, seconds=now - began, exhausted=exhausted)
        return claimed

    async def _look_into_all(self, began: float) -> float:
        """Where there are many lanes: which of them have jobs. Answers with the time, in monotonic seconds."""
        looking = filled_lanes() if self._store.is_sqlite else first_places(self._lanes.looks(began))
        heads = await self._store.aread(looking)
        now = monotonic()
        self._lanes.learn(heads, now=now, seconds=now - began)
        return now

    async def _claim_from(self, probes: Sequence[Probe], room: int, *, is_sure: bool = False) -> list[Claimed]:
        """`is_sure`: whether there ought to be jobs in these lanes."""
        if not probes:
            return []
        looks_first = self.is_idle and self._store.is_sqlite and not is_sure  # that costs no turn at the one write lock
        if looks_first and not await self._store.aread(lanes_with_jobs(probes)):
            return []
        if self._limited and not self._limited.isdisjoint(probe.lane for probe in probes):
            return await self._claim_through_gates(probes, room)
        if not self._lanes.fair_share.is_needed:
            self._is_plain = True
            return await self._store.arun(claim(self._runner.id, probes, room, has_rivals=not self._store.is_sqlite))
        turns = self._lanes.fair_share.turns(probes)
        claimed, waiting = await self._store.arun(claim_by_fair_share(self._runner.id, probes, room, turns))
        self._lanes.note_turns(claimed, turns.lines, waiting)
        return claimed

    def _keeps_mark_of(self, lane: int) -> bool:
        # What was held comes back to its old place. Of most lanes it is known that nothing of theirs is ever held.
        return lane not in self._limited or not self._limits.has_keys(lane)

    async def _claim_through_gates(self, probes: Sequence[Probe], room: int) -> list[Claimed]:
        turns, channel, sees_far = self._lanes.fair_share.turns(probes), self._store.backend.channel, self._sees_far
        await self._ask_users(probes, turns, room)
        passed = await self._store.arun(
            claim_through_gates(
                self._runner.id, probes, room, self._free, turns, self._limits, channel=channel, sees_far=sees_far
            )
        )
        now = monotonic()
        for lane, seconds in passed.shut.items():
            self._lanes.shut_gates.shut((lane,), until=now + (SHUT_FOR if seconds is None else seconds))
        self._lanes.note_turns(passed.claimed, turns.lines, passed.waiting)
        self._gates.update(passed.gates)
        self.has_more = passed.has_held and not passed.claimed
        # Where many come one after the other, the next is taken for one, too, without a look that finds no room for it.
        many_limited = len(passed.claimed) == room <= 4 * len(passed.gates)
        self.wants_room = passed.is_left or (self._wanted_room and many_limited)
        return passed.claimed

    async def _ask_users(self, probes: Sequence[Probe], turns: FairShares, room: int) -> None:
        """Where functions of the user's say what limits are kept apart by: they are called before gates are locked."""
        asking = [probe for probe in probes if probe.lane in self._limited and self._limits.asks_user(probe.lane)]
        if not asking:
            return
        depth = depth_of_sight(room, self._free, sees_far=self._sees_far)
        seen = await self._store.aread(in_sight(asking, turns.lines, depth, self._limits))
        if not self._limits.are_known(seen):
            await asyncio.to_thread(self._limits.learn, seen)

    async def _hear_news(self) -> bool:
        """Looks for lanes and for what was said of queues since the last look; true when there is more to serve."""
        self._looked_at = monotonic()
        heard = await self._store.aread(news(self._lanes.served.known))
        layers = None if heard.changes == self._heard_changes else await self._store.aread(live_layers())
        # All that was read is learned at once: a lane that is known before its limits would be claimed without them.
        served = self._lanes.add(heard.lanes)
        if layers is not None:
            settings = self._registry.queues.settings(layers)
            self._limits.obey(settings)
            self._limited = set(filter(self._limits.bind, self._lanes.served.numbers))
            self._lanes.obey(settings)
            self._lanes.shut_gates.reopen()
            self._heard_changes = heard.changes
        else:
            self._limited.update(filter(self._limits.bind, served))
        is_open = self._lanes.open_at(heard.now)
        return bool(served) or is_open

    async def _hear_ages(self) -> None:
        """Once a second: how long lanes wait that others of higher priority may starve."""
        probes = self._lanes.ageing_probes(monotonic())
        if probes:
            self._lanes.ageing.learn(await self._store.aread(waits(probes)))

    def _serves(self, lane: Lane) -> bool:
        return lane.kind in self._registry and (not self._runner.queues or lane.queue in self._runner.queues)
