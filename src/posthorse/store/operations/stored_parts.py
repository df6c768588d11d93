"""Parts of a job as they are stored: which children of it are parts, with their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from posthorse.rules.job import Options, State
from posthorse.rules.ranges import MOST_PARTS
from posthorse.store.base import QuerySteps, TypedQuery


class StoredPart(NamedTuple):
    """A part of a job: its number, its state, and its stored options."""

    number: int
    state: State
    options: str | None


OPTIONS_OF_PARTS = TypedQuery("options_of_parts", tuple[str, str, str | None])


def parts_stored(job: str, *, limit: int = MOST_PARTS) -> QuerySteps[Mapping[str, StoredPart]]:
    """Return the parts of a job, in the order in which they were made; none if it was not cut.

    The children of any other job are not read: a flow may have a hundred thousand.
    """
    for first in (1, limit):
        rows = yield from OPTIONS_OF_PARTS(parent=job, limit=first)
        parts = {
            id: StoredPart(part.number, State(state), options)
            for id, state, options in rows
            if (part := Options.decode(options).part) is not None
        }
        if not parts or first == limit:
            return parts
    return {}
