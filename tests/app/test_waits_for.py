"""A pending job says why it waits."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid

import pytest

import posthorse as ph
from posthorse.store.operations.runners import Runner, beat, register
from tests.waiting import until_state


def test_a_pending_job_says_why_it_is_not_run(store_url: str) -> None:
    app = ph.Posthorse(store_url)
    app.migrate()

    @app.job(queue="media")
    def resize() -> None: ...

    job = resize.enqueue()
    assert job.status().waits_for == "no worker is alive"
    runner = Runner(str(uuid.uuid4()), "w", "h", 1, "0", 2, (), ("resize",))
    app.store.run(register(runner, lease=60_000_000))
    assert job.status().waits_for is None
    app.store.run(beat(runner.id, lease=60_000_000, running=2, draining=False))
    assert job.status().waits_for == "every place of the workers that would take it is taken: 2 of 2, in w"
    app.store.run(beat(runner.id, lease=60_000_000, running=2, draining=True))
    assert job.status().waits_for == "all living workers that would take it are stopping: w"
    app.queue("media").pause()
    assert asyncio.run(job.astatus()).waits_for == "its queue 'media' is paused"
    app.queue("media").resume()
    with app.worker():
        assert until_state(job, "completed").waits_for is None
    app.close()


@pytest.mark.parametrize("of", ["kind", "queue", "live queue"])
def test_a_pending_job_tells_of_a_full_limit_of_all_its_kind(store_url: str, of: str) -> None:
    app = ph.Posthorse(store_url)
    app.migrate()
    limit = ph.Concurrency(1)
    go_on = threading.Event()

    @app.job(queue="media", concurrency=limit if of == "kind" else None)
    def resize() -> None:
        go_on.wait()

    if of == "queue":
        app.queue("media", concurrency=limit)
    if of == "live queue":
        app.queue("media").set(concurrency=limit)
    what = "kind resize" if of == "kind" else "queue media"
    with app.worker():
        first, second = resize.enqueue(), resize.enqueue()
        try:
            until_state(first, "processing")
            assert (
                second.status().waits_for
                == f"its limit is full: the concurrency of {what} lets 1 job run at a time, and 1 runs"
            )
            assert (
                asyncio.run(second.astatus()).waits_for
                == f"its limit is full: the concurrency of {what} lets 1 job run at a time, and 1 runs"
            )
        finally:
            go_on.set()
        until_state(second, "completed")
    app.close()


def test_a_pending_job_tells_when_its_rate_lets_it_start(store_url: str) -> None:
    app = ph.Posthorse(store_url)
    app.migrate()

    @app.job(rate="1/h")
    def report() -> None: ...

    with app.worker():
        first, second = report.enqueue(), report.enqueue()
        until_state(first, "completed")
        told = second.status().waits_for
        assert told is not None
        assert re.fullmatch(
            r"its limit is full: the rate of kind report lets one job start every 1h; the next turn comes in "
            r"(59m\d+s|1h) \(.* UTC\)",
            told,
        )
    app.close()
