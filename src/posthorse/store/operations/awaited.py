"""Jobs that others wait for: they are marked, and their ends are noted in the commit in which they end.

A note is one row for all that a commit ended. It is counted right after that commit, by `releasing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from posthorse import ids
from posthorse.rules.job import State
from posthorse.store.base import QuerySteps, TypedQuery, query

AWAITED_AMONG = TypedQuery("awaited_among", tuple[str, str])
AWAIT_JOBS = TypedQuery("await_jobs", tuple[str, str])


class NotedEnd(NamedTuple):
    """A job that others wait for, and how it ended. is_counted: its parent was told; only edges are left."""

    job: str
    state: str
    is_counted: bool = False


class Awaited(NamedTuple):
    """Jobs that ended: those for which other jobs wait, and those whose results are for a stock."""

    by_jobs: Sequence[str] = ()
    by_stock: Sequence[str] = ()


NOT_AWAITED = Awaited()

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[NotedEnd]).decode


def note(ended: Sequence[NotedEnd]) -> QuerySteps[None]:
    """Note ends, to be counted after the commit."""
    yield query("note_ends", id=ids.new_id(), jobs=_encode(ended).decode())


def noted_in(text: str) -> list[NotedEnd]:
    """Return the ends of one note."""
    return _decode(text)


def awaited_among(jobs: Sequence[str]) -> QuerySteps[Awaited]:
    """Return which of the jobs others wait for. The caller has just written them, so no other process can
    mark one of them now."""
    rows = yield from AWAITED_AMONG([(job,) for job in jobs])
    if not rows:
        return NOT_AWAITED
    return Awaited(
        [job for job, by in rows if by != "stock"],
        [job for job, by in rows if by != "jobs"],
    )


def wait_for(jobs: Sequence[str]) -> QuerySteps[dict[str, State]]:
    """Mark jobs as awaited, and lock them; return their states, without missing ones.

    A job that is over stays so until the end of this transaction. One that is about to be completed is waited for, or
    its completion waits, and then sees the mark.
    """
    rows = yield from AWAIT_JOBS([(job,) for job in sorted(jobs)])
    return {job: State(state) for job, state in rows}
