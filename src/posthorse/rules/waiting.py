"""Why a job that may run still waits, as far as its queue and the workers explain it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from posthorse.rules.gates import Requirement, demands_of
from posthorse.rules.queues import QueueSettings
from posthorse.rules.registry import KindOptions


class Server(NamedTuple):
    """A living runner that takes new jobs: what it serves, and whether it had a free slot at its last heartbeat."""

    queues: Sequence[str]
    kinds: Sequence[str]
    labels: Mapping[str, str]
    is_full: bool


class Full(NamedTuple):
    """A limit on all jobs of a queue or kind that lets none start now; for a rate, the seconds until the next may."""

    limit: str
    opens_in: float | None


def needs_of(kind: str, options: KindOptions | None, queue: str, settings: QueueSettings) -> list[Requirement]:
    """Return the gates that all jobs of a queue and kind pass. `options` is None for a kind that is unknown here."""
    of_kind = () if options is None else (options.rate, options.concurrency)
    demands = demands_of(queue, (settings.rate, settings.concurrency), kind, of_kind)
    return [demand.requirement() for demand in demands if demand.per is None]


def why_waiting(
    kind: str, queue: str, settings: QueueSettings, servers: Sequence[Server], now: int, full: Sequence[Full] = ()
) -> str | None:
    """Return why a job waits in its lane, most lasting cause first; None if only earlier jobs are the cause, or
    nothing.

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
    for limit, opens_in in full:
        until = "" if opens_in is None else f"; the next job may start in {max(0.0, opens_in):.1f} s"
        return f"its limit is full, the {limit}{until}"
    if all(server.is_full for server in fitting):
        return "every place of the workers that would take it is taken"
    return None
