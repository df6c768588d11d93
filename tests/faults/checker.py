"""The checker: a history and the final state of its store in, violations out, as sentences that name their invariant.

Pure: it reads no files and no clock, so a saved history can be judged again. Operations count as in Jepsen's histories:
`ok` was done, `fail` was not, `info` may have been.

ELSEWHERE says what is not judged here, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.faults.case import Case
from tests.faults.invariants import acceptance, effects, leases, limits, lives, processes

Judge = Callable[[Case], Iterator[str]]

INVARIANTS: dict[str, Judge] = {
    "I1 NO-LOSS": acceptance.no_loss,
    "I2 NO-PHANTOM": acceptance.no_phantom,
    "I3 ONE-KEY": acceptance.one_key,
    "I4 ONE-LEASE": leases.one_lease,
    "I5 FENCED": leases.fenced,
    "I6 ONE-END": lives.one_end,
    "I7 LEGAL-EDGE": lives.legal_edge,
    "I8 BUDGET": leases.within_budget,
    "I9 EFFECT": effects.effects,
    "I10 NOT-EARLY": lives.not_early,
    "I11 LIVENESS": leases.starts_in_time,
    "I12 RECOVERY": leases.recovered,
    "I13 CAP": limits.capped,
    "I14 RATE": limits.rated,
    "I15 CANCEL": lives.cancelled_for_good,
    "I17 CRON": acceptance.one_job_an_instant,
    "I18 ORDER": limits.in_order,
    "I19 UNIQUE": acceptance.unique,
    "I20 EVENTS": lives.gapless,
    "I22 NO-ORPHAN": processes.no_orphan,
    "I23 SOUND": processes.sound,
    "I27 BOUNDED": processes.bounded,
    "I28 MONOTONE": lives.monotone,
    "I30 CLEAN-STOP": processes.clean_stop,
}

ELSEWHERE: dict[str, str] = {
    "I16 DAG": "there are no dependencies between jobs yet",
    "I21 HOOKS": "there are no deliveries of events yet",
    "I24 TENANT": "there is no interface yet that separates tenants",
    "I25 SECRET": "not a matter of order: tests/rules/test_settings.py, tests/cli",
    "I26 CLEAN-ERROR": "not a matter of order: tests/cli, tests/rules/test_signature.py",
    "I29 BROKERLESS": "there are no brokers yet",
}
"""Invariants that no history can show, or that belong to features that are not built."""

MAX_TOLD = 10
"""Violations of one invariant that are listed; the rest are counted."""


def violations(case: Case) -> list[str]:
    """Return all violations, by invariant."""
    found: list[str] = []
    for name, judge in INVARIANTS.items():
        sentences = list(judge(case))
        found += [f"{name}: {sentence}" for sentence in sentences[:MAX_TOLD]]
        if len(sentences) > MAX_TOLD:
            found.append(f"{name}: and {len(sentences) - MAX_TOLD} more")
    return found
