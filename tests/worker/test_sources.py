"""Sources: whatever interrupts a loop, every item comes once and in order."""

from __future__ import annotations

import asyncio
import csv as standard_csv
import enum
import gzip
import io
import json
import threading
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TypeVar, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor, cursor_of_key, key_of_cursor
from posthorse.worker.checkpoints.drivers import AsyncDriver
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.sources import AsyncSource, Chunk, Source, as_source, csv, csv_records, keyset, lines
from posthorse.worker.checkpoints.sources.base import ReadsPast
from posthorse.worker.checkpoints.sources.files import Content

T = TypeVar("T")

limits = st.lists(st.integers(1, 7), min_size=1, max_size=30)
interruptions = st.lists(st.booleans(), min_size=1, max_size=30)


def stored(cursor: Cursor) -> Cursor:
    """Return a cursor as it comes back from the store."""
    return json.loads(json.dumps(cursor))  # type: ignore[no-any-return]


def looped(
    make: Callable[[], Source[T]], limits: Sequence[int], interruptions: Sequence[bool], items: list[T] | None = None
) -> list[T]:
    """Return all items of a loop with these limits; at each interruption, the source is made again."""
    source, cursor, items = make(), None, [] if items is None else items
    turn = 0
    try:
        while True:
            limit = limits[turn % len(limits)]
            chunk = source.read(cursor, limit)
            assert len(chunk.items) <= limit
            items += chunk.items
            cursor = stored(chunk.cursor)
            if chunk.is_last or not chunk.items:
                assert chunk.is_last
                return items
            if interruptions[turn % len(interruptions)]:
                source.close()
                source = make()
                source.read(cursor, limit)  # a slice that was read and never committed
            turn += 1
    finally:
        source.close()


def standard_records(path: Path) -> tuple[list[list[str]], bool]:
    """Return the records of the standard reader without a last one that does not end, and whether all of them end."""
    records, is_over = list[list[str]](), False

    def all_lines() -> Iterator[str]:
        nonlocal is_over
        with path.open(newline="", encoding="utf-8") as file:
            yield from file
        is_over = True

    for record in standard_csv.reader(all_lines()):
        if is_over:
            return records, False
        if record:
            records.append(record)
    return records, True


def all_of(source: Source[T], limit: int = 2) -> list[T]:
    return looped(lambda: source, [limit], [False])


def first(source: Source[T], limit: int, cursor: Cursor = None) -> Chunk[T]:
    chunk = source.read(cursor, limit)
    source.close()
    return chunk


def past(source: Source[T], cursor: Cursor, limit: int) -> Chunk[T]:
    reader = cast("ReadsPast[T]", source)
    assert isinstance(reader, ReadsPast)
    chunk: Chunk[T] = reader.read_past(cursor, limit)
    return chunk


def sequence(items: object) -> Source[object]:
    source = as_source(items)
    assert isinstance(source, Source)
    return source


def written(folder: Path, content: bytes, packed: str = "plain") -> Path:
    path = folder / {"plain": "input.csv", "gz": "input.csv.gz", "zip": "input.zip"}[packed]
    match packed:
        case "gz":
            path.write_bytes(gzip.compress(content, 1))
        case "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("input.csv", content)
        case _:
            path.write_bytes(content)
    return path


# Sequences


@given(length=st.integers(0, 40), limits=limits, interruptions=interruptions)
def test_sequences_give_each_item_once(length: int, limits: list[int], interruptions: list[bool]) -> None:
    for kind in (list, tuple, deque, range):
        items = range(length) if kind is range else kind(range(length))
        assert looped(partial(sequence, items), limits, interruptions) == list(range(length))


def test_a_sequence_knows_its_length_and_its_end() -> None:
    source = sequence(["a", "b", "c"])
    assert source.count() == 3
    assert source.read(None, 2) == Chunk(["a", "b"], 2, is_last=False)
    assert source.read(2, 2) == Chunk(["c"], 3, is_last=True)
    assert source.read(3, 2) == Chunk([], 3, is_last=True)


def test_a_sequence_that_shrank_is_refused() -> None:
    source = sequence([1, 2, 3])
    with pytest.raises(UsageError, match="10 items were done, but the sequence has only 3"):
        source.read(10, 1)


@pytest.mark.parametrize("cursor", ["7", -1, True, 1.5, [1, 2], {"uuid": "x"}])
def test_a_position_of_another_source_is_refused(cursor: Cursor) -> None:
    source = sequence([1, 2, 3])
    with pytest.raises(UsageError, match="was the loop changed"):
        source.read(cursor, 1)


@pytest.mark.parametrize(
    ("value", "way_out"),
    [
        ("text", r"\[value\]"),
        (b"bytes", r"splitlines\(\)"),
        (bytearray(b"bytes"), "single characters or bytes"),
        ({"a": 1}, r"sorted\(value.items\(\)\)"),
        ({1, 2}, r"sorted\(value\)"),
        ({"a": 1}.keys(), r"sorted\(value\)"),
        ({"a": 1}.values(), r"list\(value\)"),
        ((n for n in range(3)), "starts over"),
        (iter([1, 2]), r"ph\.keyset"),
        (Path("orders.csv"), r"ph\.lines\(path\) or ph\.csv\(path\)"),
        (io.StringIO("a\nb"), r"ph\.lines\(path\) or ph\.csv\(path\)"),
        (7, "it has no items"),
        (None, "it has no items"),
    ],
)
def test_what_cannot_be_resumed_is_refused_with_a_way_out(value: object, way_out: str) -> None:
    with pytest.raises(TypeError, match=way_out):
        as_source(value)


def test_sources_pass_through() -> None:
    source = keyset(lambda after, limit: list[int](), key=int, start=0)
    assert as_source(source) is source


# Key sets

ROWS = [(n, f"row {n}") for n in range(3, 60, 4)]


def rows_after(after: int, limit: int) -> list[tuple[int, str]]:
    return [row for row in ROWS if row[0] > after][:limit]


async def arows_after(after: int, limit: int) -> list[tuple[int, str]]:
    await asyncio.sleep(0)
    return rows_after(after, limit)


def by_number(row: tuple[int, str]) -> int:
    return row[0]


@given(limits=limits, interruptions=interruptions, stop=st.none() | st.integers(0, 70))
def test_key_sets_give_each_row_once(limits: list[int], interruptions: list[bool], stop: int | None) -> None:
    found = looped(lambda: keyset(rows_after, key=by_number, start=0, stop=stop), limits, interruptions)
    assert found == [row for row in ROWS if stop is None or row[0] <= stop]


def test_a_key_set_without_a_start_first_asks_after_none() -> None:
    asked: list[int | None] = []

    def fetch(after: int | None, limit: int) -> list[int]:
        asked.append(after)
        return [n for n in (1, 2, 3) if after is None or n > after][:limit]

    assert all_of(keyset(fetch, key=int)) == [1, 2, 3]
    assert asked == [None, 2, 3]


def test_short_pages_do_not_end_the_loop() -> None:
    """An API may cap its pages below what is requested."""
    assert all_of(keyset(lambda after, limit: rows_after(after, 1), key=by_number, start=0), 10) == ROWS


def test_a_stop_needs_no_further_fetch() -> None:
    chunk = keyset(rows_after, key=by_number, start=0, stop=7).read(None, 2)
    assert (len(chunk.items), chunk.is_last) == (2, True)


@pytest.mark.parametrize(("total", "count"), [(None, None), (15, 15), (lambda: 15, 15), (lambda: None, None)])
def test_a_key_set_counts_as_told(total: int | Callable[[], int | None] | None, count: int | None) -> None:
    assert keyset(rows_after, key=by_number, start=0, total=total).count() == count


@pytest.mark.parametrize(
    ("pages", "after_wards"),
    [
        ([[5, 4]], "key 4 after 5"),
        ([[1, 1]], "key 1 after 1"),
        ([[0, 1]], "key 0 after 0"),
        ([[1, 2], [2, 3]], "key 2 after 2"),
        ([[1, 2], [1, 2]], "key 1 after 2"),
    ],
)
def test_keys_that_do_not_rise_are_an_error(pages: list[list[int]], after_wards: str) -> None:
    answers = iter(pages)
    with pytest.raises(UsageError, match=after_wards):
        all_of(keyset(lambda after, limit: next(answers), key=int, start=0))


@pytest.mark.parametrize("pages", [[["b", "A", "b"]], [["a", "B"], ["B", "c"]], [["a", "B"], ["a", "c"]]])
def test_text_that_comes_again_is_an_error(pages: list[list[str]]) -> None:
    answers = iter(pages)
    with pytest.raises(UsageError, match="keys must rise"):
        all_of(keyset(lambda after, limit: next(answers), key=str, start=""), 3)


def test_text_may_come_in_the_order_of_a_database() -> None:
    names = ["ärger", "Berg", "a-b", "ab", "Zoo"]  # as some collation has it

    def fetch(after: str | None, limit: int) -> list[str]:
        begin = 0 if after is None else names.index(after) + 1
        return names[begin : begin + limit]

    assert all_of(keyset(fetch, key=str)) == names
    source = keyset(fetch, key=str)
    assert source.read(None, 2) == source.read(None, 2)  # a slice that is read again is no repetition


def test_composite_keys_rise_part_by_part() -> None:
    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    rows = [(noon, 1), (noon, 2), (noon + timedelta(microseconds=1), 1)]

    def fetch(after: tuple[datetime, int] | None, limit: int) -> list[tuple[datetime, int]]:
        return [row for row in rows if after is None or row > after][:limit]

    assert looped(lambda: keyset(fetch, key=lambda row: row), [1], [True]) == rows
    with pytest.raises(UsageError, match="keys must rise"):
        all_of(keyset(lambda after, limit: rows[1::-1], key=lambda row: row))


def test_a_page_larger_than_asked_for_is_an_error() -> None:
    with pytest.raises(UsageError, match="15 rows for a limit of 2"):
        all_of(keyset(lambda after, limit: ROWS, key=by_number, start=0))


def test_keys_of_two_types_are_an_error() -> None:
    rows: list[object] = [1, "2"]
    start: object = 0
    with pytest.raises(UsageError, match="cannot be compared"):
        all_of(keyset(lambda after, limit: rows, key=lambda row: row, start=start))


@pytest.mark.parametrize("key", [None, True, float("nan"), [1], object(), Decimal("NaN")])
def test_a_key_that_a_cursor_cannot_hold_is_an_error(key: object) -> None:
    with pytest.raises(UsageError, match="cannot hold without loss"):
        all_of(keyset(lambda after, limit: [7], key=lambda row: key))


async def fifteen() -> int:
    return 15


@pytest.mark.parametrize(
    "source",
    [
        keyset(arows_after, key=by_number, start=0, total=fifteen),
        keyset(partial(arows_after), key=by_number, start=0, total=15),
        keyset(rows_after, key=by_number, start=0, total=fifteen),
        keyset(arows_after, key=by_number, start=0, total=lambda: 15),
    ],
)
def test_a_key_set_with_coroutines_is_awaited(source: AsyncSource[tuple[int, str]]) -> None:
    async def loop() -> list[tuple[int, str]]:
        assert isinstance(source, AsyncSource)
        assert not isinstance(source, Source)
        assert await source.acount() == 15
        cursor: Cursor = None
        items: list[tuple[int, str]] = []
        while (chunk := await source.aread(cursor, 4)).items:
            items += chunk.items
            cursor = stored(chunk.cursor)
        assert chunk.is_last
        return items

    assert asyncio.run(loop()) == ROWS


def test_a_coroutine_in_disguise_is_named() -> None:
    disguised = keyset(lambda after, limit: arows_after(after, limit), key=by_number, start=0)
    assert isinstance(disguised, Source)
    with pytest.raises(UsageError, match="async def"):
        disguised.read(None, 2)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Stamp(datetime):
    """A datetime that has more precision than its text, as those of data frames do."""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = datetime.__hash__


keys = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.dates()
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=True)
    | st.binary()
    | st.sampled_from([Colour.RED, Level.HIGH])
)


@given(key=st.recursive(keys, lambda parts: st.tuples(parts, parts), max_leaves=4))
def test_every_key_survives_its_cursor(key: object) -> None:
    assert key_of_cursor(stored(cursor_of_key(key))) == key


@pytest.mark.parametrize(
    ("key", "cursor"),
    [
        (7, 7),
        ("seven", "seven"),
        (2**64, {"int": "18446744073709551616"}),
        (date(2026, 5, 4), {"date": "2026-05-04"}),
        (datetime(2026, 5, 4, 12, tzinfo=UTC), {"datetime": "2026-05-04T12:00:00+00:00"}),
        (UUID(int=1), {"uuid": "00000000-0000-0000-0000-000000000001"}),
        (Decimal("1.50"), {"decimal": "1.50"}),
        ((1, "a", (2.5,)), [1, "a", [2.5]]),
    ],
)
def test_cursors_can_be_read_by_people(key: object, cursor: Cursor) -> None:
    assert cursor_of_key(key) == cursor
    assert key_of_cursor(cursor) == key


def test_a_key_that_would_come_back_changed_is_refused() -> None:
    with pytest.raises(UsageError, match="without loss"):
        cursor_of_key(Stamp(2026, 5, 4))


@pytest.mark.parametrize("cursor", [None, {}, {"colour": "red"}, {"uuid": 7}, {"int": "1", "date": "2"}])
def test_a_cursor_that_is_no_key_is_refused(cursor: Cursor) -> None:
    with pytest.raises(UsageError, match="is not a key"):
        key_of_cursor(cursor)


# Lines

PACKINGS = ["plain", "gz", "zip"]
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=8)


@given(
    content=st.lists(texts, max_size=20),
    end=st.sampled_from(["\n", "\r\n"]),
    ends_with_one=st.booleans(),
    packing=st.sampled_from(PACKINGS),
    limits=limits,
    interruptions=interruptions,
)
@settings(deadline=None)
def test_lines_come_once_each(
    content: list[str],
    end: str,
    ends_with_one: bool,
    packing: str,
    limits: list[int],
    interruptions: list[bool],
) -> None:
    text = end.join(content) + (end if ends_with_one and content else "")
    expected = content if ends_with_one or not content or content[-1] else content[:-1]
    expected = [expected[0].removeprefix("\ufeff"), *expected[1:]] if expected else []
    with TemporaryDirectory() as folder:
        path = written(Path(folder), text.encode(), packing)
        assert looped(lambda: lines(path), limits, interruptions) == expected
        assert lines(path).count() == len(expected)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = written(tmp_path, "first\nsecond".encode("utf-8-sig"))
    for encoding in ("utf-8", "UTF8", "utf-8-sig"):
        assert all_of(lines(path, encoding=encoding)) == ["first", "second"]


def test_a_lone_carriage_return_stays_in_its_line(tmp_path: Path) -> None:
    assert all_of(lines(written(tmp_path, b"10%\r50%\r100%\nend\r\n"))) == ["10%\r50%\r100%", "end"]


def test_other_encodings_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "größe\n日本\n".encode("gb18030"))
    assert all_of(lines(path, encoding="gb18030")) == ["größe", "日本"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "cp037", "no-such-encoding", "\0"])
def test_encodings_whose_line_ends_are_not_bytes_are_refused(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="convert the file to UTF-8"):
        lines(tmp_path / "input.txt", encoding=encoding)


def test_a_wrong_encoding_names_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, b"one\ntwo\nthr\xe9e\n")
    source = lines(path)
    chunk = source.read(None, 9)
    assert chunk.items == ["one", "two"]  # those before it come first
    with pytest.raises(UsageError, match=r"input\.csv, line 3: not utf-8"):
        source.read(chunk.cursor, 2)
    source.close()
    assert all_of(lines(path, errors="replace"))[-1] == "thr\ufffde"
    assert all_of(lines(path, encoding="latin-1"))[-1] == "thrée"


def test_lines_need_not_be_counted(tmp_path: Path) -> None:
    assert lines(tmp_path / "never-opened", total=False).count() is None


@pytest.mark.parametrize("make", [lines, csv])
@pytest.mark.parametrize("packing", PACKINGS)
def test_a_file_that_became_shorter_is_refused(
    make: Callable[[Path], Source[object]], packing: str, tmp_path: Path
) -> None:
    cursor = first(make(written(tmp_path, b"a,b\n" * 100, packing)), 90).cursor
    shorter = make(written(tmp_path, b"a,b\n" * 10, packing))
    with pytest.raises(UsageError, match=r"is shorter than the 36\d bytes"):
        shorter.read(cursor, 1)
    shorter.close()


def test_a_file_with_other_lines_is_refused(tmp_path: Path) -> None:
    cursor = first(lines(written(tmp_path, b"one\ntwo\nthree\n")), 2).cursor
    other = lines(written(tmp_path, b"eleven\ntwelve\n"))
    with pytest.raises(UsageError, match="no line end before byte 8"):
        other.read(cursor, 1)
    other.close()


def test_an_archive_of_several_files_needs_a_name(tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("first.txt", "1\n2\n")
        archive.writestr("second.txt", "3\n")
    with pytest.raises(InvalidOption, match=r"holds first\.txt, second\.txt; name one"):
        lines(path).count()
    with pytest.raises(InvalidOption, match="name one"):
        lines(path, member="third.txt").count()
    assert all_of(lines(path, member="first.txt")) == ["1", "2"]


def test_the_last_chunk_of_lines_is_known_to_be_the_last(tmp_path: Path) -> None:
    path = written(tmp_path, b"one\ntwo\n")
    assert [first(lines(path), 1).is_last, first(lines(path), 2).is_last] == [False, True]


def test_an_unfinished_last_line_is_a_line_and_the_end(tmp_path: Path) -> None:
    path = written(tmp_path, b"one\ntwo")
    chunk = first(lines(path), 2)
    assert list(chunk.items) == ["one", "two"]
    assert first(lines(path), 2, chunk.cursor) == Chunk((), chunk.cursor, is_last=True)


def test_a_missing_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lines(tmp_path / "gone.txt").read(None, 1)


@pytest.mark.parametrize("make", [lines, csv])
@pytest.mark.parametrize("packing", PACKINGS)
def test_consecutive_reads_neither_reopen_nor_seek(
    make: Callable[[Path], Source[object]], packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, b"a,b\n" + b"1,2\n" * 500, packing)
    moves: list[str] = []

    def counted(name: str) -> None:
        move = getattr(Content, name)

        def counting(*arguments: object) -> object:
            moves.append(name)
            return move(*arguments)

        monkeypatch.setattr(Content, name, counting)

    counted("opened")
    counted("_go_to")
    assert len(all_of(make(path), 10)) >= 500
    assert moves == ["opened"]


# CSV

cells = st.text(st.sampled_from('ab,;"\r\n é日'), max_size=5)


def records_of(path: Path) -> list[dict[str, str]]:
    """Return what the standard reader returns."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [dict(record) for record in standard_csv.DictReader(file)]


def written_rows(rows: Iterable[Sequence[str]], end: str) -> bytes:
    text = io.StringIO(newline="")
    standard_csv.writer(text, lineterminator=end, quoting=standard_csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode()


@given(
    rows=st.lists(st.tuples(cells, cells, cells), max_size=15),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    packing=st.sampled_from(PACKINGS),
    limits=limits,
    interruptions=interruptions,
)
@settings(deadline=None)
def test_rows_come_once_each(
    rows: list[tuple[str, str, str]], end: str, packing: str, limits: list[int], interruptions: list[bool]
) -> None:
    content = written_rows([("a", "b", "c"), *rows], end)
    with TemporaryDirectory() as folder:
        path = written(Path(folder), content, packing)
        expected = records_of(written(Path(folder), content))
        assert len(expected) == len(rows)
        assert looped(lambda: csv(path), limits, interruptions) == expected
        assert csv(path).count() == len(rows)


@given(
    content=st.text(st.sampled_from('ab,"\r\n'), max_size=40),
    limits=limits,
    interruptions=interruptions,
)
@settings(deadline=None)
def test_odd_files_are_read_as_the_standard_reader_reads_them(
    content: str, limits: list[int], interruptions: list[bool]
) -> None:
    with TemporaryDirectory() as folder:
        path = written(Path(folder), content.encode())
        expected, is_finished = standard_records(path)
        columns = [str(n) for n in range(50)]  # more than any record has

        def make() -> Source[dict[str, str]]:
            return csv(path, fields=columns)

        rows = list[dict[str, str]]()
        with nullcontext() if is_finished else pytest.raises(UsageError, match="does not end"):
            looped(make, limits, interruptions, rows)
        assert rows == [dict(zip(columns, [*record, *[""] * 50], strict=False)) for record in expected]
        assert make().count() == (len(expected) if is_finished else None)


def test_real_cursors_stand_between_records_not_lines(tmp_path: Path) -> None:
    path = written(tmp_path, b'id,text\n1,"two\nlines"\n2,one\n')
    chunk = first(csv(path), 1)
    assert chunk == Chunk([{"id": "1", "text": "two\nlines"}], [22, 3], is_last=False)
    assert first(csv(path), 1, stored(chunk.cursor)) == Chunk([{"id": "2", "text": "one"}], [28, 4], is_last=True)


def test_ragged_rows_keep_all_that_they_hold(tmp_path: Path) -> None:
    path = written(tmp_path, b"id,name,mail\n1,Ann\n\n2,Bob,bob@example.com,x,y\n")
    assert all_of(csv(path)) == [
        {"id": "1", "name": "Ann", "mail": ""},
        {"id": "2", "name": "Bob", "mail": "bob@example.com", "*": "x,y"},
    ]
    assert csv(path).count() == 2


def test_columns_may_be_named_by_the_caller(tmp_path: Path) -> None:
    path = written(tmp_path, b"1;Ann\n2;'B;b'\n")
    source = csv(path, fields=["id", "name"], delimiter=";", quotechar="'")
    assert all_of(source) == [{"id": "1", "name": "Ann"}, {"id": "2", "name": "B;b"}]
    assert source.count() == 2


def test_quoting_can_be_turned_off(tmp_path: Path) -> None:
    path = written(tmp_path, b'size\ttext\n5"\t"open\n6"\tx\n')
    assert all_of(csv(path, delimiter="\t", quotechar=None)) == [
        {"size": '5"', "text": '"open'},
        {"size": '6"', "text": "x"},
    ]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = written(tmp_path, '"id",name\n1,Ann\n'.encode("utf-8-sig"))
    assert all_of(csv(path)) == [{"id": "1", "name": "Ann"}]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"id,name\n"])
def test_a_file_without_rows_is_an_empty_loop(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    assert (all_of(csv(path)), csv(path).count()) == ([], 0)


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    source = csv(written(tmp_path, b"id,name,id\n1,Ann,2\n"))
    with pytest.raises(InvalidOption, match="names 'id' more than once"):
        source.read(None, 1)
    source.close()
    with pytest.raises(InvalidOption, match="names no columns"):
        csv(tmp_path / "input.csv", fields=[])


@pytest.mark.parametrize("packing", PACKINGS)
def test_an_unclosed_quote_is_an_error_behind_the_rows_before_it(packing: str, tmp_path: Path) -> None:
    path = written(tmp_path, b'id,name\n1,Ann\n2,"Bob\n' + b"3,Cid\n" * 40_000, packing)
    for source in (csv(path), csv(path, strict=True)):
        assert source.count() is None
        chunk = source.read(None, 10)
        assert chunk.items == [{"id": "1", "name": "Ann"}]
        for _ in range(2):  # nor does it help to try again
            with pytest.raises(UsageError, match=r"record at line 3: it does not end, and takes 40,000 more lines"):
                source.read(chunk.cursor, 10)
            with pytest.raises(UsageError, match=r"record at line 3: it does not end"):
                past(source, chunk.cursor, 10)
        source.close()


def test_a_record_that_goes_on_and_on_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "MAX_RECORD", 10_000)
    source = csv(written(tmp_path, b'id,name\n2,"Bob\n' + b"3,Cid\n" * 40_000))
    assert source.count() is None
    with pytest.raises(UsageError, match=r"record at line 2: it does not end, and takes 1,6\d\d more lines"):
        source.read(None, 1)
    source.close()


def test_fields_may_be_large_and_a_limit_can_be_set(tmp_path: Path) -> None:
    before = standard_csv.field_size_limit()
    page, larger = "x" * 200_000, "y" * 300_001
    path = written(tmp_path, f'id,page\n1,"{page}"\n2,{larger}\n3,z\n'.encode())
    assert [row["page"] for row in all_of(csv(path))] == [page, larger, "z"]
    source = csv(path, field_limit=300_000)
    assert source.count() == 3
    chunk = source.read(None, 9)
    assert [row["page"] for row in chunk.items] == [page]
    with pytest.raises(
        UsageError, match=r"line 3: a field has 300,001 characters and may have 300,000 \(field_limit=\)"
    ):
        source.read(chunk.cursor, 9)
    chunk = past(source, None, 9)
    assert [row["id"] for row in chunk.items] == ["1", "3"]
    assert [bad.text[:5] for bad in chunk.unreadable] == ["2,yyy"]
    source.close()
    assert standard_csv.field_size_limit() == before
    for wrong in (0, -1, True, 1.5, 10**9):
        with pytest.raises(InvalidOption, match="field_limit is"):
            csv(path, field_limit=wrong)  # type: ignore[arg-type]  # as callers without types may


@pytest.mark.parametrize("make", [lines, partial(csv, fields=["text"])])
@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_what_cannot_be_decoded_is_passed_over_from_any_place(
    make: Callable[[Path], Source[object]], packing: str, limit: int, tmp_path: Path
) -> None:
    path = written(tmp_path, b"one\n\xff2\n\xff3\nfour\nfive\n\xff6", packing)
    good, bad, cursor = list[object](), list[str](), cast("Cursor", None)
    while True:
        source = make(path)
        chunk = past(source, cursor, limit)
        source.close()
        assert len(chunk.items) + len(chunk.unreadable) <= limit
        good += chunk.items
        bad += [each.text.strip() for each in chunk.unreadable]
        assert all("not utf-8" in str(each.error) for each in chunk.unreadable)
        cursor = stored(chunk.cursor)
        if chunk.is_last:
            break
    texts = [each if isinstance(each, str) else cast("dict[str, str]", each)["text"] for each in good]
    assert (texts, bad) == (["one", "four", "five"], ["\ufffd2", "\ufffd3", "\ufffd6"])


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("block", [1, 2, 7, 1 << 16])
def test_lines_may_end_as_old_spreadsheets_ended_them(
    packing: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_records, "_BLOCK", block)
    for end in ("\r", "\n", "\r\n"):
        path = written(tmp_path, end.join(["id,name", "1,Ann", '2,"Bob\r\rB"', "", "3,Cid"]).encode(), packing)
        expected = [{"id": "1", "name": "Ann"}, {"id": "2", "name": "Bob\r\rB"}, {"id": "3", "name": "Cid"}]
        assert looped(lambda path=path: csv(path), [1], [True]) == expected  # type: ignore[misc]  # bound at once
        assert csv(path).count() == 3


def test_surplus_fields_leave_a_column_of_that_name_alone(tmp_path: Path) -> None:
    path = written(tmp_path, b"id,*\n1,mine,surplus\n2,mine\n")
    assert all_of(csv(path)) == [{"id": "1", "*": "mine", "**": "surplus"}, {"id": "2", "*": "mine"}]


def test_a_dialect_that_csv_refuses_is_refused_when_it_is_declared(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="delimiter"):
        csv(tmp_path / "input.csv", delimiter=";;")


# ── beside the loop ──────────────────────────────────────────────────────────────────────────────────


class Told(Sequence[int]):
    """A sequence that may block, and notes in which threads it is read."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> int:  # type: ignore[override]  # no slices: not every sequence knows them
        self.threads.add(threading.get_ident())
        return index


def test_a_coroutine_cuts_what_lies_in_memory_itself_and_reads_what_may_block_in_a_thread() -> None:
    async def read(items: Sequence[int]) -> Chunk[object]:
        source = as_source(items)
        hands = AsyncDriver(cast("Journal", SimpleNamespace(aread=None, asave=None)), source)
        with forbidden_threads() if isinstance(items, range) else nullcontext():
            assert await hands.count() == 5
            return cast("Chunk[object]", await hands.read(None, 3))

    @contextmanager
    def forbidden_threads() -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor := ThreadPoolExecutor(1))
        executor.shutdown()  # using it would fail
        yield

    told = Told()
    assert list(asyncio.run(read(told)).items) == [0, 1, 2]
    assert told.threads
    assert threading.get_ident() not in told.threads
    assert asyncio.run(read(range(5))).items == range(3)


# Local times

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = [datetime(2026, 10, 24, 23, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(20)]
"""A quarter of an hour apart, over the hour that the clocks of Berlin show twice, from 0:00 to 1:00 UTC."""


@given(limits=limits, interruptions=interruptions, with_ids=st.booleans())
def test_keys_in_the_repeated_hour_rise_as_the_moments_that_they_are(
    limits: list[int], interruptions: list[bool], with_ids: bool
) -> None:
    local = [moment.astimezone(BERLIN) for moment in NIGHT]
    assert local != sorted(local)  # by the clock on the wall

    def after_time(after: datetime | None, limit: int) -> list[datetime]:
        return [time for time in local if after is None or time.timestamp() > after.timestamp()][:limit]

    def after_pair(after: tuple[datetime, int] | None, limit: int) -> list[tuple[datetime, int]]:
        first = None if after is None else after[0]
        return [(time, 7) for time in after_time(first, limit)]

    if with_ids:
        found = looped(lambda: keyset(after_pair, key=lambda row: row), limits, interruptions)
        assert [time.timestamp() for time, _ in found] == [moment.timestamp() for moment in NIGHT]
    else:
        found_times = looped(lambda: keyset(after_time, key=lambda row: row), limits, interruptions)
        assert [time.timestamp() for time in found_times] == [moment.timestamp() for moment in NIGHT]
        stopped = looped(lambda: keyset(after_time, key=lambda row: row, stop=local[9]), limits, interruptions)
        assert len(stopped) == 10
    with pytest.raises(UsageError, match="keys must rise"):
        all_of(keyset(lambda after, limit: [local[3], local[2]], key=lambda row: row))
    with pytest.raises(UsageError, match="keys must rise"):
        all_of(keyset(lambda after, limit: [local[3], NIGHT[3]], key=lambda row: row))


@pytest.mark.parametrize("moment", NIGHT)
def test_a_time_in_the_repeated_hour_is_a_cursor(moment: datetime) -> None:
    key = key_of_cursor(stored(cursor_of_key(moment.astimezone(BERLIN))))
    assert isinstance(key, datetime)
    assert key.astimezone(UTC) == moment


@pytest.mark.parametrize("key", [datetime.min.replace(tzinfo=BERLIN), datetime.max.replace(tzinfo=UTC)])
def test_times_at_the_edge_of_the_calendar_are_cursors(key: datetime) -> None:
    assert key_of_cursor(stored(cursor_of_key(key))) == key
