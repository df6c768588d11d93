"""Fair share: who is next if queues share by weight or tenants share a queue. The rules are in `rules/fair_share`.

It keeps what the next claim needs: how much each sharer has had (`passes`) and, with many lanes, which lanes belong to
which sharer. It knows neither the store nor the time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from posthorse.rules.fair_share import FairShares, Group, Line, Passes, after_turns, next_lanes
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.worker.claiming.ageing import Ageing
from posthorse.worker.claiming.served_lanes import ServedLanes

LanesByShare = dict[int, dict[str, dict[str, list[int]]]]
"""Lanes by priority, queue and tenant."""


class FairShare:
    """The turns of the sharers, as one runner takes them."""

    def __init__(self, served: ServedLanes, ageing: Ageing) -> None:
        self.is_needed = False
        """True if queues share by weight, tenants share a queue, or a queue serves its newest jobs first."""
        self.weights: Mapping[str, int] = {}
        self.passes = Passes()
        self._served = served
        self._ageing = ageing
        self._with_tenants: frozenset[str] = frozenset()
        """Queues that tenants share."""
        self._floors: Mapping[Group, int] = {}
        """The lowest passes among the sharers that the last claim left out."""
        self._arranged: LanesByShare | None = None
        """The lanes that have jobs, arranged by sharer; None if they must be arranged again."""

    def arrange(self) -> None:
        """Note that the lanes served, or the settings of their queues, have changed."""
        self._arranged = None
        settings = {lane.queue: self._served.settings(lane.queue) for lane in self._served.lanes()}
        self.weights = {queue: each.weight for queue, each in settings.items()}
        self._with_tenants = frozenset(lane.queue for lane in self._served.lanes() if lane.tenant)
        self.is_needed = bool(self._with_tenants) or any(
            each.weight != 1 or each.order == "lifo" for each in settings.values()
        )

    def rearrange(self) -> None:
        """Note that other lanes have jobs now, or that other queues are open."""
        self._arranged = None

    def turns(self, probes: Iterable[Probe]) -> FairShares:
        """Return what a claim from these lanes needs for a fair share."""
        lines = {
            probe.lane: Line(
                lane.queue,
                probe.priority,
                self._served.settings(lane.queue).order == "lifo",
                lane.tenant if lane.queue in self._with_tenants else None,
            )
            for probe in probes
            for lane in (self._served[probe.lane],)
        }
        return FairShares(lines, self.weights, self.passes)

    def asks_all(self) -> None:
        """Note that the next claim leaves out no lane."""
        self._floors = {}

    def next_lanes(self, lanes: Iterable[int], room: int, *, is_lasting: bool) -> tuple[Sequence[int], bool]:
        """Return the lanes of the next `room` sharers, and whether none was left out.

        is_lasting: `lanes` are the same as last time, except for what `forget` and `rearrange` reported; they are then
        read only if something must be arranged again.
        """
        if is_lasting and not self._ageing.boosts:
            sharing = self._arranged = self._arranged or self._by_share(lanes)
        else:  # boosts and shut gates change from claim to claim
            sharing = self._by_share(lanes)
        chosen = next_lanes(sharing, self.weights, self.passes, room)
        self._floors = chosen.floors
        return chosen.lanes, chosen.is_all

    def note(self, claimed: Sequence[Claimed], lines: Mapping[int, Line], waiting: Collection[int]) -> None:
        """Learn from a claim whose turn it was; `waiting`: the lanes that had jobs."""
        had_jobs = {number: line for number, line in lines.items() if number in waiting}
        self.passes = after_turns([job.lane for job in claimed], had_jobs, self.weights, self.passes, self._floors)

    def forget(self, lanes: Collection[int]) -> None:
        """Remove lanes that have no more jobs."""
        if not lanes or self._arranged is None:
            return
        if self._ageing.boosts:
            self._arranged = None
            return
        for number in lanes:
            priority, queue, tenant = self._share_of(number)
            queues = self._arranged.get(priority, {})
            tenants = queues.get(queue, {})
            if number in tenants.get(tenant, ()):
                tenants[tenant].remove(number)
                if not tenants[tenant]:
                    del tenants[tenant]
                if not tenants:
                    del queues[queue]
                if not queues:
                    del self._arranged[priority]

    def _by_share(self, lanes: Iterable[int]) -> LanesByShare:
        sharing: LanesByShare = {}
        for number in lanes:
            priority, queue, tenant = self._share_of(number)
            sharing.setdefault(priority, {}).setdefault(queue, {}).setdefault(tenant, []).append(number)
        return sharing

    def _share_of(self, number: int) -> tuple[int, str, str]:
        lane = self._served[number]
        tenant = lane.tenant if lane.queue in self._with_tenants else ""
        return lane.priority + self._ageing.boosts.get(number, 0), lane.queue, tenant
