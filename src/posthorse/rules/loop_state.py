"""The state of the loops of a long job, as a checkpoint holds it. This module knows neither sources nor stores."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from posthorse.rules.slice_size import SliceSize

STEPS = "*"
"""The name under which steps note which failed attempts they forgive. No loop can have it."""


class LoopState(msgspec.Struct, omit_defaults=True):
    """The state of one loop of slices."""

    cursor: object = None  # a Cursor; the decoder cannot follow its recursive type
    done: int = 0
    total: int | None = None
    is_over: bool = False
    size: SliceSize | None = None
    """The size of the next slice; None for the size with which a loop begins."""
    bad: int = 0
    """The number of stored bad items."""
    numbered: int = 0
    """The number of the latest bad item; numbers are not used again."""
    retried: int = 0
    """The bad item that a retry has reached."""
    retry_upto: int = 0
    """The last bad item that should be retried; 0 if there is none."""
    is_missing: bool = False
    """The code no longer has a loop of this name; its items no longer count."""
    failed: int = 0
    """How many attempts had failed before the one that committed the latest slice, or step; they are forgiven."""
    upto: object = None  # a Cursor, too
    """Where its range ends now, in a part that gave the rest away; None if it gave nothing away."""

    def become(self, other: LoopState) -> None:
        """Take over all of another state."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(other, name))


def forgiven(loops: Iterable[LoopState]) -> int:
    """Return how many failed attempts came before the last committed slice."""
    return max((loop.failed for loop in loops), default=0)


def decode_loops(text: str) -> dict[str, LoopState]:
    """Decode the loops of a checkpoint, by name."""
    return _decode(text)


def encode_loops(loops: dict[str, LoopState]) -> str:
    """Encode loops, by name, for a checkpoint."""
    return _encode(loops).decode()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, LoopState]).decode
