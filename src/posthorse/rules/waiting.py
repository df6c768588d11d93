"""Why a job waits that may run now: what can be told from its queue and from the workers alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from posthorse.rules.queues import QueueSettings


class Server(NamedTuple):
    """A living runner that takes new jobs: what it serves, and whether it had a free place when it beat last."""

    queues: Sequence[str]
    kinds: Sequence[str]
    labels: Mapping[str, str]
    is_full: bool


def why_waiting(kind: str, queue: str, settings: QueueSettings, servers: Sequence[Server], now: int) -> str | None:
    """Tell what keeps a job in its lane, the most lasting cause first; None where only others are before it, or none.

    `now` is in microseconds since the epoch.
    """
    if settings.paused:
        return f"its queue {queue!r} is paused"
    if settings.window is not None and not settings.window.is_open(now):
        opens = settings.window.next_change(now)
        return f"its queue {queue!r} runs {settings.window} alone, next from {opens:%Y-%m-%d %H:%M} UTC"
    if not servers:
        return "no worker is alive"
    knowing = [server for server in servers if kind in server.kinds]
    if not knowing:
        return f"no living worker knows the kind {kind!r}"
    taking = [server for server in knowing if not server.queues or queue in server.queues]
    if not taking:
        return f"no living worker that knows its kind takes from its queue {queue!r}"
    fitting = [server for server in taking if settings.fits(server.labels)]
    if not fitting:
        needed = ", ".join(f"{name}={value}" for name, value in sorted(settings.labels.items()))
        return f"no living worker has the labels that its queue {queue!r} asks for: {needed}"
    if all(server.is_full for server in fitting):
        return "every place of the workers that would take it is taken"
    return None
