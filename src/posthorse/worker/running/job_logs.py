"""What the jobs of a runner log: kept in memory for about a second, then written in pieces for all jobs at once.

What a job logged last is written in the commit that ends its attempt. Lines arrive from any thread; all else belongs to
the loop of the runner.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from posthorse.errors import CodecError, PosthorseError
from posthorse.failpoints import failpoint
from posthorse.rules.job_logs import AttemptLog, encode_piece
from posthorse.rules.packing import PLAIN, Packing
from posthorse.rules.queues import QueueSettings
from posthorse.rules.registry import KindOptions
from posthorse.store.operations.job_logs import DroppedPiece, LogChanges, LogPiece, write_logs
from posthorse.store.store import Store
from posthorse.worker.base import printing
from posthorse.worker.base.log_capture import OFF, JobInContext, begin, end
from posthorse.worker.base.log_lines import hear_from
from posthorse.worker.running.running_job import RunningJob

log = logging.getLogger("posthorse.worker")

MAX_INLINE = 4_000
"""Bytes that are compressed on the loop; more than that is done in a thread."""

NO_LOGS = LogChanges()


class JobLog:
    """What one attempt logged and is not written yet."""

    __slots__ = ("attempt", "epoch", "is_over", "level", "lines", "tenant")

    def __init__(self, epoch: int, attempt: int, tenant: str | None, level: int) -> None:
        self.epoch = epoch
        self.attempt = attempt
        self.tenant = tenant
        self.level = level
        self.lines = AttemptLog()
        self.is_over = False
        """Whether the job had ended when it was last looked at."""


class Piece(NamedTuple):
    """Lines on their way to the store."""

    job: str
    epoch: int
    attempt: int
    tenant: str | None
    first: int
    lines: Sequence[bytes]


class Pieces(NamedTuple):
    """All that goes to the store in one write."""

    pieces: Sequence[Piece] = ()
    dropped: Sequence[DroppedPiece] = ()


class JobLogs:
    """The recorder of one runner. Must be made inside a running event loop.

    level, is_off, captures_print: from which level on lines are recorded, or that none are, and whether what jobs print
    is kept, for kinds that do not say that themselves. kinds: what the kinds say that may run here. queues: those that
    the runner serves; none: all.
    """

    def __init__(
        self,
        store: Store,
        runner: str,
        packing: Packing = PLAIN,
        *,
        level: int = logging.INFO,
        is_off: bool = False,
        captures_print: bool = False,
        kinds: Sequence[KindOptions] = (),
        queues: Collection[str] = (),
    ) -> None:
        self._kinds = kinds
        self._queues = queues
        self._is_off = is_off
        self._captures_print = captures_print
        self._listens_to_prints = any(map(self.captures_print, kinds))
        self.running: Mapping[str, RunningJob] = {}
        """The jobs that run now; lines of others are dropped."""
        self._store = store
        self._runner = runner
        self._packing = packing
        self._level = level
        self._interval = store.tuning.logs_interval
        self._loop = asyncio.get_running_loop()
        self._lock = threading.RLock()
        self._logs: dict[str, JobLog] = {}
        self._news = asyncio.Event()
        self._is_told = False
        self._under_way = Pieces()
        """What is being written, and may not be committed yet."""

    @property
    def has_any(self) -> bool:
        """Whether there may be lines that are not written."""
        return bool(self._logs or self._under_way.pieces)

    # ── recording ────────────────────────────────────────────────────────────────────────────────────

    def obey(self, queues: Mapping[str, QueueSettings]) -> None:
        """Let records be made from the lowest level on that kinds and these settings of queues ask for."""
        served = [settings for name, settings in queues.items() if not self._queues or name in self._queues]
        hear_from(lowest_level(self._kinds, served, self._level, is_off=self._is_off))

    def level_of_run(self, running: RunningJob) -> int:
        """Return the level from which lines of an attempt are recorded, by the settings with which it began."""
        return level_of(running.kind.options, running.queue.log_level, self._level, is_off=self._is_off)

    def captures_print(self, options: KindOptions) -> bool:
        """Return whether what jobs of a kind print is kept."""
        return self._captures_print if options.capture_print is None else options.capture_print

    def keeps_prints_of(self, job: JobInContext) -> bool:
        """Return whether what the job prints is kept, too."""
        running = self.running.get(job[0])
        return running is not None and running.claimed.epoch == job[3] and self.captures_print(running.kind.options)

    def level_of(self, job: JobInContext) -> int:
        """Return the level from which lines of a job are recorded; OFF for a job that has ended."""
        found = self._logs.get(job[0])
        if found is not None and found.epoch == job[3]:
            return found.level
        running = self.running.get(job[0])
        return OFF if running is None or running.claimed.epoch != job[3] else self.level_of_run(running)

    def tenant_of(self, job: JobInContext) -> str | None:
        """Return the tenant of a job that runs."""
        running = self.running.get(job[0])
        return None if running is None else running.options.tenant or running.lane.tenant or None

    def take(self, job: JobInContext, line: bytes) -> None:
        """Take a line of a job."""
        self.take_lines(job[0], job[3], (line,))

    def take_lines(self, id: str, epoch: int, lines: Sequence[bytes]) -> None:
        """Take lines of a job; those of one that has ended are dropped."""
        with self._lock:
            found = self._logs.get(id)
            if found is None or found.epoch != epoch:
                running = self.running.get(id)
                if running is None or running.claimed.epoch != epoch:
                    return
                tenant = running.options.tenant
                found = JobLog(epoch, running.claimed.errors + 1, tenant, self.level_of_run(running))
                self._logs[id] = found
            for line in lines:
                found.lines.add(line)
            is_told, self._is_told = self._is_told, True
        if not is_told:
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._news.set)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Take what jobs log and print in this process meanwhile."""
        user = begin()
        printing_user = printing.begin() if self._listens_to_prints else None
        try:
            yield
        finally:
            end(user)
            if printing_user is not None:
                printing.end(printing_user)

    async def write_forever(self) -> None:
        """Write what jobs log, at most once a second, until cancelled."""
        with self.capturing():
            while True:
                await self._news.wait()
                await asyncio.sleep(self._interval)
                self._news.clear()
                await self.write()

    async def write(self) -> None:
        """Write what jobs logged. If the store does not take it now, it is written later."""
        if not self._under_way.pieces:
            self._under_way = self._take()
        try:
            changes = await self._encoded(self._under_way)
            failpoint("before_logs")
            if changes.pieces or changes.dropped:
                await self._store.arun(write_logs(self._runner, changes))
            failpoint("after_logs")
        except PosthorseError as error:
            log.debug("cannot write what jobs logged: %s; it is written later", error)
            self._news.set()
        except Exception:
            log.exception("what jobs logged within a second cannot be written, and is dropped")
            self._under_way = Pieces()
        else:
            self._under_way = Pieces()

    async def last_of(self, ended: Sequence[RunningJob]) -> LogChanges:
        """Take out what is not written of jobs that ended: it must be written before their leases end."""
        if not self.has_any:
            return NO_LOGS
        jobs = {running.claimed.job for running in ended}
        with self._lock:
            found = [(job, self._logs.pop(job)) for job in jobs if job in self._logs]
        before = [piece for piece in self._under_way.pieces if piece.job in jobs]
        if not found and not before:
            return NO_LOGS
        dropped = [one for one in self._under_way.dropped if one.job in jobs]
        return await self._encoded(_taken(found, before, dropped))

    def _take(self) -> Pieces:
        """Take out what is new, and forget jobs that had ended when this was last done."""
        with self._lock:
            self._is_told = False
            taken = _taken(list(self._logs.items()))
            for job, one in list(self._logs.items()):
                running = self.running.get(job)
                is_over = running is None or running.claimed.epoch != one.epoch
                if is_over and one.is_over:
                    del self._logs[job]
                one.is_over = is_over
            if any(one.is_over for one in self._logs.values()):
                self._loop.call_soon(self._news.set)
        return taken

    async def _encoded(self, taken: Pieces) -> LogChanges:
        if not taken.pieces:
            return LogChanges((), taken.dropped)
        size = sum(len(line) for piece in taken.pieces for line in piece.lines)
        if size <= MAX_INLINE and not self._packing.is_on:
            return LogChanges(self._encoded_pieces(taken.pieces), taken.dropped)
        encoded = await self._loop.run_in_executor(None, self._encoded_pieces, taken.pieces)
        return LogChanges(encoded, taken.dropped)

    def _encoded_pieces(self, pieces: Collection[Piece]) -> Sequence[LogPiece]:
        encoded: list[LogPiece] = []
        for piece in pieces:
            texts = self._packing.of(piece.job, piece.tenant)
            try:
                text = texts.pack(encode_piece(piece.lines), "log")
            except CodecError as error:  # never store it openly instead
                log.warning("%d lines that job %s logged are not stored: %s", len(piece.lines), piece.job, error)
            else:
                encoded.append(LogPiece(piece.job, piece.epoch, piece.first, piece.attempt, text))
        return encoded


def level_of(kind: KindOptions, of_queue: int | None, of_application: int, *, is_off: bool) -> int:
    """Return the level from which lines are recorded: the kind wins over the queue, the queue over the application."""
    if kind.logs is False or (is_off and not kind.logs):
        return OFF
    if kind.log_level is not None:
        return kind.log_level
    return of_application if of_queue is None else of_queue


def lowest_level(
    kinds: Iterable[KindOptions], queues: Iterable[QueueSettings], of_application: int, *, is_off: bool
) -> int:
    """Return the lowest level from which lines of any kind are recorded in any queue."""
    of_queues = {None, *(settings.log_level for settings in queues)}
    return min((level_of(kind, one, of_application, is_off=is_off) for kind in kinds for one in of_queues), default=OFF)


def _taken(
    logs: Sequence[tuple[str, JobLog]], before: Sequence[Piece] = (), dropped_before: Sequence[DroppedPiece] = ()
) -> Pieces:
    pieces, dropped = list(before), list(dropped_before)
    for job, one in logs:
        if one.lines.has_news:
            taken = one.lines.take()
            pieces += [Piece(job, one.epoch, one.attempt, one.tenant, *piece) for piece in taken.pieces]
            dropped += [DroppedPiece(job, one.epoch, first) for first in taken.dropped]
    return Pieces(pieces, dropped)
