"""What jobs print: kept as lines of their log where a kind asks for it. What is printed still goes where it went."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable
from itertools import count
from typing import NamedTuple, TextIO, cast

from posthorse.rules.job_logs import MAX_LINE, StoredLine, encode_line
from posthorse.worker.base.log_capture import JOB, RECORDER, JobInContext, Recorder

LOGGER = "print"
"""The logger that lines have that were printed."""


class BegunLine(NamedTuple):
    """A line that a job has begun to print."""

    job: JobInContext
    recorder: Recorder
    text: str


BEGUN: dict[tuple[str, int], BegunLine] = {}
"""Lines without an end, by job and epoch. `finish` takes them out."""

_lock = threading.RLock()


class Tee:
    """A stream in the place of `sys.stdout`: passes everything on, and whole lines of jobs to their recorder."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write to the stream, and keep what belongs to a job."""
        written = self.stream.write(text)
        job, recorder = JOB.get(), RECORDER.get()
        if job is not None and recorder is not None and recorder.keeps_prints_of(job):
            _take(job, recorder, text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


_users = count()
_open: set[int] = set()


def begin() -> int:
    """Begin to listen to `sys.stdout` for one runner; `end` takes what this returns."""
    _open.add(user := next(_users))
    stream = cast("TextIO | Tee | None", sys.stdout)
    if stream is not None and not isinstance(stream, Tee):
        sys.stdout = cast("TextIO", Tee(stream))
    return user


def end(user: int) -> None:
    """Put the stream back after the last runner of this process, unless other code has put another in its place."""
    _open.discard(user)
    stream = cast("TextIO | Tee", sys.stdout)
    if not _open and isinstance(stream, Tee):
        sys.stdout = stream.stream


def finish(job: str, epoch: int) -> None:
    """Keep what an attempt printed last without an end of the line. Call this before its recorder drops its lines."""
    with _lock:
        begun = BEGUN.pop((job, epoch), None)
    if begun is not None:
        _keep(begun.job, begun.recorder, (begun.text,))


def _take(job: JobInContext, recorder: Recorder, text: str) -> None:
    id, _, _, epoch = job
    with _lock:
        begun = BEGUN.pop((id, epoch), None)
        *lines, rest = (text if begun is None else begun.text + text).split("\n")
        if rest:
            BEGUN[id, epoch] = BegunLine(job, recorder, rest[-MAX_LINE:])
    _keep(job, recorder, lines)


def _keep(job: JobInContext, recorder: Recorder, lines: Iterable[str]) -> None:
    if recorder.level_of(job) > logging.INFO:
        return
    for line in lines:
        recorder.take(job, encode_line(StoredLine(int(time.time() * 1e6), "INFO", LOGGER, line, None, None)))
