"""The decorators `around` and `around_enqueue`, of an application and of a kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from posthorse.rules.middleware import AroundEnqueue, AroundJob, RunningAttempt, Submission


class TakesMiddleware(ABC):
    """What middleware can surround."""

    @overload
    def around(
        self, function: Callable[[RunningAttempt], AsyncIterator[None]], /
    ) -> Callable[[RunningAttempt], AsyncIterator[None]]: ...
    @overload
    def around(
        self, function: Callable[[RunningAttempt], Iterator[None]], /
    ) -> Callable[[RunningAttempt], Iterator[None]]: ...

    def around(self, function: Callable[[RunningAttempt], Any], /) -> Callable[[RunningAttempt], Any]:
        """Run a generator function around each job: `@app.around` above `def timed(attempt): …; yield; …`.

        `@welcome.around` runs around the jobs of that kind alone, inside the middleware of the application.

        The part before its `yield` runs before the job's code, in the same thread or task and the same context; the
        rest runs after it. The first one declared is the outermost.

        An error of the job is raised at the `yield` and propagates afterwards. An error of the middleware counts as an
        error of the job, and replaces the job's own. A stop, a cancellation, ph.Snooze, ph.Retry, ph.GiveUp and the
        loss of the store propagate in any case.

        A plain generator runs around sync and async jobs, and must not block, because on the loop other jobs would
        wait. An async generator runs around async jobs only. Isolated jobs run theirs in the child process. Raises
        InvalidOption.
        """
        self._add_around(function)
        return function

    def around_enqueue(
        self, function: Callable[[Sequence[Submission]], Iterator[Sequence[Submission] | None]], /
    ) -> Callable[[Sequence[Submission]], Iterator[Sequence[Submission] | None]]:
        """Run a generator function around each call that enqueues: `@app.around_enqueue`.

        It receives all jobs of the call; `@welcome.around_enqueue` receives those of that kind. It may raise to refuse
        the whole call, or yield the jobs with other tags or metadata: `yield [job.tagged("vip") for job in jobs]`. An
        error of the call is raised at the `yield` and propagates afterwards. The first one declared is the outermost.
        It must not block. Raises InvalidOption.
        """
        self._add_around_enqueue(function)
        return function

    @abstractmethod
    def _add_around(self, function: AroundJob) -> None: ...

    @abstractmethod
    def _add_around_enqueue(self, function: AroundEnqueue) -> None: ...
