"""Limits for tests of the store: those of all jobs of a lane, and those of each value of the argument `key`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from posthorse.rules.gates import NANOSECONDS, Need, gate_name
from posthorse.store.operations.through_gates import Candidate

TWO = Need(gate_name("concurrency", "queue", "default"), 2, 0, 0, "lease", False)
FAST = Need(gate_name("rate", "queue", "default"), None, NANOSECONDS, 3, "lease", False)
ONE_EACH = Need("concurrency", 1, 0, 0, "lease", True)
RATE_EACH = Need("rate", None, 10 * NANOSECONDS, 1, "lease", True)
IN_ORDER = Need("sequence", 1, 0, 0, "mend", True)
PASSING = Need("sequence", 1, 0, 0, "end", True)


class Rules:
    """Limits of a test: some for all jobs of a lane, some for each value of the argument `key`."""

    def __init__(self, *needs: Need, keyed: Sequence[Need] = ()) -> None:
        self.needs = needs
        self.keyed = keyed

    def of_lane(self, lane: int) -> Sequence[Need]:
        return self.needs

    def has_keys(self, lane: int) -> bool:
        return bool(self.keyed)

    def goes_by_arguments(self, lane: int) -> bool:
        return self.has_keys(lane)

    def of_job(self, candidate: Candidate) -> Sequence[Need] | None:
        key = msgspec.json.decode(candidate.arguments or "")["key"]
        return [need._replace(gate=gate_name(need.gate, "kind", "work", "key", key)) for need in self.keyed]

    def priority(self, lane: int) -> int:
        return 0
