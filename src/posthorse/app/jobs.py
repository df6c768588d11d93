"""Jobs that fit a filter: found when they are asked for, and steered in pages. Nothing is cached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec

from posthorse.app.job import Job
from posthorse.errors import NotAllowed
from posthorse.rules.filters import Filter
from posthorse.rules.job import State
from posthorse.rules.limits import Rate, as_rate
from posthorse.store.base import Operation
from posthorse.store.operations.bulk import FIRST, Page, count_matching, matching, steer_page
from posthorse.store.operations.moves import Request

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

T = TypeVar("T")

PAGE = 200
"""Jobs that are steered in one transaction: others wait for it, on SQLite all who write."""


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
        leave. Raises NotAllowed where the filter asks for another state, InvalidOption.
        """
        return self._run(self._retry(rate))

    async def aretry(self, *, rate: Rate | str | None = None) -> int:
        """See `retry`."""
        return await self._arun(self._retry(rate))

    def cancel(self) -> int:
        """Cancels those that are not over; answers with how many. Running ones end at their next checkpoint.

        Raises NotAllowed where the filter asks for a state in which jobs are over.
        """
        return self._run(self._cancel())

    async def acancel(self) -> int:
        """See `cancel`."""
        return await self._arun(self._cancel())

    def discard(self) -> int:
        """Takes dead letters off the list; answers with how many. They stay readable, as cancelled.

        Raises NotAllowed where the filter asks for another state.
        """
        return self._run(self._discard())

    async def adiscard(self) -> int:
        """See `discard`."""
        return await self._arun(self._discard())

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

    def _retry(self, rate: Rate | str | None) -> Generator[Operation[Page], Page, int]:
        limit = None if rate is None else as_rate(rate)
        pause = 0 if limit is None else round(limit.seconds * 1_000_000 / limit.count)
        return self._steered("retry", self._among("retried", State.FAILED, State.CANCELLED), pause=pause)

    def _discard(self) -> Generator[Operation[Page], Page, int]:
        return self._steered("discard", self._among("discarded", State.FAILED))

    def _cancel(self) -> Generator[Operation[Page], Page, int]:
        state = self._wanted.state
        if state is not None and state.is_final:
            raise NotAllowed(f"jobs that are {state.value} are over, so they cannot be cancelled; discard dead letters")
        return self._steered("cancel", self._wanted)

    def _among(self, verb: str, *allowed: State) -> Filter:
        """The filter with a state in which that can be done, the first of them unless it says another."""
        wanted = self._wanted
        if wanted.state is None:
            return msgspec.structs.replace(wanted, state=allowed[0])
        if wanted.state not in allowed:
            raise NotAllowed(f"jobs that are {wanted.state.value} cannot be {verb}; ask for state:{allowed[0].value}")
        return wanted

    def _steered(self, action: Request, wanted: Filter, *, pause: int = 0) -> Generator[Operation[Page], Page, int]:
        """Page after page; `pause` is microseconds between the starts of two jobs."""
        done = 0
        after: str | None = FIRST
        while after is not None:
            waits = range(done * pause, (done + PAGE) * pause, pause) if pause else ()
            channel = self._app.store.backend.channel
            page = yield steer_page(wanted, action, after=after, limit=PAGE, waits=waits, channel=channel)
            done += page.done
            after = page.last
        return done

    def _run(self, pages: Generator[Operation[T], T, int]) -> int:
        try:
            wanted = next(pages)
            while True:
                wanted = pages.send(self._app.store.run(wanted))
        except StopIteration as stop:
            answer: int = stop.value
            return answer

    async def _arun(self, pages: Generator[Operation[T], T, int]) -> int:
        try:
            wanted = next(pages)
            while True:
                wanted = pages.send(await self._app.store.arun(wanted))
        except StopIteration as stop:
            answer: int = stop.value
            return answer
