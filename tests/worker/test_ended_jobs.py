"""The queue of ended jobs: nothing in it waits for a second wake, and one turn has one wake."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import cast

from posthorse.rules.outcomes import Outcome, Returned
from posthorse.worker.running.ended_jobs import EndedJobs
from posthorse.worker.running.running_job import RunningJob

JOB = cast("RunningJob", object())


of_a_job: ContextVar[str | None] = ContextVar("of_a_job", default=None)


class Reader:
    """A reader that takes what there is whenever it is called."""

    def __init__(self) -> None:
        self.ended = EndedJobs()
        self.ended.call(self.read)
        self.taken: list[list[Outcome]] = []

    def read(self) -> None:
        self.taken.append([outcome for _, outcome in self.ended.take()])


def test_what_comes_in_one_turn_is_read_at_once_and_once() -> None:
    async def main() -> None:
        reader = Reader()
        for number in range(3):
            reader.ended.put(JOB, Returned(str(number)))
        reader.ended.leave_gates()
        reader.ended.wake()
        assert reader.taken == []
        await asyncio.sleep(0)
        assert reader.taken == [[Returned("0"), Returned("1"), Returned("2")]]
        assert reader.ended.has_left_gates
        await asyncio.sleep(0)
        assert len(reader.taken) == 1

    asyncio.run(main())


def test_the_reader_sees_no_context_variables_of_jobs() -> None:
    async def main() -> None:
        ended, seen = EndedJobs(), list[str | None]()
        ended.call(lambda: seen.append(of_a_job.get()))
        of_a_job.set("secret")
        ended.put(JOB, Returned("1"))
        await asyncio.sleep(0)
        assert seen == [None]

    asyncio.run(main())


def test_what_comes_after_a_look_is_read_in_the_turn_after_it() -> None:
    async def main() -> None:
        reader = Reader()
        reader.ended.put(JOB, Returned("0"))
        await asyncio.sleep(0)
        reader.ended.put(JOB, Returned("1"))
        await asyncio.sleep(0)
        assert reader.taken == [[Returned("0")], [Returned("1")]]

    asyncio.run(main())
