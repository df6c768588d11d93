"""`posthorse prune` and `delete`: what they remove, what they show before, and what stays."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

import posthorse as ph
from posthorse.cli.exits import Exit
from posthorse.clock import SECOND, Clock
from tests.cli.conftest import Shop
from tests.waiting import until_state

HOURS = 3600 * SECOND


@pytest.fixture
def jobs(shop: Shop) -> list[ph.Job[object]]:
    """Make two completed jobs and a dead letter that ended five hours ago, in a store that keeps completed ones for
    four."""
    app = ph.Posthorse(shop.url, clock=Clock(-5 * HOURS), keep="4h")
    app.job(kind="welcome", max_attempts=1)(welcome)
    kind: ph.Kind[[int], object] = ph.Kind(app, app.registry["welcome"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("posthorse.ids.time", SimpleNamespace(time_ns=lambda: time.time_ns() - 5000 * HOURS))
        patched.setattr("posthorse.ids._last", 0)
        jobs = app.enqueue_many([kind.bind(number) for number in (1, 2, -3)])
    with app.worker():
        for job in jobs:
            until_state(job, "completed", "failed")
    app.close()
    return jobs


def welcome(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return number


def test_a_dry_run_shows_what_would_leave_and_prune_removes_it(shop: Shop, jobs: list[ph.Job[object]]) -> None:
    heading, row = shop.done("prune", "--dry-run").splitlines()
    assert heading.split() == ["KIND", "STATE", "JOBS", "OLDEST"]
    assert row.split()[:3] == ["welcome", "completed", "2"]
    told = json.loads(shop.run("prune", "--dry-run", "--json").stdout)
    assert [(one["kind"], one["state"], one["jobs"]) for one in told] == [("welcome", "completed", 2)]
    assert shop.json("prune", "--older-than", "6h") == {"removed": 0, "results_removed": 0, "bytes_freed": None}
    assert shop.done("prune") == "2 jobs removed"
    gone = shop.run("show", jobs[0].id)
    assert gone.exit_code == Exit.NOT_FOUND
    assert "because retention keeps no job for so long" in gone.stderr
    assert "failed" in shop.done("show", jobs[2].id)
    assert "No job is old enough to leave" in shop.run("prune", "--dry-run").stderr


def test_prune_needs_no_store_with_jobs(shop: Shop) -> None:
    assert shop.done("prune") == "0 jobs removed"
    assert shop.json("prune", "--dry-run") == []


def test_compact_makes_the_file_smaller(shop: Shop, jobs: list[ph.Job[object]]) -> None:
    shop.done("prune")
    told = shop.json("prune", "--compact")
    assert isinstance(told, dict)
    assert told["bytes_freed"] >= 0
    assert "failed" in shop.done("show", jobs[2].id)
    assert shop.run("prune", "--compact", "--dry-run").exit_code == Exit.USAGE


def test_compact_is_refused_beside_a_worker(shop: Shop) -> None:
    shop.done("enqueue", "welcome", "1")
    with shop.working():
        refused = shop.run("prune", "--compact")
    assert refused.exit_code == Exit.USAGE
    assert "stop the workers first" in refused.stderr


def test_a_span_that_is_none_is_refused(shop: Shop) -> None:
    refused = shop.run("prune", "--older-than", "soon")
    assert refused.exit_code == Exit.USAGE
    assert "--older-than is 'soon', which is not a duration" in refused.stderr


def test_delete_removes_one_job_for_good(shop: Shop, jobs: list[ph.Job[object]]) -> None:
    assert shop.done("delete", jobs[2].id) == f"deleted  {jobs[2].id}"
    assert shop.run("show", jobs[2].id).exit_code == Exit.NOT_FOUND
    waiting = shop.done("enqueue", "welcome", "1")
    refused = shop.run("delete", waiting, jobs[0].id, "--json")
    assert refused.exit_code == Exit.CONFLICT
    assert "cancel it first" in refused.stderr
    assert [line.split(",")[1] for line in refused.stdout.splitlines()] == ['"deleted":false', '"deleted":true']


def test_retention_is_set_and_shown_on_a_queue(shop: Shop) -> None:
    shop.done("queues", "set", "mail", "keep=3d")
    assert "keep=3d" in shop.done("queues")
    shop.done("queues", "set", "mail", "keep=failed=forever,results=1h")
    assert "failed=forever,results=1h" in shop.done("queues")
    refused = shop.run("queues", "set", "mail", "keep=soon")
    assert refused.exit_code == Exit.USAGE
    assert '"forever" keeps them' in refused.stderr
