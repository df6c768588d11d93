"""Limits for tests of the store: those of all jobs of a lane, and those of each value of the argument `key`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from posthorse.rules.gates import NANOSECONDS, Requirement, gate_name
from posthorse.store.operations.through_gates import Candidate

TWO = Requirement(gate_name("concurrency", "queue", "default"), 2, 0, 0, "lease", False)
FAST = Requirement(gate_name("rate", "queue", "default"), None, NANOSECONDS, 3, "lease", False)
ONE_EACH = Requirement("concurrency", 1, 0, 0, "lease", True)
RATE_EACH = Requirement("rate", None, 10 * NANOSECONDS, 1, "lease", True)
IN_ORDER = Requirement("sequence", 1, 0, 0, "mend", True)
PASSING = Requirement("sequence", 1, 0, 0, "end", True)


class Rules:
    """Limits of a test: some for all jobs of a lane, some for each value of the argument `key`."""

    def __init__(self, *needs: Requirement, keyed: Sequence[Requirement] = ()) -> None:
        self.needs = needs
        self.keyed = keyed

    def of_lane(self, lane: int) -> Sequence[Requirement]:
        return self.needs

    def has_keys(self, lane: int) -> bool:
        return bool(self.keyed)

    def goes_by_arguments(self, lane: int) -> bool:
        return self.has_keys(lane)

    def of_job(self, candidate: Candidate) -> Sequence[Requirement] | None:
        key = msgspec.json.decode(candidate.arguments or "")["key"]
        return [need._replace(gate=gate_name(need.gate, "kind", "work", "key", key)) for need in self.keyed]

    def priority(self, lane: int) -> int:
        return 0
