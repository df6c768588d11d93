"""Whose turn it is: queues of equal priority share the work by their weights, exactly over time.

Stride scheduling (C. A. Waldspurger, W. E. Weihl, 1995): each queue has a pass that grows by 1/weight with every job;
the queue with the smallest pass is next. One that was empty comes back at the pass of the others, so that
nothing is saved up, and nobody waits longer than the sum of the weights. Pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

STRIDE = 720_720
"""Divides evenly by every weight up to 16; others are off by a millionth."""


class Head(NamedTuple):
    """A job near the head of a lane, in the order in which its lane is served."""

    lane: int
    seq: int


class Line(msgspec.Struct, frozen=True):
    """A lane as turns see it: its queue, its priority now, and whether the newest comes first."""

    queue: str
    priority: int
    is_newest_first: bool = False


class Passes(msgspec.Struct, frozen=True):
    """Where the queues of each priority stand."""

    by_queue: Mapping[tuple[int, str], int] = {}
    by_priority: Mapping[int, int] = {}
    """The pass at which a queue that was empty comes back."""

    def pass_of(self, priority: int, queue: str) -> int:
        """Where a queue that has jobs stands."""
        return max(self.by_queue.get((priority, queue), 0), self.by_priority.get(priority, 0))


def take_turns(
    heads: Sequence[Head], lines: Mapping[int, Line], weights: Mapping[str, int], passes: Passes, room: int
) -> list[Head]:
    """The next `room` jobs: higher priority first, then by weight, then by the order of each queue."""
    waiting: dict[int, dict[str, list[Head]]] = {}
    for head in heads:
        line = lines[head.lane]
        waiting.setdefault(line.priority, {}).setdefault(line.queue, []).append(head)
    chosen: list[Head] = []
    for priority in sorted(waiting, reverse=True):
        queues = {queue: _in_order(found, lines) for queue, found in waiting[priority].items()}
        turns = [(passes.pass_of(priority, queue), queue) for queue in queues]
        heapq.heapify(turns)
        while turns and len(chosen) < room:
            at, queue = turns[0]
            chosen.append(queues[queue].pop())
            if queues[queue]:
                heapq.heapreplace(turns, (at + _stride(weights, queue), queue))
            else:
                heapq.heappop(turns)
    return chosen


def after_turns(
    taken: Sequence[int], waiting: Mapping[int, Line], weights: Mapping[str, int], passes: Passes
) -> Passes:
    """Where the queues stand after jobs of these lanes were taken; `waiting` are the lanes that had jobs."""
    by_queue = dict(passes.by_queue)
    by_priority = dict(passes.by_priority)
    groups: dict[int, set[str]] = {}
    for line in waiting.values():
        groups.setdefault(line.priority, set()).add(line.queue)
    counts: dict[tuple[int, str], int] = {}
    for lane in taken:
        line = waiting[lane]
        counts[line.priority, line.queue] = counts.get((line.priority, line.queue), 0) + 1
    for priority, queues in groups.items():
        for queue in queues:
            count = counts.get((priority, queue), 0)
            by_queue[priority, queue] = passes.pass_of(priority, queue) + count * _stride(weights, queue)
        by_priority[priority] = max(by_priority.get(priority, 0), min(by_queue[priority, queue] for queue in queues))
    return Passes(by_queue, by_priority)


def _in_order(heads: Sequence[Head], lines: Mapping[int, Line]) -> list[Head]:
    """The heads of one queue, the next one last."""
    is_newest_first = lines[heads[0].lane].is_newest_first
    return sorted(heads, key=lambda head: head.seq, reverse=not is_newest_first)


def _stride(weights: Mapping[str, int], queue: str) -> int:
    return STRIDE // weights.get(queue, 1)
