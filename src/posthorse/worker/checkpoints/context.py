"""The context of a running job: what it knows about itself, its steps, its loops in slices, and its progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, cast, overload

from msgspec.structs import replace

from posthorse.clock import monotonic
from posthorse.errors import Interrupted, InvalidOption, PosthorseError
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import checked_name
from posthorse.rules.progress import Progress
from posthorse.worker.checkpoints.about_job import AboutJob, JobLogger
from posthorse.worker.checkpoints.context_children import ContextChildren
from posthorse.worker.checkpoints.journal import Journal

if TYPE_CHECKING:
    from posthorse.rules.throttle import ThrottleGiven
    from posthorse.worker.checkpoints.slices import Slices
    from posthorse.worker.checkpoints.sources import AsyncSource, QuerySetOf, Source
    from posthorse.worker.checkpoints.splitting import Sharding

T = TypeVar("T")
K = TypeVar("K")

MAX_SLICE = 1_000_000
MAX_NOTE = 500


class ValueKeeper:
    """Kept values: `keep(name, initial)` returns the value, which is committed with the cursor after every slice."""

    def __init__(self, journal: Journal) -> None:
        self._kept = journal.state.kept

    def __call__(self, name: str, initial: K) -> K:
        """Return the kept value of this name, or `initial` the first time. Change it in place."""
        return cast("K", self._kept.get(name, initial))

    def set(self, name: str, value: object) -> None:
        """Replace a kept value that cannot be changed in place, such as a number."""
        self._kept.replace(name, value)


class Context(ContextChildren):
    """The first parameter of a job that wants one. Use it only while the job runs, in the job's own thread or task."""

    def __init__(self, journal: Journal, about: AboutJob) -> None:
        self.job_id = about.job
        self.kind = about.kind.kind
        self.queue = about.lane.queue
        self.attempt = about.attempt
        self.keep = ValueKeeper(journal)
        known = {"job_id": about.job, "kind": about.kind.kind, "attempt": about.attempt}
        self.log = JobLogger(logging.getLogger("posthorse.job"), known)
        self._about = about
        self._journal = journal
        self._is_async = about.kind.is_async
        self._saved_at = monotonic()
        self._saving: set[asyncio.Task[None]] = set()
        self._loops: set[str] = set()

    @property
    def stop_requested(self) -> bool:
        """True if the job should stop at its next checkpoint."""
        return self._journal.stop.is_due

    @property
    def progress(self) -> Progress:
        """How far the job is, without a forecast."""
        state = self._journal.state
        return Progress(done=state.done, total=state.total, note=state.note)

    @overload
    def slices(
        self,
        source: Source[T] | AsyncSource[T],
        *,
        name: str | None = None,
        size: int = 1000,
        slice_time: Duration | None = None,
        time_box: Duration | None = None,
        tolerate: int | str = 0,
        throttle: ThrottleGiven = None,
    ) -> Slices[T]: ...
    @overload
    def slices(
        self,
        source: Sequence[T] | QuerySetOf[T],
        *,
        name: str | None = None,
        size: int = 1000,
        slice_time: Duration | None = None,
        time_box: Duration | None = None,
        tolerate: int | str = 0,
        throttle: ThrottleGiven = None,
    ) -> Slices[T]: ...

    def slices(
        self,
        source: Source[T] | AsyncSource[T] | Sequence[T] | QuerySetOf[T],
        *,
        name: str | None = None,
        size: int = 1000,
        slice_time: Duration | None = None,
        time_box: Duration | None = None,
        tolerate: int | str = 0,
        throttle: ThrottleGiven = None,
    ) -> Slices[T]:
        """Loop over batches of at most `size` items. Asking for the next batch commits this one and the job's position.

        Write `for batch in ctx.slices(range(10_000)): …`, or `async for`. The job may be stopped between two slices,
        and then resumes there. If a job has two loops, they need names.

        slice_time: how long a slice should take; its size is adapted to that, up to `size`.
        time_box: after this time, the job lets others use its worker, and resumes later.
        tolerate: how many bad items `batch.tolerate(…)` may record: a count such as 100, or a share such as "1%".
        throttle: what must be calm before each slice, beside the throttle of the queue: a ph.Throttle, a rate of items
            such as "500/s", or a plain or async function that returns False, True, a text that says why, or seconds.

        Raises InvalidOption; InvalidSource for what cannot be resumed.
        """
        # Imported here, because jobs without loops, and processes that only enqueue, need no sources.
        from posthorse.rules.slice_size import SizeRule
        from posthorse.rules.throttle import as_throttle
        from posthorse.rules.tolerance import as_tolerance
        from posthorse.worker.checkpoints.batch import LoopPlan
        from posthorse.worker.checkpoints.slices import Slices

        _check_size(size)
        label = _checked_label(name)
        if label in self._loops:
            named = f"named {label!r}" if label else "without a name"
            raise InvalidOption(
                f'this job has two loops {named}; give each a name of its own, as ctx.slices(…, name="users"), so that '
                "it finds its place again"
            )
        self._loops.add(label)
        self._journal.state.declare(label)
        sizes = SizeRule(size, None if slice_time is None else _seconds(slice_time, "slice_time", above=0))
        box = None if time_box is None else _seconds(time_box, "time_box")
        plan = LoopPlan(label, sizes, as_tolerance(tolerate), box)
        if throttle is not None and self._journal.has_throttles:
            plan = replace(plan, throttle=as_throttle(throttle))
        return Slices(self._journal, source, plan, self._sharding())

    def set_progress(self, done: int, total: int | None = None, *, note: str | None = None) -> None:
        """Report how far the job is, if it has no slices. Saved at most once a second."""
        self._journal.state.tell(
            _checked_count(done, "done"),
            None if total is None else _checked_count(total, "total"),
            _short(note),
        )
        if self._journal.is_in_transaction or monotonic() - self._saved_at < self._journal.progress_interval:
            return
        self._saved_at = monotonic()
        if self._is_async:
            task = asyncio.get_running_loop().create_task(self._save_progress())
            self._saving.add(task)
            task.add_done_callback(self._saving.discard)
        else:
            self._journal.save()

    def checkpoint(self) -> None:
        """Save kept values and progress, and stop here if the job should stop. Raises Interrupted, TimeoutError.

        Inside a slice, kept values are saved only when it is committed, because the slice may run again.
        """
        self._journal.warn_in_loop("ctx.checkpoint()", "use `await ctx.acheckpoint()`")
        self._journal.save()
        self._journal.stop.raise_if_asked()

    async def acheckpoint(self) -> None:
        """Do the same as `checkpoint`, in a coroutine."""
        await self._journal.asave()
        self._journal.stop.raise_if_asked()

    def _sharding(self) -> Sharding | None:
        options = self._about.options
        shards = options.shards or self._about.kind.options.shards
        if options.part is None and shards is None:
            return None
        from posthorse.worker.checkpoints.splitting import Sharding  # here, because few jobs are cut into parts

        return Sharding(shards, options.part, options, self.tags)

    async def _save_progress(self) -> None:
        try:
            await self._journal.asave()
        except (PosthorseError, Interrupted) as error:
            # No code waits for this task; the job's next checkpoint raises the error.
            self.log.debug("the progress was not saved: %s", error)


def _seconds(duration: Duration, name: str, *, above: float = -1) -> float:
    seconds = as_timedelta(duration, name=name).total_seconds()
    if seconds <= above:
        raise InvalidOption(f"{name} must be longer than zero; leave it out for none")
    return seconds


def _check_size(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SLICE:
        raise InvalidOption(f"size is {value!r}; it must be a whole number from 1 to {MAX_SLICE:,}")


def _checked_count(value: object, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise InvalidOption(f"set_progress: {name} is {value!r}; it must be a whole number of items, 0 or more")


def _checked_label(name: object) -> str:
    if name is None or name == "":
        return ""
    return checked_name(name, what="the name of a loop")


def _short(note: str | None) -> str | None:
    """Return a note that every store can take and that fits on one line."""
    if note is None:
        return None
    return str(note)[:MAX_NOTE].encode("utf-8", "replace").decode().replace("\0", "\\0")
