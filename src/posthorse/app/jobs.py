"""Jobs that match a filter, found when they are needed and steered in pages. Nothing is cached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from posthorse.app.finding import count_of, exact_count_of, page_of, walk
from posthorse.app.job import Job
from posthorse.app.page import Count, Page
from posthorse.app.verbs import Verb, adrive, commit, drive, look_over, twin, verb
from posthorse.rules.durations import Duration
from posthorse.rules.limits import Rate, as_rate
from posthorse.rules.requests import Request
from posthorse.rules.search.aims import aims, moved_on
from posthorse.rules.search.budget import BUDGET, first_window
from posthorse.rules.search.filter import Filter
from posthorse.rules.search.page_cursor import Position
from posthorse.store.blocking import warn_in_loop
from posthorse.store.operations import bulk
from posthorse.store.operations.bulk import Steered
from posthorse.store.operations.finding import Route, route

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


class _Walk(NamedTuple):
    """Where jobs are read, and how many are looked at next."""

    on: Route
    after: Position | None
    window: int


class Jobs:
    """The jobs that match a filter, oldest first. Each method acts on the jobs that match at that moment.

    Iterate with `for` or `async for` to read them one by one; `page` reads some of them, newest first, and takes only a
    moment.
    """

    def __init__(self, app: Posthorse, wanted: Filter) -> None:
        self._app = app
        self._wanted = wanted
        self._page_size = app.store.tuning.steering_page

    @verb
    def page(self, limit: int = 50, *, after: str | None = None, within: Duration = BUDGET) -> Verb[Page]:
        """Return the newest jobs that match, `limit` at most, and how far back was searched for them.

        after: the cursor `next` of the page before. within: how long to search if few jobs match.

        If the time is over before the page is full, the page says so: `page.searched.complete` is False, and the next
        page goes on from there. Raises InvalidOption, also for the cursor of another filter.
        """
        return page_of(self._app, self._wanted, limit, after, within)

    apage = twin(page)

    @verb
    def count(self) -> Verb[int]:
        """Return how many jobs match now. With millions of jobs that takes as long as reading them: see `counted`."""
        return exact_count_of(self._app, self._wanted)

    acount = twin(count)

    @verb
    def counted(self, *, within: Duration = BUDGET) -> Verb[Count]:
        """Count jobs that match for a moment: up to 10,000 exactly, if the time is enough; else "at least" so many."""
        return count_of(self._app, self._wanted, within)

    acounted = twin(counted)

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
        steps = drive(self._begin(self._wanted))
        while steps is not None:
            found, steps = drive(self._next(steps))
            for place in found:
                yield Job(self._app, place.job)

    async def __aiter__(self) -> AsyncIterator[Job[object]]:
        steps = await adrive(self._begin(self._wanted))
        while steps is not None:
            found, steps = await adrive(self._next(steps))
            for place in found:
                yield Job(self._app, place.job)

    def _begin(self, wanted: Filter) -> Verb[_Walk | None]:
        """Begin to read jobs, the oldest first."""
        on = yield from look_over(self._app, route(wanted))
        return _Walk(on, None, first_window(self._page_size, judges=bool(on.plan.rest)))

    def _next(self, steps: _Walk) -> Verb[tuple[Sequence[Position], _Walk | None]]:
        """Return the next jobs, and where to go on; None at the end."""
        seen, window = yield from walk(self._app, steps.on, steps.after, steps.window, self._page_size)
        if seen.is_end:
            return seen.found, None
        return seen.found, _Walk(steps.on, seen.last or steps.after, window)

    def _steered(self, action: Request, rate: Rate | str | None = None) -> Verb[Steered]:
        """Steer page after page; with a rate, each job starts so much later than the one before."""
        limit = None if rate is None else as_rate(rate)
        pause = 0 if limit is None else round(limit.seconds * 1_000_000 / limit.count)
        done = running = 0
        chosen = aims(self._wanted, action)
        again = () if self._wanted.states else (self._wanted.with_state(state) for state in moved_on(action))
        for aim in (*chosen, *again):
            [state] = aim.states
            steps = yield from self._begin(aim)
            while steps is not None:
                found, steps = yield from self._next(steps)
                jobs = yield from self._affected_of(found, action)
                if jobs:
                    waits = range(done * pause, (done + self._page_size) * pause, pause) if pause else ()
                    steered = bulk.steer(jobs, state, action, waits=waits, packing=self._app.registry.packing)
                    page = yield from commit(self._app, steered)
                    done, running = done + page.done, running + page.running
        return Steered(done, running)

    def _affected(self, action: Request) -> Verb[int]:
        count = 0
        for aim in aims(self._wanted, action):
            if action in ("retry", "discard"):  # all jobs in that state
                count += yield from exact_count_of(self._app, aim)
                continue
            steps = yield from self._begin(aim)
            while steps is not None:
                found, steps = yield from self._next(steps)
                count += len((yield from self._affected_of(found, action)))
        return count

    def _affected_of(self, found: Sequence[Position], action: Request) -> Verb[Sequence[str]]:
        """Return the jobs that the action changes; those that were asked before are left alone."""
        jobs = [place.job for place in found]
        if not jobs or action in ("retry", "discard"):
            return jobs
        return (yield from look_over(self._app, bulk.affected(jobs, action)))


def steer(jobs: Jobs, action: Request, *, rate: Rate | str | None = None) -> Steered:
    """Do what the method of that name does; also return how many jobs run. For the command line."""
    return drive(jobs._steered(action, rate))  # pyright: ignore[reportPrivateUsage]


def affected(jobs: Jobs, action: Request) -> int:
    """Return how many jobs an action would steer now. For the command line."""
    return drive(jobs._affected(action))  # pyright: ignore[reportPrivateUsage]
