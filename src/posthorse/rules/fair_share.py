"""Fair share: queues of equal priority share the work in proportion to their weights; the tenants of a fair queue share
it evenly.

This is stride scheduling (C. A. Waldspurger, W. E. Weihl, 1995): each queue has a pass that grows by 1/weight with
every job, and the queue with the smallest pass is next. A queue that was empty comes back at the pass of the others, so
it cannot save up turns, and no queue waits longer than the sum of the weights. Pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from typing import NamedTuple

import msgspec

STRIDE = 720_720
"""Divisible by every weight up to 16; other weights are off by a millionth."""


class Head(NamedTuple):
    """A job near the head of a lane, in the order in which its lane is served."""

    lane: int
    seq: int


class Line(msgspec.Struct, frozen=True):
    """A lane as fair share sees it: its queue, its current priority, and whether the newest job comes first."""

    queue: str
    priority: int
    is_newest_first: bool = False
    tenant: str | None = None
    """The tenant that the lane belongs to, if tenants share the queue."""


Group = tuple[int, str]
"""A priority with a queue whose tenants share it, or with "" for the queues themselves."""

_NO_FLOORS: Mapping[Group, int] = {}


class Passes(msgspec.Struct, frozen=True):
    """The passes: of queues in the group of their priority, of tenants in that of their queue."""

    by_name: Mapping[tuple[Group, str], int] = {}
    by_group: Mapping[Group, int] = {}
    """The pass for a member that had no jobs and comes back."""

    def pass_of(self, group: Group, name: str) -> int:
        """Return the pass of a queue or tenant that has jobs."""
        return max(self.by_name.get((group, name), 0), self.by_group.get(group, 0))


class FairShares(NamedTuple):
    """What `take_turns` needs to know about the queues and tenants that share."""

    lines: Mapping[int, Line]
    weights: Mapping[str, int]
    passes: Passes


def take_turns(
    heads: Sequence[Head],
    lines: Mapping[int, Line],
    weights: Mapping[str, int],
    passes: Passes,
    room: int,
    *,
    admits: Callable[[Head], bool] = lambda _: True,
) -> list[Head]:
    """Return the next `room` jobs: higher priority first, then by weight, then tenants in turn, then by the order of
    each queue.

    A job that is not admitted is left out and costs its queue and tenant no turn.
    """
    waiting: dict[int, dict[str, dict[str, list[Head]]]] = {}
    for head in heads:
        line = lines[head.lane]
        of_queue = waiting.setdefault(line.priority, {}).setdefault(line.queue, {})
        of_queue.setdefault(line.tenant or "", []).append(head)
    chosen: list[Head] = []
    for priority in sorted(waiting, reverse=True):
        queues = {
            queue: _by_tenants((priority, queue), of_queue, lines, passes, admits)
            for queue, of_queue in waiting[priority].items()
        }
        turns = [(passes.pass_of((priority, ""), queue), queue) for queue in queues]
        heapq.heapify(turns)
        while turns and len(chosen) < room:
            at, queue = turns[0]
            following = next(queues[queue], None)
            if following is None:
                heapq.heappop(turns)
            else:
                chosen.append(following)
                heapq.heapreplace(turns, (at + _stride(weights, queue), queue))
    return chosen


class NextLanes(NamedTuple):
    """The lanes that the claim should query now, out of many."""

    lanes: list[int]
    floors: Mapping[Group, int]
    """For groups where some lanes were left out: the lowest pass of those."""
    is_all: bool
    """Whether no lane was left out."""


def next_lanes(
    found: Mapping[int, Mapping[str, Mapping[str, Sequence[int]]]],
    weights: Mapping[str, int],
    passes: Passes,
    room: int,
) -> NextLanes:
    """Return the lanes of the next `room` queues and tenants, as if each had one job, so that no more lanes are queried
    than jobs are wanted.

    `found` has lanes by priority, queue and tenant; among tenants with equal passes, those listed first are next.
    """
    lanes: list[int] = []
    floors: dict[Group, int] = {}
    left = room
    for priority in sorted(found, reverse=True):
        if not left:
            return NextLanes(lanes, floors, is_all=False)
        queues = found[priority]
        first = [(passes.pass_of((priority, ""), queue), queue) for queue in queues]
        coming = {queue: _lowest(passes, (priority, queue), queues[queue], left) for _, queue in nsmallest(left, first)}
        asked: set[str] = set()
        turns = [turn for turn in first if turn[1] in coming]
        heapq.heapify(turns)
        while turns and left:
            at, queue = turns[0]
            tenant = next(coming[queue], None)
            if tenant is None:
                heapq.heappop(turns)
                continue
            lanes += queues[queue][tenant]
            asked.add(queue)
            left -= 1
            heapq.heapreplace(turns, (at + _stride(weights, queue), queue))
        for queue in asked:
            if (tenant := next(coming[queue], None)) is not None:
                floors[priority, queue] = passes.pass_of((priority, queue), tenant)
        if not_asked := [at for at, queue in first if queue not in asked]:
            floors[priority, ""] = min(not_asked)
    return NextLanes(lanes, floors, is_all=not floors)


def _lowest(passes: Passes, group: Group, tenants: Iterable[str], room: int) -> Iterator[str]:
    """Yield those that are next in a group, and one more."""
    by_name, least = passes.by_name, passes.by_group.get(group, 0)

    def pass_of(tenant: str) -> int:
        return max(by_name.get((group, tenant), 0), least)

    return iter(nsmallest(room + 1, tenants, key=pass_of))


def after_turns(
    taken: Sequence[int],
    waiting: Mapping[int, Line],
    weights: Mapping[str, int],
    passes: Passes,
    floors: Mapping[Group, int] = _NO_FLOORS,
) -> Passes:
    """Return the passes after jobs of these lanes were taken; `waiting` are the lanes that had jobs.

    `floors`: for groups that were queried in part, the lowest pass of the rest. No member comes back at a lower pass.
    """
    by_name, by_group = dict(passes.by_name), dict(passes.by_group)
    groups: dict[Group, set[str]] = {}
    for line in waiting.values():
        for group, name in _shares_of(line):
            groups.setdefault(group, set()).add(name)
    counts: dict[tuple[Group, str], int] = {}
    for lane in taken:
        for share in _shares_of(waiting[lane]):
            counts[share] = counts.get(share, 0) + 1
    for group, names in groups.items():
        for name in names:
            stride = STRIDE if group[1] else _stride(weights, name)
            by_name[group, name] = passes.pass_of(group, name) + counts.get((group, name), 0) * stride
        lowest = min(by_name[group, name] for name in names)
        by_group[group] = max(by_group.get(group, 0), min(lowest, floors.get(group, lowest)))
    return Passes(by_name, by_group)


def _shares_of(line: Line) -> Iterator[tuple[Group, str]]:
    yield (line.priority, ""), line.queue
    if line.tenant is not None:
        yield (line.priority, line.queue), line.tenant


def _by_tenants(
    group: Group,
    of_queue: Mapping[str, list[Head]],
    lines: Mapping[int, Line],
    passes: Passes,
    admits: Callable[[Head], bool],
) -> Iterator[Head]:
    """Yield the admitted jobs of one queue, tenants in turn."""
    waiting = {tenant: _in_order(heads, lines) for tenant, heads in of_queue.items()}
    turns = [(passes.pass_of(group, tenant), tenant) for tenant in waiting]
    heapq.heapify(turns)
    while turns:
        at, tenant = turns[0]
        while waiting[tenant] and not admits(waiting[tenant][-1]):
            waiting[tenant].pop()
        if not waiting[tenant]:
            heapq.heappop(turns)
            continue
        yield waiting[tenant].pop()
        heapq.heapreplace(turns, (at + STRIDE, tenant))


def _in_order(heads: Sequence[Head], lines: Mapping[int, Line]) -> list[Head]:
    """Return the heads of one queue, the next one last."""
    is_newest_first = lines[heads[0].lane].is_newest_first
    return sorted(heads, key=lambda head: head.seq, reverse=not is_newest_first)


def _stride(weights: Mapping[str, int], queue: str) -> int:
    return STRIDE // weights.get(queue, 1)
