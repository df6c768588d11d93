"""Sources cut into ranges: each item is in exactly one, in order, however many parts there are."""

from __future__ import annotations

import asyncio
import gzip
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthorse.errors import InvalidSource, UsageError
from posthorse.rules.ranges import Range
from posthorse.worker.checkpoints.sources import as_source, csv, csv_records, file_ranges, files, keyset, lines
from posthorse.worker.checkpoints.sources.base import AsyncSource, AsyncSplittable, Chunk, Source
from posthorse.worker.checkpoints.splitting import checked_ranges, splittable
from tests.worker.cutting import assert_covered, met, split, within

PARTS = st.integers(1, 9)
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - keys may be naive, too
BERLIN = ZoneInfo("Europe/Berlin")


def assert_refused(source: Source[object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        met(source)
    source.close()


# Sequences


@given(st.integers(0, 40), PARTS, st.integers(1, 5))
def test_a_sequence_is_cut_by_its_indices(length: int, parts: int, limit: int) -> None:
    ranges = assert_covered(lambda: as_source(range(length)), parts, range(length), limit=limit)
    totals = [each.total or 0 for each in ranges]
    assert len(ranges) == max(1, min(parts, length))
    assert max(totals) - min(totals) <= 1


def test_sequences_that_cannot_be_sliced_are_cut_too() -> None:
    assert_covered(lambda: as_source(deque("abcdefg")), 3, "abcdefg", limit=2)


def test_a_sequence_that_shrank_since_it_was_cut_is_refused() -> None:
    _, second = split(lambda: as_source(range(10)), 2)
    first, _ = split(lambda: as_source(range(10)), 2)
    with pytest.raises(UsageError, match="5 items were there when they were cut"):
        within(lambda: as_source(range(4)), first).read(None, 10)
    with pytest.raises(UsageError, match="5 items were done, but the sequence has only 4 now"):
        within(lambda: as_source(range(4)), second).read(None, 10)


# Key sets


def fetching(keys: Sequence[Any]) -> Callable[[Any, int], list[Any]]:
    """Return a fetch over these keys, which are in order."""

    def fetch(after: Any, limit: int) -> list[Any]:  # noqa: ANN401 - of any type
        return [key for key in keys if after is None or after < key][:limit]

    return fetch


def itself(row: Any) -> Any:  # noqa: ANN401 - of any type
    return row


@given(st.sets(st.integers(-60, 60), max_size=40), PARTS, st.integers(1, 5))
def test_a_key_set_of_numbers_is_cut_at_even_distances(keys: set[int], parts: int, limit: int) -> None:
    fetch = fetching(sorted(keys))
    expected = [key for key in sorted(keys) if -50 < key <= 50]
    ranges = assert_covered(
        lambda: keyset(fetch, key=itself, start=-50, stop=50), parts, expected, limit=limit, may_be_empty=True
    )
    assert len(ranges) == parts
    assert {each.total for each in ranges} == {None}


@pytest.mark.parametrize(
    "keys",
    [
        [uuid.UUID(int=n << 100) for n in range(1, 20)],
        [date(2026, 1, 1) + timedelta(days=3 * n) for n in range(20)],
        [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=7 * n) for n in range(20)],
        [NAIVE + timedelta(microseconds=n) for n in range(20)],
        [n / 7 for n in range(20)],
        [Decimal(n) / 10 for n in range(20)],
        [2**80 + n for n in range(20)],
        [-20, *range(1, 20)],
    ],
)
@pytest.mark.parametrize("parts", [1, 2, 7, 40])
def test_keys_that_can_be_counted_are_cut(keys: list[Any], parts: int) -> None:
    ranges = assert_covered(
        lambda: keyset(fetching(keys), key=itself, start=keys[0], stop=keys[-1]), parts, keys[1:], may_be_empty=True
    )
    assert len(ranges) > 1 or parts == 1
    with_items = [each for each in ranges if met(within(lambda: keyset(fetching(keys), key=itself), each))[0]]
    assert len(with_items) > 1 or parts == 1


@given(PARTS, st.integers(1, 6))
def test_local_times_are_cut_as_moments_in_the_night_that_has_an_hour_twice(parts: int, limit: int) -> None:
    begin = datetime(2026, 10, 24, 23, tzinfo=UTC)
    night = [(begin + timedelta(minutes=15 * n)).astimezone(BERLIN) for n in range(20)]
    moments = [each.astimezone(UTC) for each in night]

    def fetch(after: datetime | None, limit: int) -> list[datetime]:
        return [key for key in night if after is None or after.astimezone(UTC) < key.astimezone(UTC)][:limit]

    ranges = assert_covered(
        lambda: keyset(fetch, key=itself, start=night[0], stop=night[-1]),
        parts,
        moments[1:],
        look=lambda item: item.astimezone(UTC) if isinstance(item, datetime) else item,
        limit=limit,
        may_be_empty=True,
    )
    assert len(ranges) == parts
    sizes = [len(met(within(lambda: keyset(fetch, key=itself), each))[0]) for each in ranges]
    assert max(sizes) - min(sizes) <= 2  # even as moments, not by the wall clock


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), unique=True, max_size=30), PARTS)
def test_keys_with_ties_in_their_first_part_are_cut_where_their_owner_says(
    keys: list[tuple[int, int]], parts: int
) -> None:
    ordered = sorted(keys)

    def quantiles(after: object, upto: object, parts: int) -> Iterable[tuple[int, int]]:
        inside: list[Any] = [key for key in ordered if (after is None or after < key) and (upto is None or key <= upto)]  # type: ignore[operator]  # tuples
        return [inside[len(inside) * part // parts - 1] for part in range(1, parts) if len(inside) * part // parts]

    assert_covered(lambda: keyset(fetching(ordered), key=itself, split=quantiles), parts, ordered)


def test_text_is_cut_by_code_point_and_another_order_is_an_error() -> None:
    words = ["Ant", "Bee", "ant", "bee"]
    assert_covered(lambda: keyset(fetching(words), key=itself, split=lambda *_: ["Cow"]), 2, words, again=0)
    as_people_sort = ["ant", "Ant", "bee", "Bee"]

    def fetch(after: str | None, limit: int) -> list[str]:
        begin = 0 if after not in as_people_sort else as_people_sort.index(after) + 1
        return as_people_sort[begin : begin + limit]

    part = keyset(fetch, key=itself, split=lambda *_: ["bee"])
    first, _ = split(lambda: part, 2)
    with pytest.raises(UsageError, match="text is compared by code point"):
        met(within(lambda: part, first))


@pytest.mark.parametrize(
    ("start", "stop", "why"),
    [
        (None, None, "it has no start and no stop"),
        (0, None, "it has no stop"),
        (None, 9, "it has no start"),
        ("a", "z", "nothing is known between 'a' and 'z'"),
        ((1, 2), (3, 4), "nothing is known between"),
        (NAIVE, datetime(2026, 1, 2, tzinfo=UTC), "nothing is known between"),
    ],
)
def test_a_key_set_without_known_keys_says_why_it_cannot_be_cut(start: Any, stop: Any, why: str) -> None:  # noqa: ANN401
    with pytest.raises(InvalidSource, match=why) as caught:
        split(lambda: keyset(fetching([]), key=itself, start=start, stop=stop), 2)
    assert "pass split=, a function (after, upto, parts)" in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([5, 3], "returned key 3 after 5"),
        ([0, 10], None),
        ([-1], "returned key -1 after 0"),
        ([11], "within keys up to 10"),
        ([1, 2, 3], "3 keys for 3 parts"),
        (["x"], "cannot be compared"),
        ([4, 4], None),
    ],
)
def test_keys_to_cut_at_must_rise_between_the_ends(keys: list[Any], why: str | None) -> None:
    def make() -> object:
        return keyset(fetching(range(1, 11)), key=itself, start=0, stop=10, split=lambda *_: keys)

    if why is None:
        assert [each.upto for each in split(make, 3)] == [*({4} & set(keys)), None]
    else:
        with pytest.raises(UsageError, match=why):
            split(make, 3)


def test_a_key_set_with_coroutines_is_cut_with_await() -> None:
    async def fetch(after: int, limit: int) -> list[int]:
        return list(range(after + 1, min(after + limit, 20) + 1))

    async def halves(after: int, upto: int | None, parts: int) -> list[int]:
        return [(after + (upto or 20)) // 2]

    def disguised(*_: object) -> Any:  # noqa: ANN401 - a coroutine, which it does not say
        return halves(0, 9, 2)

    async def scene(source: AsyncSource[int]) -> list[int]:
        assert isinstance(source, AsyncSplittable)
        items: list[int] = []
        for each in await source.asplit(2, None, None):
            part, cursor = source.within(each), None
            while True:
                chunk = await part.aread(cursor, 3)
                items += chunk.items
                cursor = chunk.cursor
                if chunk.is_last:
                    break
            assert await part.acount() == each.total
        return items

    assert asyncio.run(scene(keyset(fetch, key=itself, start=0, split=halves))) == list(range(1, 21))
    assert asyncio.run(scene(keyset(fetch, key=itself, start=0, stop=20))) == list(range(1, 21))
    with pytest.raises(UsageError, match="split returned an awaitable"):
        split(lambda: keyset(fetching([]), key=itself, start=0, split=disguised), 2)


# Files


@given(st.integers(0, 12), PARTS, st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_files_are_cut_by_their_paths(number: int, parts: int, limit: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for each in range(number):
            (folder / f"{each % 3}").mkdir(exist_ok=True)
            (folder / f"{each % 3}" / f"{each}.txt").touch()
        expected = sorted(folder.rglob("*.txt"), key=lambda path: path.parts)
        ranges = assert_covered(lambda: files(folder), parts, expected, limit=limit)
        assert len(ranges) == max(1, min(parts, number))
        assert_covered(lambda: files(folder / "**" / "*.txt"), parts, expected, limit=limit, again=1)


def test_a_file_that_comes_later_is_in_the_range_of_its_name(tmp_path: Path) -> None:
    for name in "bcde":
        (tmp_path / name).touch()
    first, second = split(lambda: files(tmp_path), 2)
    for name in ("a", "bb", "z"):
        (tmp_path / name).touch()
    (tmp_path / "d").unlink()
    assert [path.name for path in met(within(lambda: files(tmp_path), first))[0]] == ["a", "b", "bb", "c"]  # type: ignore[attr-defined]
    assert [path.name for path in met(within(lambda: files(tmp_path), second))[0]] == ["e", "z"]  # type: ignore[attr-defined]


# Lines

line = st.text(st.sampled_from("aä\r "), max_size=12)


@given(st.lists(line, max_size=25), st.booleans(), st.sampled_from(["\n", "\r\n"]), PARTS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_lines_are_cut_at_their_ends(texts: list[str], is_ended: bool, end: str, parts: int, total: bool) -> None:
    content = end.join(texts) + (end if is_ended and texts else "")
    expected = content.split("\n")
    expected = [text.removesuffix("\r") for text in (expected if expected[-1] else expected[:-1])]
    with TemporaryDirectory() as name:
        path = Path(name, "lines.txt")
        path.write_bytes(b"\xef\xbb\xbf" + content.encode())
        if content:
            ranges = assert_covered(lambda: lines(path, total=total), parts, expected)
            assert all((each.total is not None) == total for each in ranges) or not total


def test_cuts_are_as_even_as_the_lines_allow(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{number:09}\n" for number in range(1000)))
    assert [each.total for each in split(lambda: lines(path), 4)] == [250, 250, 250, 250]
    path.write_text("short\n" * 10 + "x" * 1000 + "\n" + "short\n" * 10)
    assert [each.total for each in split(lambda: lines(path), 4)] == [11, 10]
    path.write_text("")
    assert split(lambda: lines(path), 4) == [Range(total=0)]


def test_appended_lines_belong_to_the_last_range(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("1\n2\n3\n4\n")
    first, second = split(lambda: lines(path), 2)
    with path.open("a") as file:
        file.write("5\n")
    part = within(lambda: lines(path), first)
    assert part.read(None, 2).is_last
    part.close()
    assert met(within(lambda: lines(path), first))[0] == ["1", "2"]
    assert met(within(lambda: lines(path), second))[0] == ["3", "4", "5"]


def test_a_file_whose_lines_moved_across_a_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("1\n2\n3\n4\n")
    first, second = split(lambda: lines(path), 2)
    path.write_text("1\n22\n333\n4\n")
    for each, why in ((first, "where it was cut"), (second, "where the job stopped")):
        assert_refused(within(lambda: lines(path), each), f"no line end before byte 4, {why}")


@pytest.mark.parametrize(("total", "named"), [(True, "line 5"), (False, "line 2 after byte 6")])
def test_an_unreadable_line_is_named_and_stays_in_its_range(tmp_path: Path, total: bool, named: str) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"1\n2\n3\n4\n\xff\n6\n")
    ranges = split(lambda: lines(path, total=total), 2)
    found = [met(within(lambda: lines(path, total=total), each), reads_past=True)[0] for each in ranges]
    assert found == [["1", "2", "3"], ["4", "6", "\ufffd\n"]]
    assert_refused(within(lambda: lines(path, total=total), ranges[1]), f"{named}: not utf-8")


def test_compressed_files_are_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt.gz"
    path.write_bytes(gzip.compress(b"1\n2\n"))
    for source in (lines(path), csv(path)):
        with pytest.raises(InvalidSource, match=r"it is compressed, .* unpack the file first"):
            split(lambda source=source: source, 2)  # type: ignore[misc]  # bound at once


# CSV

cell = st.text(st.sampled_from('a"\n\r,ä'), max_size=6)


def quoted(rows: Iterable[Sequence[str]], end: str) -> str:
    return "".join(",".join('"' + each.replace('"', '""') + '"' for each in row) + end for row in rows)


@given(
    st.lists(st.tuples(cell, cell), max_size=20),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    PARTS,
    st.booleans(),
    st.sampled_from([1, 7, 1 << 16]),
)
@settings(max_examples=150, deadline=None)
def test_quoted_rows_are_cut_between_records_not_within_quotes(
    rows: list[tuple[str, str]], end: str, parts: int, total: bool, block: int
) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "_BLOCK", block)
        path = Path(name, "rows.csv")
        path.write_bytes(quoted([("left", "right"), *rows], end).encode())
        expected = [{"left": left, "right": right} for left, right in rows]
        ranges = assert_covered(lambda: csv(path, total=total), parts, expected)
        assert sum(each.total or 0 for each in ranges) == len(rows) == csv(path).count()


plain = st.text(st.sampled_from('a"ä '), min_size=1, max_size=6)


@given(
    st.lists(st.lists(plain, min_size=1, max_size=3), max_size=20),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    st.booleans(),
    PARTS,
    st.booleans(),
    st.sampled_from([1, 2, 1 << 20]),
)
@settings(max_examples=150, deadline=None)
def test_rows_without_quotes_are_cut_at_line_ends(
    rows: list[list[str]], end: str, is_ended: bool, parts: int, total: bool, block: int
) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_ranges, "_BLOCK", block)
        path = Path(name, "rows.csv")
        path.write_bytes((end.join(["a,b,c", *map(",".join, rows)]) + (end if is_ended else "")).encode())
        whole = csv(path, quotechar=None)
        expected, _ = met(whole)
        assert len(expected) == len(rows)
        # Two line ends in a row may be cut apart, and then a range holds an empty line and nothing else.
        ranges = assert_covered(
            lambda: csv(path, quotechar=None, total=total), parts, expected, may_be_empty=end == "\n\n" and not total
        )
        offsets: list[Any] = [each.upto for each in ranges[:-1]]
        assert all(path.read_bytes()[at - 1 : at + 1] != b"\r\n" for at, *_ in offsets)


def test_rows_of_a_file_that_is_not_counted_are_cut_without_reading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("n\n" + "".join(f"{number:09}\n" for number in range(30_000)))
    read: list[int] = []
    real = csv_records.Records.next_record

    def counted(records: csv_records.Records) -> csv_records.Record | None:
        read.append(1)
        return real(records)

    monkeypatch.setattr(csv_records.Records, "next_record", counted)
    assert len(split(lambda: csv(path, quotechar=None, total=False), 4)) == 4
    assert len(read) == 1  # the header


def test_rows_that_cannot_be_read_stay_in_their_ranges(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"n\n1\n\xff\n3\n4\n\xff\n6\n")
    unreadable = "�"
    rows = [{"n": "1"}, {"n": "3"}, {"n": "4"}, {"n": "6"}]
    ranges = split(lambda: csv(path), 3)
    assert [each.total for each in ranges] == [2, 2, 2]
    found = [met(within(lambda: csv(path), each), reads_past=True)[0] for each in ranges]
    assert [row for part in found for row in part if isinstance(row, dict)] == rows
    assert [str(text).strip() for part in found for text in part if isinstance(text, str)] == [unreadable] * 2


def test_a_quote_that_is_never_closed_is_in_the_last_range(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("n\n1\n2\n3\n4\n5\n" + '"six\n7\n8\n9\n10\n11\n12\n')
    ranges = split(lambda: csv(path), 4)
    assert len(ranges) == 2
    assert met(within(lambda: csv(path), ranges[0]))[0] == [{"n": str(n)} for n in range(1, 5)]
    assert ranges[-1].total is None
    assert_refused(within(lambda: csv(path), ranges[-1]), "record at line 7: it does not end")


# Sources of one's own


class Pages:
    """Ten numbers, in pages that can be cut at any number."""

    def __init__(self, part: Range | None = None) -> None:
        self.part: Any = part or Range()

    def count(self) -> int | None:
        total: int | None = self.part.total
        return total

    def read(self, cursor: Any, limit: int) -> Chunk[int]:  # noqa: ANN401 - its own
        begin = (self.part.after if cursor is None else cursor) or 0
        end = min(begin + limit, self.part.upto or 10)
        return Chunk(list(range(begin, end)), end, is_last=end == (self.part.upto or 10))

    def close(self) -> None:
        pass

    def split(self, parts: int, after: Any, upto: Any) -> list[Range]:  # noqa: ANN401 - its own
        middle = ((after or 0) + (upto or 10)) // 2
        return [Range(after, middle), Range(middle, upto)]

    def within(self, part: Range) -> Pages:
        return Pages(part)


class Uncut:
    def count(self) -> int | None:
        return None

    def read(self, cursor: object, limit: int) -> Chunk[int]:
        return Chunk((), None, is_last=True)

    def close(self) -> None:
        pass


class AsyncUncut:
    async def acount(self) -> int | None:
        return None

    async def aread(self, cursor: object, limit: int) -> Chunk[int]:
        return Chunk((), None, is_last=True)

    def close(self) -> None:
        pass


def test_a_source_of_ones_own_is_cut_by_its_two_methods() -> None:
    assert splittable(Pages()) is not None
    assert_covered(Pages, 2, range(10), again=0)


def test_a_source_without_the_methods_says_which_are_missing() -> None:
    sources: list[tuple[Source[int] | AsyncSource[int], str]] = [(Uncut(), "no split"), (AsyncUncut(), "no asplit")]
    for source, why in sources:
        with pytest.raises(InvalidSource, match=rf"a {type(source).__name__} cannot be cut .* {why}\(parts, after, up"):
            splittable(source)


@pytest.mark.parametrize(
    ("ranges", "why"),
    [
        ([], "0 ranges for 2 parts"),
        ([Range(None, 1), Range(1, 2), Range(2)], "3 ranges for 2 parts"),
        ([Range(None, 3), Range(4)], "range 1 after 4, but what comes before it ends at 3"),
        ([Range(1)], "range 0 after 1"),
        ([Range(None, 5)], "a last range up to 5 instead of None"),
        ([Range(), Range()], "range 0 with upto=None"),
        ([Range(None, [1, 2]), Range([1, 2], [1, 2])], "range 1 that ends where it begins"),
        (["a", "b"], "it must return a list of ph.Range"),
        (None, "it must return a list of ph.Range"),
    ],
)
def test_ranges_that_lose_or_double_items_are_refused(ranges: object, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        checked_ranges(ranges, Range(), 2)


def test_ranges_that_follow_each_other_are_taken_as_json_has_them() -> None:
    ranges = [Range(None, (1, 2)), Range([1, 2], None)]
    assert checked_ranges(ranges, Range(), 2) == ranges


def test_no_file_is_left_open_by_cutting(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("n\n1\n2\n3\n4\n")
    for make in _sources_of(path):
        split(make, 3)
    assert [str(each.message) for each in recwarn] == []


def _sources_of(path: Path) -> Iterator[Callable[[], object]]:
    yield lambda: lines(path)
    yield lambda: lines(path, total=False)
    yield lambda: csv(path)
    yield lambda: csv(path, quotechar=None, total=False)
