"""The messages between a runner and a child process: a mark, a length, then msgpack."""

from __future__ import annotations

import asyncio
from typing import Any, BinaryIO, Literal

import msgspec

from posthorse.rules.job import Lane
from posthorse.rules.outcomes import Outcome
from posthorse.rules.queues import DeclaredQueues
from posthorse.rules.throttle import Throttle, ThrottleFunction, as_throttle, is_only_code
from posthorse.store.operations.claim import Claimed
from posthorse.worker.base.log_formats import LogFormat
from posthorse.worker.isolation.code_location import CodeLocation

_MARK, _LENGTH = b"\x93ph1", 4
MAX_MESSAGE = 64_000_000
"""Bytes of a message. A job can write to any descriptor of its process, so anything else is not from our code."""


ThrottleForChild = dict[str, Any] | Literal["declared"] | None
"""A throttle in words; or the one that the application declares for the queue, if it is code."""


class ChildPlan(msgspec.Struct, frozen=True, tag=True):
    """The first message to a child. It is never on a command line, because every user of the machine can read those."""

    location: CodeLocation
    kind: str
    url: str
    path: list[str]
    arguments: list[str]
    """The command line arguments of the runner: a script may read them while it is imported."""
    longest_transaction: float
    log_level: int
    log_format: LogFormat
    backend: str
    """The module that the store needs: imported before the project's folder is on the path."""


class Begin(msgspec.Struct, frozen=True, tag=True):
    """The request to run a job."""

    claimed: Claimed
    runner: str
    """The runner that claimed it."""
    kind: str
    lane: Lane
    location: CodeLocation
    timeout: float | None
    max_memory: int | None
    tenant: str | None
    captures_print: bool
    log_level: int
    """The level from which lines that it logs are sent to the runner."""
    throttle: ThrottleForChild = None


class StopRequest(msgspec.Struct, frozen=True, tag=True):
    """The request to stop the job at its next checkpoint; an urgent one also cancels it where it waits."""

    request: str
    is_urgent: bool
    reason: str | None = None


class Withdraw(msgspec.Struct, frozen=True, tag=True):
    """Withdraw a pause, or a window that closed."""


class ThrottleNow(msgspec.Struct, frozen=True, tag=True):
    """The throttle of the job's queue has changed."""

    throttle: ThrottleForChild


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The child can take its first job."""

    pid: int


class ChildEnded(msgspec.Struct, frozen=True, tag=True):
    """The job ended."""

    outcome: Outcome
    request: str | None
    """What was requested of the job, as far as the child knows."""
    slices: int
    """How many slices and steps it committed."""
    memory: int
    """Bytes that the child uses now."""
    is_reusable: bool


class Logged(msgspec.Struct, frozen=True, tag=True):
    """The job logged lines."""

    job: str
    epoch: int
    lines: list[bytes]


class Garbled(msgspec.Struct, frozen=True):
    """Other code wrote into the channel: nothing that arrives on it can be trusted."""


ToChild = ChildPlan | Begin | StopRequest | Withdraw | ThrottleNow
ToRunner = Ready | ChildEnded | Logged

_encode = msgspec.msgpack.Encoder().encode
_decode_to_child = msgspec.msgpack.Decoder(ToChild).decode
_decode_to_runner = msgspec.msgpack.Decoder(ToRunner).decode


def throttle_for_child(throttle: Throttle | ThrottleFunction | None) -> ThrottleForChild:
    """Return a throttle as a child can be told it."""
    if isinstance(throttle, Throttle) and not is_only_code(throttle):
        return throttle.as_words()
    return None if throttle is None else "declared"


def throttle_in_child(told: ThrottleForChild, queues: DeclaredQueues, queue: str) -> Throttle | ThrottleFunction | None:
    """Return the throttle that a child was told."""
    given = queues.layer(queue).get("throttle") if told == "declared" else told
    return None if given is None else as_throttle(given)


def packed(message: ToChild | ToRunner) -> bytes:
    """Encode a message."""
    body = _encode(message)
    return _MARK + len(body).to_bytes(_LENGTH) + body


def next_to_child(file: BinaryIO) -> ToChild | None:
    """Wait for a message; None if the runner is gone. Raises ValueError or a decoding error for anything else."""
    try:
        head = file.read(len(_MARK) + _LENGTH)
        body = file.read(_length_in(head)) if len(head) == len(_MARK) + _LENGTH else b""
    except OSError:
        return None
    return _decode_to_child(body) if body else None


async def next_to_runner(reader: asyncio.StreamReader) -> ToRunner | Garbled | None:
    """Wait for a message; None if the child is gone."""
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
        raise ValueError("this is not a message of Posthorse")
    return length
