"""How many workers a queue needs."""

from __future__ import annotations

import pytest

from posthorse.rules.scaling import MAX_WORKERS, Load, desired_workers


@pytest.mark.parametrize(
    ("load", "desired"),
    [
        (Load(0, 0, 0.0, 0.0), 0),
        (Load(0, 25, 0.0, 0.0), 3),  # what runs keeps its workers, though nothing waits
        (Load(0, 0, 11.6, 10.0), 14),  # 116 jobs at once, and a fifth more
        (Load(600, 0, 0.0, 10.0), 20),  # 600 jobs of 10 s within 30 s take 200 places
        (Load(7, 0, 0.0, 0.0), 1),  # a time that is unknown
        (Load(10**9, 0, 0.0, 3600.0), MAX_WORKERS),
    ],
)
def test_what_runs_what_comes_and_what_waits_count(load: Load, desired: int) -> None:
    assert desired_workers(load, concurrency=10, target_wait=30.0) == desired
