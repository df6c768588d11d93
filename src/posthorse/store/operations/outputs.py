"""Outputs: the results of jobs, for the jobs that take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from posthorse.rules.job import Options, State
from posthorse.store.base import QuerySteps, TypedQuery, operation, single_operation


class OutputRow(NamedTuple):
    """How a job ended, if it is over. The result is JSON, or packed."""

    id: str
    state: str
    result: str | None
    options: str | None


OUTPUTS_OF = TypedQuery("outputs_of", OutputRow)
OUTPUTS_OF_CHILDREN = TypedQuery("outputs_of_children", OutputRow)
PAGE_OF_OUTPUTS = TypedQuery("page_of_outputs", OutputRow)

AT_ONCE = 1_000
CHARACTERS_AT_ONCE = 4 * 1024 * 1024
"""After so many characters of results a page ends, however few jobs it has."""
FIRST = "00000000-0000-0000-0000-000000000000"
"""An id before all others."""


@operation
def outputs_of(jobs: Sequence[str]) -> QuerySteps[dict[str, OutputRow]]:
    """Return those of the jobs that exist, by id."""
    return {row.id: row for row in (yield from OUTPUTS_OF([(job,) for job in jobs]))}


@operation
def outputs_of_items(parent: str) -> QuerySteps[list[OutputRow]]:
    """Return the completed jobs for the items of a list, in the order of the list; others have no output."""
    found: list[tuple[int, OutputRow]] = []
    after = FIRST
    while True:
        rows = yield from OUTPUTS_OF_CHILDREN(parent=parent, after=after, limit=AT_ONCE)
        for row in rows:
            place = Options.decode(row.options).flow
            if place is not None and place.item is not None and row.state == State.COMPLETED:
                found.append((place.item, row))
        if len(rows) < AT_ONCE:
            return [row for _, row in sorted(found, key=lambda each: each[0])]
        after = rows[-1].id


@single_operation
def page_of_outputs(parent: str, after: str, limit: int) -> QuerySteps[list[OutputRow]]:
    """Return some children of a job after one of them, in the order of their ids; none if there are no more."""
    return (yield from PAGE_OF_OUTPUTS(parent=parent, after=after, limit=min(limit, AT_ONCE), most=CHARACTERS_AT_ONCE))
