"""Where the loops of a long job stand, as a checkpoint holds it. Knows neither sources nor stores."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from posthorse.rules.slice_size import SliceSize


class LoopState(msgspec.Struct, omit_defaults=True):
    """One loop of slices."""

    cursor: object = None  # a Cursor; its recursive type says nothing to the decoder
    done: int = 0
    total: int | None = None
    is_over: bool = False
    size: SliceSize | None = None
    """Of the next slice; None for the one that a loop begins with."""
    bad: int = 0
    """Bad items that are kept."""
    numbered: int = 0
    """The number that the latest bad item was given; they are not given again."""
    retried: int = 0
    """The bad item up to which a retry got."""
    retry_upto: int = 0
    """The last bad item that is to be retried; 0 when none is."""
    is_missing: bool = False
    """The code went past it: it has no loop of this name any more, and what it did counts no more."""
    failed: int = 0
    """How many attempts had failed before the one that committed the latest slice: they are forgiven."""


def forgiven(loops: Iterable[LoopState]) -> int:
    """How many failed attempts came before the last committed slice."""
    return max((loop.failed for loop in loops), default=0)


def decode_loops(text: str) -> dict[str, LoopState]:
    """Loops by name, from a checkpoint."""
    return _decode(text)


def encode_loops(loops: dict[str, LoopState]) -> str:
    """Loops by name, for a checkpoint."""
    return _encode(loops).decode()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, LoopState]).decode
