"""Jobs that fit a filter: found when they are asked for, and steered in pages. Nothing is cached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from posthorse.app.job import Job
from posthorse.rules.filters import Filter, aims
from posthorse.rules.limits import Rate, as_rate
from posthorse.store.base import Operation
from posthorse.store.operations.bulk import FIRST, Page, affected_page, count_matching, matching, steer_page
from posthorse.store.operations.moves import Request

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

T = TypeVar("T")

PAGE = 200
"""Jobs that are steered in one transaction: others wait for it, on SQLite all who write."""


class Steered(NamedTuple):
    """How many jobs did as asked; `running` of them do so at their next checkpoint."""

    done: int
    running: int


class Jobs:
    """Jobs that fit a filter, the oldest first; what is asked of them is asked of those that fit at that moment.

    Iterate, with `for` or `async for`, to look at each one.
    """

    def __init__(self, app: Posthorse, wanted: Filter) -> None:
        self._app = app
        self._wanted = wanted

    def count(self) -> int:
        """How many they are now."""
        return self._app.store.read(count_matching(self._wanted))

    async def acount(self) -> int:
        """See `count`."""
        return await self._app.store.aread(count_matching(self._wanted))

    def retry(self, *, rate: Rate | str | None = None) -> int:
        """Starts dead letters again, or with `state:cancelled` cancelled jobs; answers with how many.

        rate: how many of them may start in a time, such as "10/s": the others wait as `scheduled`, whoever asked may
        leave. Raises InvalidTransition where the filter asks for another state, InvalidOption for an empty one.
        """
        return self._run(self._steered("retry", rate)).done

    async def aretry(self, *, rate: Rate | str | None = None) -> int:
        """See `retry`."""
        return (await self._arun(self._steered("retry", rate))).done

    def pause(self) -> int:
        """Pause those that are not over and not paused; return how many. Running ones stop at their next checkpoint.

        Raises InvalidTransition where the filter asks for another state, InvalidOption for an empty one.
        """
        return self._run(self._steered("pause")).done

    async def apause(self) -> int:
        """See `pause`."""
        return (await self._arun(self._steered("pause"))).done

    def resume(self) -> int:
        """Let paused jobs go on, and running ones that were asked to pause; return how many. Raises as `pause`."""
        return self._run(self._steered("resume")).done

    async def aresume(self) -> int:
        """See `resume`."""
        return (await self._arun(self._steered("resume"))).done

    def cancel(self) -> int:
        """Cancels those that are not over; answers with how many. Running ones end at their next checkpoint.

        Raises InvalidTransition where the filter asks for a final state, InvalidOption for an empty one.
        """
        return self._run(self._steered("cancel")).done

    async def acancel(self) -> int:
        """See `cancel`."""
        return (await self._arun(self._steered("cancel"))).done

    def discard(self) -> int:
        """Takes dead letters off the list; answers with how many. They stay readable, as cancelled.

        Raises InvalidTransition where the filter asks for another state, InvalidOption for an empty one.
        """
        return self._run(self._steered("discard")).done

    async def adiscard(self) -> int:
        """See `discard`."""
        return (await self._arun(self._steered("discard"))).done

    def __iter__(self) -> Iterator[Job[object]]:
        after: str | None = FIRST
        while after is not None:
            found = self._app.store.read(matching(self._wanted, after=after, limit=PAGE))
            yield from (Job[object](self._app, job_id) for job_id in found)
            after = found[-1] if len(found) == PAGE else None

    async def __aiter__(self) -> AsyncIterator[Job[object]]:
        after: str | None = FIRST
        while after is not None:
            found = await self._app.store.aread(matching(self._wanted, after=after, limit=PAGE))
            for job_id in found:
                yield Job[object](self._app, job_id)
            after = found[-1] if len(found) == PAGE else None

    def _steered(self, action: Request, rate: Rate | str | None = None) -> Generator[Operation[Page], Page, Steered]:
        """Page after page; with a rate each starts so much later than the one before."""
        limit = None if rate is None else as_rate(rate)
        pause = 0 if limit is None else round(limit.seconds * 1_000_000 / limit.count)
        done = running = 0
        for aim in aims(self._wanted, action):
            after: str | None = FIRST
            while after is not None:
                waits = range(done * pause, (done + PAGE) * pause, pause) if pause else ()
                channel = self._app.store.backend.channel
                page = yield steer_page(aim, action, after=after, limit=PAGE, waits=waits, channel=channel)
                done, running, after = done + page.done, running + page.running, page.last
        return Steered(done, running)

    def _affected(self, action: Request) -> int:
        count = 0
        for aim in aims(self._wanted, action):
            if action in ("retry", "discard"):  # whatever is in that state
                count += self._app.store.read(count_matching(aim))
                continue
            after: str | None = FIRST
            while after is not None:
                page = self._app.store.read(affected_page(aim, action, after=after, limit=PAGE))
                count, after = count + page.done, page.last
        return count

    def _run(self, pages: Generator[Operation[T], T, Steered]) -> Steered:
        try:
            wanted = next(pages)
            while True:
                wanted = pages.send(self._app.store.run(wanted))
        except StopIteration as stop:
            answer: Steered = stop.value
            return answer

    async def _arun(self, pages: Generator[Operation[T], T, Steered]) -> Steered:
        try:
            wanted = next(pages)
            while True:
                wanted = pages.send(await self._app.store.arun(wanted))
        except StopIteration as stop:
            answer: Steered = stop.value
            return answer


def steer(jobs: Jobs, action: Request, *, rate: Rate | str | None = None) -> Steered:
    """Do what the method of that name does, and tell also how many jobs run. For the command line."""
    return jobs._run(jobs._steered(action, rate))  # pyright: ignore[reportPrivateUsage]


def affected(jobs: Jobs, action: Request) -> int:
    """Return how many jobs an action would steer now. For the command line."""
    return jobs._affected(action)  # pyright: ignore[reportPrivateUsage]
