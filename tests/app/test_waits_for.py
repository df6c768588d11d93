"""A pending job says why it waits, when it is asked."""

from __future__ import annotations

import asyncio
import uuid

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
    assert job.status().waits_for == "every place of the workers that would take it is taken"
    app.store.run(beat(runner.id, lease=60_000_000, running=2, draining=True))
    assert job.status().waits_for == "no worker is alive"
    app.queue("media").pause()
    assert asyncio.run(job.astatus()).waits_for == "its queue 'media' is paused"
    app.queue("media").resume()
    with app.worker():
        assert until_state(job, "completed").waits_for is None
    app.close()
