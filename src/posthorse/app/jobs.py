"""Jobs that fit a filter: found when they are asked for, and steered in pages. Nothing is cached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, NamedTuple

from posthorse.app.job import Job
from posthorse.app.verbs import Verb, adrive, commit, drive, look_up, twin, verb
from posthorse.rules.filters import Filter, aims
from posthorse.rules.lifecycle import Request
from posthorse.rules.limits import Rate, as_rate
from posthorse.store.blocking import warn_in_loop
from posthorse.store.operations.bulk import FIRST, affected_page, count_matching, matching, steer_page

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

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

    @verb
    def count(self) -> Verb[int]:
        """Count those that fit now."""
        return look_up(self._app, count_matching(self._wanted))

    acount = twin(count)

    @verb
    def retry(self, *, rate: Rate | str | None = None) -> Verb[int]:
        """Start dead letters again, or with `state:cancelled` cancelled jobs; return how many.

        rate: how many of them may start in a time, such as "10/s": the others wait as `scheduled`, also when the caller
        has left. Raises InvalidTransition where the filter asks for another state, InvalidOption for an empty one.
        """
        return (yield from self._steered("retry", rate)).done

    aretry = twin(retry)

    @verb
    def pause(self) -> Verb[int]:
        """Pause those that are not over and not paused; return how many. Running ones stop at their next checkpoint.

        Raises InvalidTransition where the filter asks for another state, InvalidOption for an empty one.
        """
        return (yield from self._steered("pause")).done

    apause = twin(pause)

    @verb
    def resume(self) -> Verb[int]:
        """Let paused jobs go on, and running ones that were asked to pause; return how many. Raises as `pause`."""
        return (yield from self._steered("resume")).done

    aresume = twin(resume)

    @verb
    def cancel(self) -> Verb[int]:
        """Cancel those that are not over; return how many. Running ones end at their next checkpoint.

        Raises InvalidTransition where the filter asks for a final state, InvalidOption for an empty one.
        """
        return (yield from self._steered("cancel")).done

    acancel = twin(cancel)

    @verb
    def discard(self) -> Verb[int]:
        """Take dead letters off the list; return how many. They stay readable, as cancelled.

        Raises InvalidTransition where the filter asks for another state, InvalidOption for an empty one.
        """
        return (yield from self._steered("discard")).done

    adiscard = twin(discard)

    def __iter__(self) -> Iterator[Job[object]]:
        warn_in_loop(self._app.store, "`for … in app.jobs(…)`", "write `async for`")
        after: str | None = FIRST
        while after is not None:
            found, after = drive(self._page(after))
            yield from found

    async def __aiter__(self) -> AsyncIterator[Job[object]]:
        after: str | None = FIRST
        while after is not None:
            found, after = await adrive(self._page(after))
            for job in found:
                yield job

    def _page(self, after: str) -> Verb[tuple[list[Job[object]], str | None]]:
        """Find jobs after a given one; return them, and the one after which to look for others, or None."""
        found = yield from look_up(self._app, matching(self._wanted, after=after, limit=PAGE))
        return [Job(self._app, job_id) for job_id in found], found[-1] if len(found) == PAGE else None

    def _steered(self, action: Request, rate: Rate | str | None = None) -> Verb[Steered]:
        """Page after page; with a rate each starts so much later than the one before."""
        limit = None if rate is None else as_rate(rate)
        pause = 0 if limit is None else round(limit.seconds * 1_000_000 / limit.count)
        done = running = 0
        for aim in aims(self._wanted, action):
            after: str | None = FIRST
            while after is not None:
                waits = range(done * pause, (done + PAGE) * pause, pause) if pause else ()
                channel = self._app.store.backend.channel
                steered = steer_page(aim, action, after=after, limit=PAGE, waits=waits, channel=channel)
                page = yield from commit(self._app, steered)
                done, running, after = done + page.done, running + page.running, page.last
        return Steered(done, running)

    def _affected(self, action: Request) -> Verb[int]:
        count = 0
        for aim in aims(self._wanted, action):
            if action in ("retry", "discard"):  # whatever is in that state
                count += yield from look_up(self._app, count_matching(aim))
                continue
            after: str | None = FIRST
            while after is not None:
                page = yield from look_up(self._app, affected_page(aim, action, after=after, limit=PAGE))
                count, after = count + page.done, page.last
        return count


def steer(jobs: Jobs, action: Request, *, rate: Rate | str | None = None) -> Steered:
    """Do what the method of that name does, and tell also how many jobs run. For the command line."""
    return drive(jobs._steered(action, rate))  # pyright: ignore[reportPrivateUsage]


def affected(jobs: Jobs, action: Request) -> int:
    """Return how many jobs an action would steer now. For the command line."""
    return drive(jobs._affected(action))  # pyright: ignore[reportPrivateUsage]
