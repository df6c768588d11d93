"""Children under SIGKILL: each is added once and counted once, whichever process dies."""

from __future__ import annotations

import pytest

import posthorse as ph
from tests.crash.application import adding, adding_async
from tests.crash.harness import Crash

COUNT = 3


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        (adding, "before_add_commit:kill:2"),
        (adding_async, "after_add_commit:kill:2"),
        (adding, "before_settle:kill"),
        pytest.param(adding_async, "after_settle:kill", marks=pytest.mark.soak),
        (adding_async, "before_release:kill"),
    ],
)
def test_a_kill_around_children_adds_and_counts_each_once(
    crash: Crash, kind: ph.Kind[[int], list[int]], point: str
) -> None:
    job = kind.enqueue(COUNT)
    crash.start(failpoint=point, lives=1)
    crash.drain([job])
    assert (crash.directory / "lives").stat().st_size == 0, "it was killed"
    assert job.result() == [*range(COUNT), *range(COUNT)]
    assert len(job.graph().nodes) == 2 * COUNT
    crash.check()
