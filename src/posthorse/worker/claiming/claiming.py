"""Claiming: where a runner finds its next jobs, and what it learns of lanes and queues on the way.

`claim` takes all that it needs in a request, and returns all that follows. It knows neither slots nor outcomes. A
suspect runs alone: it is claimed only when the runner has no other job, and then no other job is claimed.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from posthorse.clock import monotonic
from posthorse.errors import PosthorseError
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
    lane_waits,
    lanes_with_jobs,
    news,
)
from posthorse.store.operations.runners import Runner, set_idle
from posthorse.store.operations.through_gates import claim_through_gates, depth_of_sight, in_sight
from posthorse.store.store import Store
from posthorse.worker.base.live_queues import LiveQueues
from posthorse.worker.claiming.claim_values import Claim, ClaimedJob, ClaimRequest, LookAgain
from posthorse.worker.claiming.lanes import Lanes
from posthorse.worker.claiming.limits import Limits
from posthorse.worker.claiming.one_job import OneJob

log = logging.getLogger("posthorse.worker")

NEWS_WHEN_IDLE = 0.9
"""Seconds after which an idle runner reads the news before it claims, so that it obeys a pause within a second."""

Suspects = Literal["never", "when empty", "only"]
"""Whether a runner claims suspects: never, when it has no other job, or only suspects."""


class _Found(NamedTuple):
    """What one look into the lanes found."""

    claimed: Sequence[Claimed] = ()
    gates: Mapping[str, Sequence[str]] = {}
    """For each job with limits of its own, the gates that it passed."""
    is_suspect: bool = False
    is_plain: bool = False
    """True if all jobs in these lanes could be claimed: no gate and no fair share held any back."""
    has_more: bool = False
    """True if jobs were held before their gates and none was claimed: there may be others behind them."""
    wants_slot: bool = False
    """True if the next job has limits, and no slot was free for it."""


class Claiming:
    """The claims of one runner."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        runner: Runner,
        queues: LiveQueues,
        *,
        suspects: Suspects,
        only: OneJob | None,
    ) -> None:
        self._suspects: Suspects = suspects
        self._only = only
        self._store = store
        self._database = store.backend.capabilities
        self._tuning = store.tuning
        self._registry = registry
        self._runner = runner
        self._queues = queues
        self._obeyed: Mapping[str, QueueSettings] | None = None
        """The settings of all queues that its lanes obey."""
        self._limits = Limits(registry, self._lane)
        self._lanes = Lanes(
            self._serves,
            keeps_marks=store.backend.capabilities.keeps_consumed_entries,
            labels=as_labels(list(runner.labels)),
            keeps_mark_of=self._keeps_mark_of,
            tuning=store.tuning,
        )
        self._limited: set[int] = set()
        """Lanes whose jobs have limits."""
        self._before = _Found()
        """The last look, without its jobs."""
        self._is_idle = False
        """True while the store has this runner as idle, so that enqueuing wakes it."""
        self._was_woken_in_vain = False
        self._looked_at = -math.inf

    async def claim(self, request: ClaimRequest) -> Claim:
        """Claim the next jobs; if there are none, register this runner as idle with the store.

        If the reply is lost (OutcomeUnknown), the runner may hold jobs that it does not know of.
        """
        expects_work = request.is_woken or self._before.wants_slot
        looks_first = monotonic() - self._looked_at >= (NEWS_WHEN_IDLE if self._is_idle else self._tuning.news_interval)
        if looks_first:
            await self._hear_news()
        if not self._is_idle:
            await self._hear_ages()
        found = await self._look(request, expects_work)
        while not found.claimed and self._lanes.sample.is_partial:
            found = await self._look(request, expects_work)
        if not found.claimed and not (looks_first and self._is_idle) and await self._hear_news():
            found = await self._look(request, expects_work)
        if expects_work:
            self._was_woken_in_vain = not found.claimed
        look_again = await self._look_again_after(found, request)
        return Claim(self._jobs(found), look_again, self._lanes.shut_gates.opens_at(), found.is_suspect)

    async def suspects_wait(self) -> bool:
        """Return whether a suspect waits that this runner would claim if it had no other job."""
        probes = self._lanes.served.probes_for_suspects() if self._suspects == "when empty" else ()
        return bool(probes) and bool(await self._store.aread(lanes_with_jobs(probes)))

    def reopen(self) -> None:
        """Look at all gates again, because a job with limits ended in this runner."""
        self._lanes.shut_gates.reopen()

    def close_at(self, now: int) -> None:
        """Close queues whose window is over, so that jobs that left because of it are not claimed again at once."""
        self._lanes.open_at(now)

    # ── what came of it ──────────────────────────────────────────────────────────────────────────────

    async def _look_again_after(self, found: _Found, request: ClaimRequest) -> LookAgain:
        """Return when to look again, and keep the store informed whether this runner is idle."""
        if found.claimed and self._is_idle and len(found.claimed) > 1:
            await self._tell_busy()
        if found.wants_slot and (found.claimed or request.limited_room <= 0):
            return LookAgain.WHEN_ROOM
        if found.claimed or found.has_more:
            return LookAgain.AT_ONCE
        if not self._is_idle:
            await self._tell_idle()
            return LookAgain.AT_ONCE  # a job that was enqueued before this reached the store wakes no runner
        return LookAgain.WHEN_WOKEN

    async def _tell_idle(self) -> None:
        """Ask the store to wake this runner when jobs are enqueued."""
        if self._database.notifies_idle_runners:
            await self._store.arun(set_idle(self._runner.id, idle=True))
        self._is_idle = True

    async def _tell_busy(self) -> None:
        """Ask for no more wakes. The runner already holds jobs, so an error here must not lose them."""
        try:
            if self._database.notifies_idle_runners:
                await self._store.arun(set_idle(self._runner.id, idle=False))
        except PosthorseError as error:
            log.debug("cannot tell the store that this runner is busy: %s", error)
        else:
            self._is_idle = False

    def _jobs(self, found: _Found) -> list[ClaimedJob]:
        served, gates = self._lanes.served, found.gates
        lanes = {number: served[number] for number in {claimed.lane for claimed in found.claimed}}
        queues = {number: served.settings(lane.queue) for number, lane in lanes.items()}
        jobs = [
            ClaimedJob(claimed, lanes[claimed.lane], queues[claimed.lane], gates.get(claimed.job))
            for claimed in found.claimed
        ]
        if len(lanes) > 1:
            jobs.sort(key=_highest_first)
        return jobs

    # ── one look ─────────────────────────────────────────────────────────────────────────────────────

    async def _look(self, request: ClaimRequest, expects_work: bool) -> _Found:
        before, self._before = self._before, _Found()
        if self._only is not None:
            await self._hear_news()
            return _Found(await self._only.claim(self._store, self._runner.id))
        suspect = _Found()
        if self._suspects != "never" and request.is_empty:
            suspect = await self._claim_from(self._lanes.served.probes_for_suspects(), 1, request, before)
        if suspect.claimed or self._suspects == "only":
            found = suspect._replace(is_suspect=bool(suspect.claimed))
        else:
            # All runners were woken for the same work. If other runners claimed it first, they may do so again.
            is_sure = expects_work and not self._was_woken_in_vain
            found = await self._look_for_several(request, before, is_sure=is_sure)
            found = found._replace(has_more=found.has_more or suspect.has_more)
        self._before = found._replace(claimed=(), gates={})
        return found

    async def _look_for_several(self, request: ClaimRequest, before: _Found, *, is_sure: bool) -> _Found:
        """Look for jobs that may run beside others."""
        began = monotonic()
        if self._lanes.has_to_look(began):
            began = await self._look_into_all(began)
        probes = self._lanes.probes(began, request.room)
        found = await self._claim_from(probes, request.room, request, before, is_sure=is_sure)
        now = monotonic()
        exhausted = found.is_plain and len(found.claimed) < request.room
        self._lanes.note(found.claimed, room=request.room, now=now, seconds=now - began, exhausted=exhausted)
        return found

    async def _look_into_all(self, began: float) -> float:
        """If there are many lanes, read which of them have jobs. Return the time afterwards, in monotonic seconds."""
        looking = first_places(self._lanes.looks(began)) if self._database.keeps_consumed_entries else filled_lanes()
        heads = await self._store.aread(looking)
        now = monotonic()
        self._lanes.learn(heads, now=now, seconds=now - began)
        return now

    async def _claim_from(
        self, probes: Sequence[Probe], room: int, request: ClaimRequest, before: _Found, *, is_sure: bool = False
    ) -> _Found:
        """Claim up to `room` jobs from these lanes. `is_sure`: a wake says that they contain jobs."""
        if not probes:
            return _Found()
        looks_first = (
            self._is_idle and not self._database.has_rivals and not is_sure
        )  # reading first does not wait for the only write lock
        if looks_first and not await self._store.aread(lanes_with_jobs(probes)):
            return _Found()
        if self._limited and not self._limited.isdisjoint(probe.lane for probe in probes):
            return await self._claim_through_gates(probes, room, request.limited_room, before)
        if not self._lanes.fair_share.is_needed:
            has_rivals = self._database.has_rivals
            claimed = await self._store.arun(claim(self._runner.id, probes, room, has_rivals=has_rivals))
            return _Found(claimed, is_plain=True)
        turns = self._lanes.fair_share.turns(probes)
        claimed, waiting = await self._store.arun(claim_by_fair_share(self._runner.id, probes, room, turns))
        self._lanes.note_turns(claimed, turns.lines, waiting)
        return _Found(claimed)

    async def _claim_through_gates(
        self, probes: Sequence[Probe], room: int, limited_room: int, before: _Found
    ) -> _Found:
        turns = self._lanes.fair_share.turns(probes)
        sees_far = before.has_more  # all were held, so there may be many more of them
        depth = depth_of_sight(room, limited_room, sees_far=sees_far)
        await self._ask_users(probes, turns, depth)
        passed = await self._store.arun(
            claim_through_gates(self._runner.id, probes, room, limited_room, turns, self._limits, sees_far=sees_far)
        )
        now = monotonic()
        for lane, seconds in passed.shut.items():
            self._lanes.shut_gates.shut(
                (lane,), until=now + (self._tuning.shut_gate_interval if seconds is None else seconds)
            )
        self._lanes.note_turns(passed.claimed, turns.lines, passed.waiting)
        # If mostly limited jobs arrive, assume that the next is limited too, and skip a look that finds no room for it.
        many_limited = len(passed.claimed) == room <= 4 * len(passed.gates)
        return _Found(
            passed.claimed,
            passed.gates,
            has_more=passed.has_held and not passed.claimed,
            wants_slot=passed.is_left or (before.wants_slot and many_limited),
        )

    async def _ask_users(self, probes: Sequence[Probe], turns: FairShares, depth: int) -> None:
        """Call the users' partition functions of limits (`per`), outside of any transaction."""
        asking = [probe for probe in probes if probe.lane in self._limited and self._limits.asks_user(probe.lane)]
        if not asking:
            return
        seen = await self._store.aread(in_sight(asking, turns.lines, depth, self._limits))
        if not self._limits.are_known(seen):
            await asyncio.to_thread(self._limits.learn, seen)

    # ── what is heard on the way ─────────────────────────────────────────────────────────────────────

    async def _hear_news(self) -> bool:
        """Read new lanes and changed settings; return whether there is more to serve."""
        self._looked_at = monotonic()
        heard = await self._store.aread(news(self._lanes.served.known))
        await self._queues.update(heard.changes)
        # Add lanes and limits together: a lane that is known before its limits would be claimed without them.
        served = self._lanes.add(heard.lanes)
        settings = self._queues.by_name
        if settings is not self._obeyed:
            self._limits.obey(settings)
            self._limited = set(filter(self._limits.bind, self._lanes.served.numbers))
            self._lanes.obey(settings)
            self._lanes.shut_gates.reopen()
            self._obeyed = settings
        else:
            self._limited.update(filter(self._limits.bind, served))
        is_open = self._lanes.open_at(heard.now)
        return bool(served) or is_open

    async def _hear_ages(self) -> None:
        """Once a second, read how long lanes have waited that lanes of higher priority may starve."""
        probes = self._lanes.ageing_probes(monotonic())
        if probes:
            self._lanes.ageing.learn(await self._store.aread(lane_waits(probes)))

    def _lane(self, number: int) -> Lane:
        return self._lanes.served[number]

    def _serves(self, lane: Lane) -> bool:
        return lane.kind in self._registry and (not self._runner.queues or lane.queue in self._runner.queues)

    def _keeps_mark_of(self, lane: int) -> bool:
        # A held job returns to its old place, before the mark. Most lanes never have held jobs.
        return lane not in self._limited or not self._limits.has_keys(lane)


def _highest_first(job: ClaimedJob) -> int:
    return -job.lane.priority
