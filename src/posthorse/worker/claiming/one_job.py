"""One job: the claims of a worker that runs this job and no other. It does not know how jobs are run."""

from __future__ import annotations

from posthorse.rules.job import State
from posthorse.store.operations import read
from posthorse.store.operations.claim import Claimed
from posthorse.store.operations.runs import claim_one, is_due, waits_for_its_time
from posthorse.store.store import Store


class OneJob:
    """The job of such a worker. With `at_once`, its first claim does not wait for the job's time."""

    def __init__(self, job: str, *, at_once: bool) -> None:
        self.job = job
        self._at_once = at_once

    async def claim(self, store: Store, runner: str) -> list[Claimed]:
        """Claim the job; return nothing while it may not run. Looking first does not wait for a write lock."""
        row = await store.aread(read.job(self.job))
        if row is None:
            return []
        state = State(row.state)
        is_early = waits_for_its_time(state) and not is_due(row.run_at, row.now)
        if not (state is State.PENDING or waits_for_its_time(state)) or (is_early and not self._at_once):
            return []
        claimed = await store.arun(claim_one(runner, self.job, early=self._at_once))
        if claimed:
            self._at_once = False
        return claimed
