"""What a runner and the child of a job say to each other, as a mark, a length, then msgpack."""

from __future__ import annotations

import asyncio
from typing import BinaryIO

import msgspec

from posthorse.rules.lifecycle import Outcome
from posthorse.store.operations.claim import Claimed
from posthorse.worker.isolation.code_location import CodeLocation

_MARK, _LENGTH = b"\x93ph1", 4
MAX_MESSAGE = 64_000_000
"""Bytes of a message. A job can write into any descriptor of its process: what looks otherwise is not of the child."""


class ChildPlan(msgspec.Struct, frozen=True, tag=True):
    """What a child is told at its start: the first message. Never on a command line, which everybody can read."""

    location: CodeLocation
    kind: str
    url: str
    path: list[str]
    arguments: list[str]
    """Of the runner's own program: a script may look at them while it is imported."""
    longest_transaction: float
    log_level: int
    backend: str
    """The module that the store needs: imported before the project's folder is on the path."""


class Begin(msgspec.Struct, frozen=True, tag=True):
    """A job is to run."""

    claimed: Claimed
    runner: str
    """Who claimed it."""
    kind: str
    location: CodeLocation
    timeout: float | None
    max_memory: int | None


class StopRequest(msgspec.Struct, frozen=True, tag=True):
    """The job is to stop: at its next checkpoint, or where it waits."""

    request: str
    is_urgent: bool


class Withdraw(msgspec.Struct, frozen=True, tag=True):
    """A pause is taken back."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The child has done what it can before its first job."""

    pid: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """How the job came out."""

    outcome: Outcome
    request: str | None
    """What was asked of it, as the child knows."""
    slices: int
    """How many it committed."""
    memory: int
    """Bytes that the child holds now."""
    is_reusable: bool


class Garbled(msgspec.Struct, frozen=True):
    """Somebody else has written into the channel: nothing that comes is to be believed."""


ToChild = ChildPlan | Begin | StopRequest | Withdraw
ToRunner = Ready | Ended

_encode = msgspec.msgpack.Encoder().encode
_decode_to_child = msgspec.msgpack.Decoder(ToChild).decode
_decode_to_runner = msgspec.msgpack.Decoder(ToRunner).decode


def packed(message: ToChild | ToRunner) -> bytes:
    """A message as it is sent."""
    body = _encode(message)
    return _MARK + len(body).to_bytes(_LENGTH) + body


def next_to_child(file: BinaryIO) -> ToChild | None:
    """Wait for a message; None when the runner is gone. Raises an error for what is none."""
    try:
        head = file.read(len(_MARK) + _LENGTH)
        body = file.read(_length_in(head)) if len(head) == len(_MARK) + _LENGTH else b""
    except OSError:
        return None
    return _decode_to_child(body) if body else None


async def next_to_runner(reader: asyncio.StreamReader) -> ToRunner | Garbled | None:
    """Wait for a message; None when the child is gone."""
    try:
        head = await reader.readexactly(len(_MARK) + _LENGTH)
        message: ToRunner = _decode_to_runner(await reader.readexactly(_length_in(head)))
    except (asyncio.IncompleteReadError, OSError):
        return None
    except (ValueError, msgspec.MsgspecError):
        return Garbled()
    return message


def _length_in(head: bytes) -> int:
    length = int.from_bytes(head[len(_MARK) :])
    if not head.startswith(_MARK) or length > MAX_MESSAGE:
        raise ValueError("this is no message of Posthorse")
    return length
