"""Lines that jobs log: their form, and how many of an attempt are kept."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.job_logs import (
    HEAD_BYTES,
    HEAD_LINES,
    MAX_LINE,
    PIECE_BYTES,
    PIECE_LINES,
    TAIL_BYTES,
    TAIL_LINES,
    AttemptLog,
    StoredLine,
    decode_piece,
    encode_line,
    encode_piece,
    lines_of,
    plain_fields,
)

LINE = StoredLine(1_700_000_000_000_000, "INFO", "shop", "sent", {"user": 7}, None)


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no")


def round_trip(line: StoredLine) -> StoredLine:
    [back] = decode_piece(encode_piece([encode_line(line)]))
    return back


def test_a_line_reads_back() -> None:
    assert round_trip(LINE) == LINE
    whole = LINE._replace(error="Traceback\n  …", message="ünïcödé \x1b[31m \0 \n", fields=None)
    assert round_trip(whole) == whole


@given(st.text(), st.text(max_size=20), st.none() | st.text())
def test_any_text_can_be_stored(message: str, logger: str, error: str | None) -> None:
    text = encode_piece([encode_line(StoredLine(1, "INFO", logger, message, None, error))])
    assert "\0" not in text
    text.encode()
    [line] = decode_piece(text)
    assert line.message[:50].isascii() or line.message.encode("utf-8")


def test_half_a_character_is_escaped() -> None:
    assert round_trip(LINE._replace(message="a\ud800b")).message == "a\\ud800b"


@pytest.mark.parametrize(
    "line",
    [
        LINE._replace(message="ä" * 100_000),
        LINE._replace(message="m" * 5000, error="e" * 5000, fields={"x": "y" * 3000}),
        LINE._replace(logger="l" * 10_000),
        LINE._replace(message="\x1b" * 10_000),
    ],
)
def test_a_long_line_is_cut(line: StoredLine) -> None:
    encoded = encode_line(line)
    assert len(encoded) <= MAX_LINE
    assert round_trip(line).message[:100] == line.message[:100]


def test_of_a_long_error_the_end_is_kept() -> None:
    error = round_trip(LINE._replace(error="first\n" + "line\n" * 3000 + "ValueError: why")).error
    assert error is not None
    assert error.startswith("…")
    assert error.endswith("ValueError: why")


def test_fields_have_a_form_in_json() -> None:
    found = plain_fields({"a": 1, "b": [1, {"c": None}], "d": {1, 2}, "e": Broken(), "f": "\ud800", "g": "x" * 9_000})
    fields = round_trip(LINE._replace(fields=found)).fields
    assert fields is not None
    assert (fields["a"], fields["b"]) == (1, [1, {"c": None}])
    assert fields["d"] in ([1, 2], "{1, 2}")
    assert fields["e"] == "<it cannot be shown: ValueError>"
    assert fields["f"] == "\\ud800"
    assert len(str(fields["g"])) < 300
    assert plain_fields({}) is None


def test_a_damaged_piece_is_an_error() -> None:
    for text in ("z:!!!", "z:AAAA", "[[1]]", "nothing"):
        with pytest.raises(ValueError, match="damaged"):
            decode_piece(text)


def test_many_lines_are_compressed() -> None:
    lines = [encode_line(LINE)] * 100
    assert len(encode_piece(lines)) < sum(map(len, lines)) / 5


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────


class Store:
    """What is stored of one attempt."""

    def __init__(self) -> None:
        self.log = AttemptLog()
        self.pieces: dict[int, Sequence[bytes]] = {}
        self.logged = 0

    def add(self, count: int, size: int = 0) -> None:
        for _ in range(count):
            self.logged += 1
            self.log.add(encode_line(LINE._replace(message=f"{self.logged} {'x' * size}")))

    def write(self) -> None:
        taken = self.log.take()
        for piece in taken.pieces:
            assert piece.first not in self.pieces
            assert len(piece.lines) <= PIECE_LINES
            assert len(piece.lines) == 1 or sum(map(len, piece.lines)) <= PIECE_BYTES
            self.pieces[piece.first] = piece.lines
        for first in taken.dropped:
            del self.pieces[first]

    def numbers(self) -> list[int]:
        """Return the numbers of the lines that are kept, as the lines themselves say them."""
        self.write()
        stored = [(1, first, 1, decode_piece(encode_piece(lines))) for first, lines in sorted(self.pieces.items())]
        lines = lines_of(stored)
        assert [line.number for line in lines] == [int(line.message.split()[0]) for line in lines]
        assert sum(1 + line.left_out for line in lines) == self.logged, "what is missing is said"
        return [line.number for line in lines]


@given(st.lists(st.tuples(st.integers(0, 1500), st.sampled_from((0, 100, 3000))), max_size=6))
def test_the_first_and_the_last_lines_are_kept_whenever_they_are_written(writes: list[tuple[int, int]]) -> None:
    store = Store()
    for count, size in writes:
        store.add(count, size)
        store.write()
    numbers = store.numbers()
    assert len(numbers) <= HEAD_LINES + TAIL_LINES
    assert sum(len(line) for lines in store.pieces.values() for line in lines) <= HEAD_BYTES + TAIL_BYTES + MAX_LINE
    assert numbers[-1:] == ([store.logged] if store.logged else [])
    assert numbers[:1] == ([1] if store.logged else [])
    if store.logged <= 1000 and all(size == 0 for _, size in writes):
        assert len(numbers) == store.logged


def test_of_many_short_lines_a_thousand_are_kept() -> None:
    store = Store()
    store.add(5_000)
    assert store.numbers() == [*range(1, 201), *range(4_201, 5_001)]


def test_slow_lines_leave_piece_by_piece() -> None:
    store = Store()
    for _ in range(300):
        store.add(10)
        store.write()
    numbers = store.numbers()
    assert numbers[:200] == list(range(1, 201))
    assert 700 <= len(numbers) - 200 <= 800
    assert numbers[-1] == 3_000


def test_lines_after_one_that_was_read() -> None:
    stored = [
        (1, 1, 1, decode_piece(encode_piece([encode_line(LINE)] * 3))),
        (2, 1, 1, decode_piece(encode_piece([encode_line(LINE)] * 2))),
    ]
    lines = lines_of(stored)
    assert [(line.run, line.number) for line in lines] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    assert lines_of(stored, lines[1]) == lines[2:]
    assert lines_of(stored[1:], lines[3]) == lines[4:]


def test_a_line_is_plain_json() -> None:
    assert msgspec.json.decode(encode_line(LINE)) == [LINE.at, "INFO", "shop", "sent", {"user": 7}, None]
