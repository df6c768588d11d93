"""The slots of a runner: how many jobs run at once, whatever becomes of those that were given up."""

from __future__ import annotations

import asyncio
from typing import cast

from posthorse.rules.emitter import Emitter
from posthorse.rules.job import Lane
from posthorse.rules.outcomes import Outcome, Returned
from posthorse.rules.queues import DEFAULTS
from posthorse.rules.registry import Registry
from posthorse.store.operations.claim import Claimed
from posthorse.worker.assembly import make_runner
from posthorse.worker.base.stop import StopSignal
from posthorse.worker.claiming.claim_values import ClaimedJob
from posthorse.worker.running.ended_jobs import EndedJobs
from posthorse.worker.running.executors import Executors
from posthorse.worker.running.running_job import RunningJob
from posthorse.worker.running.slots import Slots

JOB = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


class Run:
    """A job that runs until it is released; also its own executor."""

    def __init__(self, claimed: Claimed, begun: asyncio.Queue[Run]) -> None:
        self.claimed = claimed
        self.executor = self
        self.stop = StopSignal()
        self.label = f"job {claimed.job}"
        self.is_on_loop = True
        self.began = self.seconds = 0.0
        self.may_end = asyncio.Event()
        self._begun = begun

    async def run(self, _: RunningJob) -> Outcome:
        self._begun.put_nowait(self)
        await self.may_end.wait()
        return Returned(str(self.claimed.epoch))

    def lose(self) -> None:
        self.stop.ask("lost")


class Begins:
    """The executors."""

    def __init__(self, begun: asyncio.Queue[Run]) -> None:
        self._begun = begun

    def prepare(self, job: ClaimedJob) -> RunningJob:
        return cast("RunningJob", Run(job.claimed, self._begun))


def claimed(epoch: int) -> ClaimedJob:
    return ClaimedJob(Claimed(JOB, epoch, 1, 1, 0, 0, 0, None, None, None), Lane("mail", "letter"), DEFAULTS, None)


def test_a_job_that_comes_back_where_it_still_runs_takes_a_place_of_its_own() -> None:
    """As after a forced pause and a resume: the first run no longer counts; its end frees its slot."""

    async def main() -> None:
        begun, news = asyncio.Queue[Run](), asyncio.Event()
        ended = EndedJobs()
        ended.call(news.set)
        runner = make_runner(Registry(), queues=(), labels=(), concurrency=2, worker="slots")
        slots = Slots(runner, cast("Executors", Begins(begun)), ended, Emitter())
        slots.add([claimed(1)])
        first = await begun.get()
        slots.add([claimed(2)])
        second = await begun.get()
        assert (first.stop.request, second.stop.request) == ("lost", None)
        assert (slots.load, slots.spoilt) == (1, 1)
        assert not slots.release(cast("RunningJob", first))  # it was given up already, and the second is another one
        assert (slots.load, slots.spoilt) == (1, 1)
        first.may_end.set()
        await news.wait()
        news.clear()
        assert ended.take() == []
        assert (slots.load, slots.spoilt) == (1, 0)
        second.may_end.set()
        await news.wait()
        assert [outcome for _, outcome in ended.take()] == [Returned("2")]
        assert (slots.load, slots.spoilt) == (0, 0)

    asyncio.run(asyncio.wait_for(main(), 30))
