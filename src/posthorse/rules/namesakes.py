"""Kinds with the same name but different code: two applications on one store that run each other's jobs. Pure.

Each runner records where the functions of its kinds are defined. The same place means the same application, however old
its code is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

MAX_PLACE = 300
_BETWEEN = "\n"
"""Separates a kind from its place in the list of a runner's kinds. Names of kinds do not contain it."""


class Serving(NamedTuple):
    """What a living runner serves: its queues (or all queues), and where its kinds are defined."""

    worker: str
    queues: Sequence[str]
    places: Mapping[str, str]


class Namesake(NamedTuple):
    """A kind that two workers take from the same queue and run with different code."""

    kind: str
    worker: str
    place: str
    other_worker: str
    other_place: str


def place_of(function: Callable[..., object]) -> str | None:
    """Return `module:function`; None if the name may differ in another process or is not unique."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)) or module == "__main__" or "<" in name:
        return None
    place = f"{module}:{name}"
    return place if place.isprintable() and len(place) <= MAX_PLACE else None


def with_places(kinds: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """Add places to the list of kinds. Older versions take each place for one more kind that has no jobs."""
    return [*kinds, *(f"{kind}{_BETWEEN}{place}" for kind, place in places.items())]


def split_places(stored: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Separate kinds and places."""
    kinds: list[str] = []
    places: dict[str, str] = {}
    for entry in stored:
        kind, separator, place = entry.partition(_BETWEEN)
        if separator:
            places[kind] = place
        else:
            kinds.append(kind)
    return kinds, places


def namesakes(mine: Serving, others: Iterable[Serving]) -> Iterator[Namesake]:
    """Find the kinds that another runner takes from a queue of this one, with other code."""
    for other in others:
        if mine.queues and other.queues and not set(mine.queues) & set(other.queues):
            continue
        for kind in sorted(mine.places.keys() & other.places.keys()):
            if not _is_same(mine.places[kind], other.places[kind]):
                yield Namesake(kind, mine.worker, mine.places[kind], other.worker, other.places[kind])


def all_namesakes(servings: Iterable[Serving]) -> list[Namesake]:
    """Find them among all runners, each pair of places once."""
    distinct = {(tuple(one.queues), tuple(one.places.items())): one for one in servings}
    found: dict[tuple[str, frozenset[str]], Namesake] = {}
    for one, other in combinations(distinct.values(), 2):
        for namesake in namesakes(one, [other]):
            found.setdefault((namesake.kind, frozenset((namesake.place, namesake.other_place))), namesake)
    return list(found.values())


def _is_same(one: str, other: str) -> bool:
    """Compare two places; one process may import the module from its package, another from its folder."""
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
