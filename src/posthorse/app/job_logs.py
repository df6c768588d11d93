"""What a job logged, read page by page, or followed until the job is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from posthorse.app.reading import is_packed, texts_of
from posthorse.app.verbs import Verb, adrive, drive, look_up, wait_for_end
from posthorse.errors import CodecError, InvalidOption
from posthorse.rules.job_logs import LogLine, StoredLine, decode_piece, lines_of
from posthorse.rules.packing import PLAIN_TEXTS
from posthorse.rules.values.type_mismatch import short
from posthorse.store.blocking import refuse_in_loop
from posthorse.store.operations.job_logs import StoredPiece, last_log_pieces, log_pieces
from posthorse.store.operations.one_job import why_missing

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

MAX_LINES = 100_000
PAGE = 50
"""Pieces that are read at once."""

FOLLOW_INTERVAL = 0.5
"""Seconds between two looks for new lines."""


class FollowedLogs:
    """The lines that a job logs, as they come: iterate with `for` or `async for`. It ends when the job is over."""

    def __init__(self, app: Posthorse, job_id: str, attempt: int | None, after: LogLine | None) -> None:
        self._app = app
        self._job_id = job_id
        self._attempt = attempt
        self._after = _checked(attempt, after)

    def __iter__(self) -> Iterator[LogLine]:
        refuse_in_loop("`for … in job.logs(follow=True)`", "write `async for`")
        after, is_over = self._after, False
        while True:
            for after in drive(self._next(after)):  # noqa: B020  # the last line is where the next page begins
                yield after
            if is_over:
                return
            is_over = drive(self._ends())

    async def __aiter__(self) -> AsyncIterator[LogLine]:
        after, is_over = self._after, False
        while True:
            for after in await adrive(self._next(after)):  # noqa: B020
                yield after
            if is_over:
                return
            is_over = await adrive(self._ends())

    def _next(self, after: LogLine | None) -> Verb[list[LogLine]]:
        return logs_of(self._app, self._job_id, attempt=self._attempt, after=after, limit=MAX_LINES)

    def _ends(self) -> Verb[bool]:
        """Wait a moment; return whether the job is over."""
        return bool((yield from wait_for_end(self._app, (self._job_id,), FOLLOW_INTERVAL)))


def logs_of(
    app: Posthorse, job_id: str, *, attempt: int | None, after: LogLine | None, limit: int
) -> Verb[list[LogLine]]:
    """Read lines of a job after a given one. Raises JobNotFound, InvalidOption, CodecError."""
    if type(limit) is not int or not 1 <= limit <= MAX_LINES:
        raise InvalidOption(f"limit is {short(limit)}; it must be a whole number from 1 to {MAX_LINES:,}")
    found, last = list[LogLine](), _checked(attempt, after)
    while len(found) < limit:
        run, number = (0, 0) if last is None else (last.run, last.number)
        page = log_pieces(job_id, epoch=run, number=number, attempt=attempt, limit=PAGE)
        rows = yield from look_up(app, page)
        lines = lines_of((yield from _decoded(app, job_id, rows)), last)
        found += lines
        if not lines or rows is None or len(rows) < PAGE:
            break
        last = lines[-1]
    return found[:limit]


def last_logs_of(app: Posthorse, job_id: str, *, attempt: int | None, limit: int) -> Verb[list[LogLine]]:
    """Read the last lines of a job, in order. Raises JobNotFound, InvalidOption, CodecError."""
    _checked(attempt, None)
    pieces = PAGE
    while True:
        rows = yield from look_up(app, last_log_pieces(job_id, attempt=attempt, limit=pieces))
        lines = lines_of((yield from _decoded(app, job_id, None if rows is None else rows[::-1])))
        if rows is None or len(lines) >= limit or len(rows) < pieces:
            return lines[-limit:]
        pieces *= 4


def _decoded(
    app: Posthorse, job_id: str, rows: Sequence[StoredPiece] | None
) -> Verb[list[tuple[int, int, int, Sequence[StoredLine]]]]:
    if rows is None:
        raise (yield from look_up(app, why_missing(job_id)))
    texts = PLAIN_TEXTS
    if any(is_packed(row.lines) for row in rows):
        texts = yield from texts_of(app, job_id)
    try:
        return [(row.epoch, row.piece, row.attempt, decode_piece(texts.unpack(row.lines, "log"))) for row in rows]
    except ValueError as error:
        raise CodecError(f"the log of job {job_id} cannot be read: {error}") from error


def _checked(attempt: object, after: object) -> LogLine | None:
    if attempt is not None and (type(attempt) is not int or attempt < 1):
        raise InvalidOption(f"attempt is {short(attempt)}; it must be a whole number from 1 on")
    if after is not None and not isinstance(after, LogLine):
        raise InvalidOption(f"after is {short(after)}; give the last LogLine that was read before")
    return after
