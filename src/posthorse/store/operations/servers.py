"""The registered runners, as far as they decide who takes a job."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from posthorse.rules.labels import as_labels
from posthorse.rules.namesakes import split_places
from posthorse.rules.why.facts import ServingRunner
from posthorse.store.base import QuerySteps, TypedQuery

_decode_names = msgspec.json.Decoder(list[str]).decode


class StoredServer(NamedTuple):
    """A registered runner as stored; texts are JSON."""

    id: str
    worker: str
    queues: str
    kinds: str
    labels: str
    running: int
    concurrency: int
    is_alive: int
    is_draining: int


WHAT_RUNNERS_SERVE = TypedQuery("what_runners_serve", StoredServer)


def registered_servers() -> QuerySteps[list[ServingRunner]]:
    """Return what each registered runner serves, and how busy it was at its last heartbeat."""
    servers: list[ServingRunner] = []
    for row in (yield from WHAT_RUNNERS_SERVE()):
        queues, kinds, labels = map(_decode_names, (row.queues, row.kinds, row.labels))
        served = queues, split_places(kinds)[0], as_labels(labels)
        is_alive, is_draining = bool(row.is_alive), bool(row.is_draining)
        servers.append(ServingRunner(row.id, row.worker, *served, row.running, row.concurrency, is_alive, is_draining))
    return servers
