"""What watchers of the stream want, as one process knows it. Pure, but for what it remembers.

The stream is written only while something watches it. Rare events ask the store for that as they are written. What
happens to every job (it is submitted, it starts, it completes) must cost nothing without a watcher, so each process
knows who watches: it learns that with the settings of queues, within a second. The store carries it, as the emitter.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import msgspec

Hot = Literal["submitted", "started", "completed"]
"""Events of every job."""


class Interest(msgspec.Struct, frozen=True):
    """What one watcher wants: events of these names, of jobs of these kinds; None for all."""

    names: Sequence[str] | None = None
    kinds: Sequence[str] | None = None


class Kinds(Protocol):
    """The kinds whose jobs are watched. It is false if there are none."""

    def __contains__(self, kind: object, /) -> bool: ...
    def __len__(self) -> int: ...


class _AllKinds:
    def __contains__(self, kind: object, /) -> bool:
        return True

    def __len__(self) -> int:
        return sys.maxsize


ALL_KINDS: Kinds = _AllKinds()
NO_KINDS: Kinds = frozenset[str]()

_decode = msgspec.json.Decoder(Interest).decode


class Watched:
    """The kinds whose jobs are watched, for each of the events that every job has."""

    __slots__ = ("changes", "completed", "ends_at", "has_attempts", "started", "submitted")

    def __init__(self) -> None:
        self.submitted: Kinds = NO_KINDS
        self.started: Kinds = NO_KINDS
        self.completed: Kinds = NO_KINDS
        self.has_attempts = False
        """Whether starts or completions are watched."""
        self.changes: int | None = None
        """At which number of changes of queues and watchers this was learnt; None: in no order with them."""
        self.ends_at = math.inf
        """When the store must be asked again, in monotonic seconds, because a watch ends then unless it was renewed."""

    def learn(self, watchers: Iterable[tuple[str, int]], now: float) -> None:
        """Learn of all watchers there are: what each wants, as JSON, and for how many microseconds that holds."""
        known = [(decode_interest(words), micros) for words, micros in watchers]
        self.submitted = _kinds("submitted", known)
        self.started = _kinds("started", known)
        self.completed = _kinds("completed", known)
        self.has_attempts = bool(self.started) or bool(self.completed)
        self.ends_at = min((now + micros / 1_000_000 for _, micros in known), default=math.inf)


def decode_interest(words: str) -> Interest:
    """Read what a watcher wants. A newer version may say more than this one understands: then it wants all."""
    try:
        return _decode(words)
    except msgspec.MsgspecError:
        return Interest()


def encode_interest(wanted: Interest) -> str:
    """Return what a watcher wants as it is stored."""
    return msgspec.json.encode(wanted).decode()


def union(several: Iterable[Interest]) -> Interest:
    """Return what includes all that several listeners want."""
    names: set[str] | None = set()
    kinds: set[str] | None = set()
    for one in several:
        names = None if names is None or one.names is None else names | set(one.names)
        kinds = None if kinds is None or one.kinds is None else kinds | set(one.kinds)
    return Interest(None if names is None else sorted(names), None if kinds is None else sorted(kinds))


def _kinds(name: Hot, known: Iterable[tuple[Interest, int]]) -> Kinds:
    found: set[str] = set()
    for wanted, _ in known:
        if wanted.names is not None and name not in wanted.names:
            continue
        if wanted.kinds is None:
            return ALL_KINDS
        found.update(wanted.kinds)
    return frozenset(found)
