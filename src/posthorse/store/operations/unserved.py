"""Jobs that wait although no living worker would take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from posthorse.rules.queues import DEFAULTS, QueueSettings
from posthorse.rules.why.answer import Code
from posthorse.rules.why.queue_and_workers import why_unserved
from posthorse.store.base import QuerySteps, TypedQuery, operation
from posthorse.store.operations.claim import FILLED_LANES
from posthorse.store.operations.read import DEPTHS
from posthorse.store.operations.servers import registered_servers

QUEUES_OF_LANES = TypedQuery("queues_of_lanes", tuple[str, str])


class Unserved(NamedTuple):
    """Jobs that no runner takes.

    is_known: a living runner knows the kind, but does not serve the queue.
    lacks_labels: a runner would take it, but lacks labels that the queue requires.
    """

    queue: str
    kind: str
    waiting: int
    is_known: bool
    lacks_labels: bool = False


@operation
def unserved(settings: Mapping[str, QueueSettings] | None = None) -> QuerySteps[list[Unserved]]:
    """Return waiting jobs whose queue and kind no living runner serves; `settings` holds the queues' labels."""
    waiting: Counter[tuple[str, str]] = Counter()
    for depth in (yield from DEPTHS()):
        waiting[depth.queue, depth.kind] += depth.waiting
    servers = yield from registered_servers()
    found: list[Unserved] = []
    for (queue, kind), count in sorted(waiting.items()):
        reason = why_unserved(kind, queue, (settings or {}).get(queue, DEFAULTS), servers)
        if reason is not None and reason.code != Code.DRAINING:  # those that stop make room for others
            is_known = reason.code not in (Code.NO_WORKER, Code.NO_KIND)
            found.append(Unserved(queue, kind, count, is_known, lacks_labels=reason.code == Code.NO_LABELS))
    return found


@operation
def waiting_kinds() -> QuerySteps[list[tuple[str, str]]]:
    """Return the queues and kinds of lanes that hold jobs, however many; empty lanes cost nothing."""
    filled = yield from FILLED_LANES()
    return (yield from QUEUES_OF_LANES([(lane,) for lane, _ in filled])) if filled else []
