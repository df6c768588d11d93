"""Proof under fault: everything at once, on each store, and the checker's judgement after heal and drain.

A red run prints its seed and the command that repeats it, and keeps its history. FAULTS_SEED replaces the seed;
FAULTS_KEEP names a folder for all histories, including those of sound runs. Long runs: `make soak MINUTES=10`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.__main__ import again, run_trial
from tests.faults.workloads import WORKLOADS

SECONDS = {"sqlite": 15.0, "postgres": 15.0}
"""Seconds of faults; starting, draining and stopping take the same time again."""

SEED = 7


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", SECONDS)
def test_nothing_is_lost_doubled_or_disordered_under_fault(store: str) -> None:
    _is_sound(store, seed=SEED, seconds=SECONDS[store])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 105))
@pytest.mark.parametrize("store", SECONDS)
def test_nothing_is_lost_doubled_or_disordered_under_many_faults(store: str, seed: int) -> None:
    _is_sound(store, seed=seed, seconds=60.0)


def _is_sound(store: str, *, seed: int, seconds: float) -> None:
    seed = int(os.environ.get("FAULTS_SEED", seed))
    keep = os.environ.get("FAULTS_KEEP")
    judgement = run_trial(
        store, seed=seed, seconds=seconds, keep=None if keep is None else Path(keep), workloads=list(WORKLOADS)
    )
    assert not judgement.violations, f"seed {seed}; again: {again(store, seed, seconds)}\n{judgement}"
    _did_something(judgement.counts)
    assert len(judgement.faults) >= 3, f"only {judgement.faults} were done"


def _did_something(counts: dict[str, int]) -> None:
    """Fail if nothing happened, because such a run proves nothing."""
    for what in ("submit ok", "submit fail", "slice ok", "cancel ok", "pause ok", "status ok", "effect ok"):
        assert counts.get(what, 0) > 0, f"no {what}: {counts}"
