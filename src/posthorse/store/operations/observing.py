"""Durable readers of the stream that hand over events as jobs: the place moves, and the jobs enter, in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from posthorse.rules.job import NewJob
from posthorse.rules.watched import Interest
from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, operation, query
from posthorse.store.operations.submit import EntryTerms, entering
from posthorse.store.operations.telling import watch


class Stored(NamedTuple):
    """How far a durable reader is, as it is stored; and when its watch was found to have ended, or 0."""

    place: str
    unwatched_at: int = 0


PLACE_OF_READER = TypedQuery("place_of_reader", tuple[str, int])
WATCHES_OF = TypedQuery("watches_of", tuple[str])
MOVE_READER = TypedQuery("move_reader", tuple[str])


@operation
def places_of(readers: Sequence[str]) -> QuerySteps[dict[str, Stored]]:
    """Return how far durable readers are that are known."""
    found: dict[str, Stored] = {}
    for name in readers:
        for row in (yield from PLACE_OF_READER(name=name)):
            found[name] = Stored(*row)
    return found


@operation
def keep_watching(reader: str, watcher: str, wanted: Interest, life: str, *, seconds: float) -> QuerySteps[bool]:
    """Watch for a durable reader for so many seconds; return whether one of its watches held until now.

    If none did, events may not have been written for it. That is noted in the same commit, and stays noted until the
    reader has handed it over; a new reader has missed nothing.
    """
    held = yield from WATCHES_OF(reader=reader)
    yield from watch(watcher, wanted, life, seconds=seconds).start()
    if not held:
        yield query("mark_unwatched", name=reader)
    return bool(held)


@creating_no_work
@operation
def enter_reader(name: str, cursor: str) -> QuerySteps[None]:
    """Enter a durable reader at a place, unless it is known."""
    yield query("enter_reader", name=name, place=cursor)


@operation
def hand_over(
    reader: str,
    known: Stored,
    place: str,
    jobs: Sequence[NewJob],
    terms: EntryTerms,
) -> QuerySteps[bool]:
    """Move a reader from a place that it was known to be at, and enqueue what its events became.

    That it was not watched counts as handed over, too. False if another process moved it meanwhile, or this very call
    did and its reply was lost: then nothing is done.
    Raises QueueClosed or QueueFull if the queue refuses the jobs; then nothing counts as handed over.
    """
    if not (yield from MOVE_READER(name=reader, place=place, known=known.place, unwatched=known.unwatched_at)):
        return False
    if jobs:
        yield from entering(jobs, terms)
    return True
