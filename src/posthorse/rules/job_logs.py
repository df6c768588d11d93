"""What a job logged: the form in which lines are stored, and how many of an attempt are kept. Pure.

A line is a JSON array: the moment in microseconds, level, logger, message, fields and error. A piece is the JSON array
of some lines, compressed if that is shorter. Of a talkative attempt its first and its last lines are kept.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec

from posthorse.clock import moment
from posthorse.rules.values.texts import storable

MAX_LINE = 4_096
"""Bytes of a line in JSON; longer ones are cut."""

HEAD_LINES, HEAD_BYTES = 200, 48_000
"""The first lines of an attempt, which are always kept, and their bytes."""

TAIL_LINES, TAIL_BYTES = 800, 208_000
"""At most so many lines are kept of what follows: the last ones."""

PIECE_LINES, PIECE_BYTES = 100, 32_000
"""Lines and bytes of one piece. Later lines leave piece by piece, so a piece is small beside all that is kept."""

MAX_FIELDS, MAX_FIELD = 50, 1_000
"""Fields of a line, and bytes of the value of one; more are left out, and longer ones are cut."""

_COMPRESSED = "z:"
"""How a compressed piece begins. A plain one begins with a bracket, and one that a codec packed with `~`."""

_MIN_COMPRESSED = 200
_LEFT_OUT = "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a job logged.

    attempt: as `ctx.attempt` was. run: counts the runs of the job's code, from 1; interruptions, pauses and snoozes
    begin a new run of the same attempt. number: counts the lines of a run, from 1.
    at: when, in UTC, on the clock of the worker's machine.
    fields: what was given as `extra=`, in plain JSON.
    error: the traceback, if an exception was logged.
    left_out: how many lines before this one were left out, because the run logged very many.
    """

    attempt: int
    run: int
    number: int
    at: datetime
    level: str
    logger: str
    message: str
    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    error: str | None = None
    left_out: int = 0


class StoredLine(NamedTuple):
    """A line as it is stored."""

    at: int
    level: str
    logger: str
    message: str
    fields: Mapping[str, object] | None
    error: str | None


class LinePiece(NamedTuple):
    """Some lines of an attempt that follow each other. The number of the first one names the piece."""

    first: int
    lines: Sequence[bytes]


class Taken(NamedTuple):
    """What must be written of an attempt, and the pieces that must be removed because later lines replace them."""

    pieces: Sequence[LinePiece]
    dropped: Sequence[int]


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────


def encode_line(line: StoredLine) -> bytes:
    """Encode a line; one that is too long keeps the beginning of its message and the end of its error."""
    try:
        encoded = _encode(line)
    except UnicodeEncodeError:  # half of a character
        message, error = _whole(line.message), None if line.error is None else _whole(line.error)
        line = line._replace(logger=_whole(line.logger), level=_whole(line.level), message=message, error=error)
        encoded = _encode(line)
    return encoded if len(encoded) <= MAX_LINE else _cut(line)


def plain_fields(extra: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return fields as they are stored: what has no form in JSON, as Python shows it; None if there are none."""
    if not extra:
        return None
    found: dict[str, object] = {}
    for name, value in extra.items():
        if len(found) == MAX_FIELDS:
            break
        found[_whole(str(name))[:100]] = value if isinstance(value, int | float | bool | None) else _in_json(value)
    return found


def _in_json(value: object) -> object:
    try:
        encoded = _encode_any(value)
    except Exception:  # a value of the user's may raise anything
        encoded = _encode(_shown(value))
    return msgspec.Raw(encoded) if len(encoded) <= MAX_FIELD else _whole(_shown(value))[: MAX_FIELD // 4] + _LEFT_OUT


def _shown(value: object) -> str:
    try:
        return _whole(value if isinstance(value, str) else repr(value))
    except Exception as broken:
        return f"<it cannot be shown: {type(broken).__name__}>"


def _whole(text: str) -> str:
    return storable(text, max(1, len(text) * 6))


def _cut(line: StoredLine) -> bytes:
    length = MAX_LINE // 2
    fields = line.fields
    if fields and len(_encode(fields)) > MAX_LINE // 4:
        fields = {_LEFT_OUT: f"{len(fields)} fields are too long"}
    while True:
        message, error = line.message, line.error
        if len(message) > length:
            message = message[:length] + _LEFT_OUT
        if error is not None and len(error) > length:
            error = _LEFT_OUT + error[-length:]
        shorter = StoredLine(line.at, line.level[:20], line.logger[:100], message, fields, error)
        encoded = _encode(shorter)
        if len(encoded) <= MAX_LINE:
            return encoded
        length //= 2


# ── pieces ────────────────────────────────────────────────────────────────────────────────────────────


def encode_piece(lines: Sequence[bytes]) -> str:
    """Return the text of a piece."""
    plain = b"[" + b",".join(lines) + b"]"
    if len(plain) > _MIN_COMPRESSED:
        compressed = base64.b64encode(zlib.compress(plain))
        if len(compressed) < len(plain):
            return _COMPRESSED + compressed.decode("ascii")
    return plain.decode()


def decode_piece(text: str) -> list[StoredLine]:
    """Return the lines of a piece. Raises ValueError for a damaged one."""
    try:
        plain: str | bytes = text
        if text.startswith(_COMPRESSED):
            plain = zlib.decompress(base64.b64decode(text.removeprefix(_COMPRESSED)))
        return _decode(plain)
    except (zlib.error, binascii.Error, msgspec.MsgspecError) as error:
        raise ValueError(f"a piece of a log is damaged: {error}") from error


def lines_of(
    pieces: Sequence[tuple[int, int, int, Sequence[StoredLine]]], after: LogLine | None = None
) -> list[LogLine]:
    """Return the lines of pieces (run, first, attempt, lines) in their order, those after a given line."""
    found: list[LogLine] = []
    run, number = (0, 0) if after is None else (after.run, after.number)
    for epoch, first, attempt, lines in pieces:
        if epoch != run:
            run, number = epoch, 0
        for place, stored in enumerate(lines, first):
            if place > number:
                left_out, number = place - number - 1, place
                found.append(_line(stored, attempt=attempt, run=run, number=place, left_out=left_out))
    return found


def _line(stored: StoredLine, *, attempt: int, run: int, number: int, left_out: int) -> LogLine:
    return LogLine(
        attempt=attempt,
        run=run,
        number=number,
        at=moment(stored.at),
        level=stored.level,
        logger=stored.logger,
        message=stored.message,
        fields=stored.fields or {},
        error=stored.error,
        left_out=left_out,
    )


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────


class AttemptLog:
    """The lines of one attempt that are not written yet, and which written pieces are kept."""

    __slots__ = (
        "_count",
        "_head",
        "_head_bytes",
        "_head_is_open",
        "_head_taken",
        "_kept",
        "_kept_bytes",
        "_tail",
        "_tail_bytes",
    )

    def __init__(self) -> None:
        self._count = 0
        self._head: list[bytes] = []
        self._head_taken = 0
        self._head_bytes = 0
        self._head_is_open = True
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._kept: deque[tuple[int, int, int]] = deque()
        """Pieces behind the head that were taken: first line, lines and bytes."""
        self._kept_bytes = 0

    @property
    def has_news(self) -> bool:
        """Whether lines came since the last `take`."""
        return bool(self._head or self._tail)

    def add(self, line: bytes) -> None:
        """Add a line; of those behind the head, older ones may leave for it."""
        self._count += 1
        if self._head_is_open:
            self._head.append(line)
            self._head_bytes += len(line)
            self._head_is_open = self._count < HEAD_LINES and self._head_bytes < HEAD_BYTES
            return
        self._tail.append(line)
        self._tail_bytes += len(line)
        while len(self._tail) > TAIL_LINES or self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())

    def take(self) -> Taken:
        """Take out what came since the last time."""
        pieces = _split(self._head_taken + 1, self._head)
        behind = _split(self._count - len(self._tail) + 1, tuple(self._tail))
        self._head_taken += len(self._head)
        self._head, self._tail, self._tail_bytes = [], deque(), 0
        for piece in behind:
            size = sum(map(len, piece.lines))
            self._kept.append((piece.first, len(piece.lines), size))
            self._kept_bytes += size
        dropped: list[int] = []
        while self._kept and (self._kept_bytes > TAIL_BYTES or sum(lines for _, lines, _ in self._kept) > TAIL_LINES):
            first, _, size = self._kept.popleft()
            self._kept_bytes -= size
            dropped.append(first)
        return Taken([*pieces, *behind], dropped)


def _split(first: int, lines: Sequence[bytes]) -> list[LinePiece]:
    pieces: list[LinePiece] = []
    begin = size = 0
    for end, line in enumerate(lines):
        if end > begin and (end - begin == PIECE_LINES or size + len(line) > PIECE_BYTES):
            pieces.append(LinePiece(first + begin, lines[begin:end]))
            begin, size = end, 0
        size += len(line)
    if begin < len(lines):
        pieces.append(LinePiece(first + begin, lines[begin:]))
    return pieces


_encode = msgspec.json.Encoder().encode
_encode_any = msgspec.json.Encoder(enc_hook=repr).encode
_decode = msgspec.json.Decoder(list[StoredLine]).decode
