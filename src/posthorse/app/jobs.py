"""Jobs that match a filter, found when they are needed and steered in pages. Nothing is cached."""

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


class Steered(NamedTuple):
    """How many jobs changed; `running` of them stop at their next checkpoint."""

    done: int
    running: int


class Jobs:
    """The jobs that match a filter, oldest first. Each method acts on the jobs that match at that moment.

    Iterate with `for` or `async for` to read them one by one.
    """

    def __init__(self, app: Posthorse, wanted: Filter) -> None:
        self._app = app
        self._wanted = wanted
        self._page_size = app.store.tuning.steering_page

    @verb
    def count(self) -> Verb[int]:
        """Return how many jobs match now."""
        return look_up(self._app, count_matching(self._wanted))

    acount = twin(count)

    @verb
    def retry(self, *, rate: Rate | str | None = None) -> Verb[int]:
        """Start dead letters again, or cancelled jobs with `state:cancelled`; return how many.

        rate: how many of them may start in a span of time, such as "10/s". The others wait as `scheduled`, even if the
        caller's process ends.

        Raises InvalidTransition if the filter names another state, InvalidOption for an empty filter.
        """
        return (yield from self._steered("retry", rate)).done

    aretry = twin(retry)

    @verb
    def pause(self) -> Verb[int]:
        """Pause jobs that are not over and not paused; return how many. Running ones stop at their next checkpoint.

        Raises InvalidTransition if the filter names another state, InvalidOption for an empty filter.
        """
        return (yield from self._steered("pause")).done

    apause = twin(pause)

    @verb
    def resume(self) -> Verb[int]:
        """Continue paused jobs, and running ones with a pending pause; return how many. Raises as `pause`."""
        return (yield from self._steered("resume")).done

    aresume = twin(resume)

    @verb
    def cancel(self) -> Verb[int]:
        """Cancel jobs that are not over; return how many. Running ones end at their next checkpoint.

        Raises InvalidTransition if the filter names a final state, InvalidOption for an empty filter.
        """
        return (yield from self._steered("cancel")).done

    acancel = twin(cancel)

    @verb
    def discard(self) -> Verb[int]:
        """Remove dead letters from the list; return how many. They stay readable, as cancelled.

        Raises InvalidTransition if the filter names another state, InvalidOption for an empty filter.
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
        """Return jobs after a given one, and the one after which to look for more, or None."""
        found = yield from look_up(self._app, matching(self._wanted, after=after, limit=self._page_size))
        more = found[-1] if len(found) == self._page_size else None
        return [Job(self._app, job_id) for job_id in found], more

    def _steered(self, action: Request, rate: Rate | str | None = None) -> Verb[Steered]:
        """Steer page after page; with a rate, each job starts so much later than the one before."""
        limit = None if rate is None else as_rate(rate)
        pause = 0 if limit is None else round(limit.seconds * 1_000_000 / limit.count)
        done = running = 0
        for aim in aims(self._wanted, action):
            after: str | None = FIRST
            while after is not None:
                waits = range(done * pause, (done + self._page_size) * pause, pause) if pause else ()
                steered = steer_page(
                    aim,
                    action,
                    after=after,
                    limit=self._page_size,
                    waits=waits,
                    packing=self._app.registry.packing,
                )
                page = yield from commit(self._app, steered)
                done, running, after = done + page.done, running + page.running, page.last
        return Steered(done, running)

    def _affected(self, action: Request) -> Verb[int]:
        count = 0
        for aim in aims(self._wanted, action):
            if action in ("retry", "discard"):  # all jobs in that state
                count += yield from look_up(self._app, count_matching(aim))
                continue
            after: str | None = FIRST
            while after is not None:
                page = yield from look_up(self._app, affected_page(aim, action, after=after, limit=self._page_size))
                count, after = count + page.done, page.last
        return count


def steer(jobs: Jobs, action: Request, *, rate: Rate | str | None = None) -> Steered:
    """Do what the method of that name does; also return how many jobs run. For the command line."""
    return drive(jobs._steered(action, rate))  # pyright: ignore[reportPrivateUsage]


def affected(jobs: Jobs, action: Request) -> int:
    """Return how many jobs an action would steer now. For the command line."""
    return drive(jobs._affected(action))  # pyright: ignore[reportPrivateUsage]
