"""How the need for workers is shown to autoscalers, such as KEDA."""

from __future__ import annotations

from posthorse.views.base import View


class QueueLoadView(View, frozen=True, kw_only=True):
    """The load of a queue. latency_seconds: how long its first job has waited. desired: how many workers are enough."""

    backlog: int
    running: int
    latency_seconds: float
    desired: int


class AutoscaleView(View, frozen=True, kw_only=True):
    """The load of one queue, as scalers find it by a path such as `queue.desired`."""

    queue: QueueLoadView
