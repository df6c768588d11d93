"""Every error that Posthorse raises, in one tree; messages say what happened, why, and what to do now.

PosthorseError
├── UsageError (ValueError)          the call itself is wrong; nothing was written
│   ├── InvalidArgument              an argument of a job does not fit its signature
│   ├── InvalidOption                an option, duration, priority … is invalid
│   ├── InvalidSettings              the configuration is invalid
│   ├── InvalidCall (RuntimeError)   a call that is not possible here: twice, or inside a running loop
│   ├── DuplicateKind                two functions with one kind
│   ├── InvalidSource (TypeError)    the source of a loop cannot be resumed
│   ├── UnknownKind                  a kind that this application does not register
│   │   └── UnknownCommand           a command that no handler is registered for
│   └── TooLarge                     arguments, result or kept values beyond their limit
├── StoreError
│   ├── StoreUnreachable             the store does not respond
│   ├── SchemaMismatch               the store was made by an older or newer Posthorse
│   ├── OutcomeUnknown               the reply to a commit was lost, and retrying did not show the outcome
│   └── TookTooLong                  a look at many jobs did not end in time, and was ended
├── JobNotFound (LookupError)
│   └── JobForgotten                 retention has removed the job
├── ResultExpired (LookupError)      retention has removed the result of the job
├── ScheduleNotFound (LookupError)
├── StockNotFound (LookupError)
├── KeyConflict                      same key, other arguments
├── NotUnique                        the same job already exists, and on_conflict is "raise"
├── QueueFull                        the queue has as many waiting jobs as it may have
├── QueueClosed                      the queue is being drained and accepts no new jobs
├── StockEmpty (LookupError)         a stock has no result, and none came in time
├── CodecError                       a text could not be packed, or a stored one not unpacked
├── JobFailed                        result() of a job that failed
├── JobCancelled                     result() of a job that was cancelled
├── EventTimeout                     the event that a job waits for did not come in time
├── ToleranceExceeded                a long job had more bad items than it tolerates
└── InvalidTransition                the job's state forbids the request

Interrupted (BaseException)          raised inside a job at a checkpoint; never caught by `except Exception`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

E = TypeVar("E", bound=BaseException)
Reduced = tuple[object, tuple[type[BaseException], Sequence[object]], Mapping[str, object] | None]
"""What pickle and copy make of an error: a function, its arguments, and the attributes that are set afterwards."""


class PosthorseError(Exception):
    """Base of all errors of Posthorse. Each can be pickled and copied with its attributes, as process pools do."""

    def __reduce__(self) -> Reduced:
        return _remade, (type(self), self.args), self.__dict__ or None


class UsageError(PosthorseError, ValueError):
    """The call itself is wrong; nothing was written."""


class InvalidArgument(UsageError):
    """An argument of a job does not fit the signature of its function; the message names the argument.

    `path` leads to the value: the name of the argument, and of fields in it. It is empty if the call as a whole is
    wrong.
    """

    path: Sequence[str] = ()

    def at(self, path: Sequence[str]) -> InvalidArgument:
        """Set where the value is, and return the error."""
        self.path = tuple(path)
        return self


class InvalidOption(UsageError):
    """An option such as a duration, a priority or a queue name is invalid."""


class InvalidSettings(UsageError):
    """The configuration is invalid; the message names the setting and the nearest name."""


class InvalidSource(UsageError, TypeError):
    """The source of `ctx.slices` cannot be resumed, or not in this loop; the message says what to do."""


class InvalidCall(UsageError, RuntimeError):
    """The call is not possible at this place: a second transaction of a slice, or a call that blocks a running loop."""


class DuplicateKind(UsageError):
    """Two functions were registered under one kind."""


class UnknownKind(UsageError):
    """A kind was named that this application does not register."""


class UnknownCommand(UnknownKind):
    """No handler is registered for the class of a command; the message names the nearest that has one."""


class TooLarge(UsageError):
    """Arguments, a result or kept values are larger than their limit."""


class StoreError(PosthorseError):
    """The store could not do what was requested.

    `where` names the store, without its password; None if it is unknown.
    """

    where: str | None = None


class StoreUnreachable(StoreError):
    """The store does not respond; as far as is known, nothing was written."""


class SchemaMismatch(StoreError):
    """The schema was made by an older or a newer Posthorse, or not by Posthorse at all."""


class OutcomeUnknown(StoreError):
    """The reply to a commit was lost, and retrying could not show whether it was written."""


class TookTooLong(StoreError):
    """A look at many jobs, such as a list or a count, did not end in time, so the store ended it."""


class JobNotFound(PosthorseError, LookupError):
    """No job has this id."""


class JobForgotten(JobNotFound):
    """The job was so old that retention has removed it."""


class ResultExpired(PosthorseError, LookupError):
    """The job completed, and retention has removed its result; the job itself can still be read."""


class ScheduleNotFound(PosthorseError, LookupError):
    """No schedule has this name."""


class StockNotFound(PosthorseError, LookupError):
    """No stock has this name."""


class KeyConflict(PosthorseError):
    """The key was used before with other arguments."""


class NotUnique(PosthorseError):
    """The same job already exists, and its `Unique` says `on_conflict="raise"`; nothing was written.

    `job` is the id of the earlier job and `state` its state; None if both are of the same call.
    """

    def __init__(self, kind: str, job: str | None, state: str | None) -> None:
        self.job = job
        self.state = state
        what = f"two jobs of kind {kind!r} in this call are the same"
        if job is not None:
            what = f"job {job} of kind {kind!r} is the same, and is {state or 'not stored any more'}"
        super().__init__(
            f'{what}, so nothing was enqueued; wait until it is over, or say on_conflict="return" to be given that job'
        )


class StockEmpty(PosthorseError, LookupError):
    """A stock has no result that can be taken, and none came in time.

    `stock` is its name, `tenant` whose shelf it is, `ordered` how many results are being made, counted up to 20.
    """

    def __init__(self, stock: str, *, tenant: str | None = None, ordered: int = 0, detail: str = "") -> None:
        from shlex import quote  # here, because few processes find a stock empty

        self.stock = stock
        self.tenant = tenant
        self.ordered = ordered
        whose = "" if tenant is None else f" of tenant {tenant!r}"
        being = "none is being made" if not ordered else f"{ordered} {'is' if ordered == 1 else 'are'} being made"
        super().__init__(
            f"stock {stock!r}{whose} has nothing to give: {detail or being}; wait for it with timeout=…, and see why "
            f"with `posthorse stock why {quote(stock)}`"
        )


class QueueFull(PosthorseError):
    """The queue has as many waiting jobs as it may have; nothing was written.

    `retry_after` is the estimated number of seconds until there is room.
    """

    def __init__(self, queue: str, *, depth: int, max_depth: int, wanted: int, retry_after: float) -> None:
        self.queue = queue
        self.depth = depth
        self.max_depth = max_depth
        self.retry_after = retry_after
        many = f"{wanted:,} more do" if wanted > 1 else "one more does"
        super().__init__(
            f"queue {queue!r} is full: {depth:,} jobs wait and {max_depth:,} may, so {many} not fit and nothing was "
            f"enqueued; try again in about {retry_after:.0f} s, or wait for room with using(block=…)"
        )


class QueueClosed(PosthorseError):
    """The queue is drained: it accepts no new jobs. Nothing was written."""

    def __init__(self, queue: str) -> None:
        from shlex import quote  # here, because few processes meet such a queue

        self.queue = queue
        super().__init__(
            f"queue {queue!r} is being drained and takes no new jobs, so nothing was enqueued; enqueue into another "
            f"queue, or open it again: posthorse queues resume {quote(queue)}"
        )


class CodecError(PosthorseError):
    """A codec failed, or this application lacks the codec that packed a stored text; what is stored stays as it is."""


class JobFailed(PosthorseError):
    """The job failed for good; the message contains the job's own error."""


class JobCancelled(PosthorseError):
    """The job was cancelled."""


class EventTimeout(PosthorseError):
    """The event that a job waits for did not come in time."""


class ToleranceExceeded(PosthorseError):
    """A loop of a long job had more bad items than its budget `tolerate=` allows."""


class InvalidTransition(PosthorseError):
    """The state of the job forbids the request."""


class Interrupted(BaseException):
    """Raised inside a running job at a checkpoint when it must stop now; the job resumes from its last cursor.

    It is a BaseException, so that `except Exception` in a job cannot swallow it.
    """

    __reduce__ = PosthorseError.__reduce__


def _remade(kind: type[E], args: Sequence[object]) -> E:
    """Rebuild an error from its message, without its `__init__`, which takes other arguments."""
    error = kind.__new__(kind, *args)
    error.args = tuple(args)
    return error
