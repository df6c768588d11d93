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

AWAITED_AMONG = TypedQuery("awaited_among", tuple[str])
AWAIT_JOBS = TypedQuery("await_jobs", tuple[str, str])


class NotedEnd(NamedTuple):
    """A job that others wait for, and how it ended. is_counted: its parent was told; only edges are left."""

    job: str
    state: str
    is_counted: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[NotedEnd]).decode


def note(ended: Sequence[NotedEnd]) -> QuerySteps[None]:
    """Note ends, to be counted after the commit."""
    yield query("note_ends", id=ids.new_id(), jobs=_encode(ended).decode())


def noted_in(text: str) -> list[NotedEnd]:
    """Return the ends of one note."""
    return _decode(text)


def awaited_among(jobs: Sequence[str]) -> QuerySteps[list[str]]:
    """Return which of the jobs others wait for. The caller has just written them, so no other process can
    mark one of them now."""
    return [job for (job,) in (yield from AWAITED_AMONG([(job,) for job in jobs]))]


def wait_for(jobs: Sequence[str]) -> QuerySteps[dict[str, State]]:
    """Mark jobs as awaited, and lock them; return their states, without missing ones.

    A job that is over stays so until the end of this transaction. One that is about to be completed is waited for, or
    its completion waits, and then sees the mark.
    """
    rows = yield from AWAIT_JOBS([(job,) for job in sorted(jobs)])
    return {job: State(state) for job, state in rows}
