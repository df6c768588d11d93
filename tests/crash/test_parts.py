"""Parts under SIGKILL: when a job is cut, when a part gives half of its rest away, and when the results are joined."""

from __future__ import annotations

import pytest

from tests.crash.application import cut, total_of
from tests.crash.harness import Crash

COUNT, SIZE = 120, 2


@pytest.mark.parametrize(
    ("point", "lives"),
    [
        ("before_settle:kill", 1),
        ("after_settle:kill", 1),
        ("before_share_commit:kill", 2),
        ("after_share_commit:kill", 2),
        ("before_combine:kill", 1),
    ],
)
def test_every_item_comes_once_wherever_its_runner_dies(crash: Crash, point: str, lives: int) -> None:
    job = cut.enqueue(COUNT, SIZE)
    crash.start(processes=2, concurrency=2, failpoint=point, lives=lives)
    crash.drain([job])
    assert (crash.directory / "lives").stat().st_size < lives, f"no runner was killed at {point}"
    assert job.result(timeout=1) == total_of(COUNT)
    parts = [row.id for row in crash.ledger.jobs() if row.id != job.id]
    assert len(parts) > 2, "nothing was given away"
    met = [[effect.item for effect in crash.ledger.effects(part)] for part in parts]
    assert sorted(item for items in met for item in items) == list(range(COUNT))
    assert all(items == list(range(items[0], items[-1] + 1)) for items in met if items)
    assert all(row.errors == 0 for row in crash.ledger.jobs())
    crash.check()
