"""What jobs print: kept as lines of their log where a kind asks for it. What is printed still goes where it went."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterable
from itertools import count
from typing import TextIO, cast

from posthorse.rules.job_logs import MAX_LINE, StoredLine, encode_line
from posthorse.worker.base.log_capture import JOB, RECORDER, JobInContext, Recorder

LOGGER = "print"
"""The logger that lines have that were printed."""


class Tee:
    """A stream in the place of `sys.stdout`: passes everything on, and whole lines of jobs to their recorder."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._lock = threading.RLock()
        self._begun: dict[JobInContext, str] = {}
        """Lines without an end, by their job."""

    def write(self, text: str) -> int:
        """Write to the stream, and keep what belongs to a job."""
        written = self.stream.write(text)
        job, recorder = JOB.get(), RECORDER.get()
        if job is not None and recorder is not None and recorder.keeps_prints_of(job):
            self._take(job, recorder, text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)

    def _take(self, job: JobInContext, recorder: Recorder, text: str) -> None:
        with self._lock:
            *lines, rest = (self._begun.pop(job, "") + text).split("\n")
            if rest:
                self._begun[job] = rest[-MAX_LINE:]
        if recorder.level_of(job) > logging.INFO:
            return
        for line in lines:
            recorder.take(job, encode_line(StoredLine(int(time.time() * 1e6), "INFO", LOGGER, line, None, None)))


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
