"""What a search gives: a page of jobs, or a count, and how far the search came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import overload

from posthorse.app.job import Job
from posthorse.rules.search.budget import MAX_COUNT


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """How far a search came. If it is complete, no other job matches.

    back_to: when the last job was enqueued that it looked at (of a parked job, when it was parked); None if there was
    none, or if the search is complete.
    """

    back_to: datetime | None
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many jobs match: exactly so many, or at least."""

    number: int
    is_exact: bool

    def __str__(self) -> str:
        if self.is_exact:
            return f"{self.number:,}"
        return f"{self.number:,}+" if self.number >= MAX_COUNT else f"at least {self.number:,}"


class Page(Sequence[Job[object]]):
    """Some jobs that match a filter, newest first: a sequence of them.

    next: the cursor of the next page; None if the search is complete. A page may have no jobs and a next one, if the
    time was over before one was found.
    """

    def __init__(self, jobs: Sequence[Job[object]], next: str | None, searched: Searched) -> None:
        self.next = next
        self.searched = searched
        self._jobs = tuple(jobs)

    @overload
    def __getitem__(self, index: int) -> Job[object]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job[object]]: ...
    def __getitem__(self, index: int | slice) -> Job[object] | Sequence[Job[object]]:
        return self._jobs[index]

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job[object]]:
        return iter(self._jobs)

    def __repr__(self) -> str:
        return f"Page({list(self._jobs)!r}, next={self.next!r}, searched={self.searched!r})"
