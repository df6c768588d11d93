"""Lines of a text file as a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO

from posthorse.errors import UsageError
from posthorse.rules.cursor import Cursor
from posthorse.rules.ranges import Range
from posthorse.worker.checkpoints.sources.base import Chunk, Source, Unreadable
from posthorse.worker.checkpoints.sources.file_ranges import check_can_cut, counted_ranges, uncounted_ranges
from posthorse.worker.checkpoints.sources.files import Content, FilePath, FilePosition, TextForm, changed

_BLOCK = 1 << 20


def lines(
    path: FilePath,
    *,
    member: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    total: bool = True,
) -> Source[str]:
    r"""Return the lines of a text file as a source, without their ends (\n or \r\n; a lone \r stays within its line).

    A file named *.gz is decompressed; from a *.zip file its only member is read, or `member`. To resume within a
    compressed file, a restarted job reads it from the start up to its place.

    encoding, errors: as for open(). A line that is not in this encoding is a bad item if the loop has a budget for
        bad items (`tolerate=`), and an error if it has none. Encodings such as UTF-16 are refused, because their line
        ends are not single bytes. A byte order mark is dropped.
    total: count the lines first, for progress; that reads the file once.

    The file must not change until the job is done. If it became shorter, or has no line end where the job stopped, an
    error is raised.
    """
    return _Lines(Content(path, member), TextForm(encoding, errors), counts=total)


class _Lines:
    def __init__(self, content: Content, form: TextForm, *, counts: bool, range: Range | None = None) -> None:
        self._content = content
        self._form = form
        self._counts = counts
        self._range = range
        self._after = None if range is None else range.after
        self._end = None if range is None or range.upto is None else FilePosition.of(range.upto).offset

    def count(self) -> int | None:
        if self._range is not None:
            return self._range.total
        if not self._counts:
            return None
        ends, last = 0, b"\n"
        with self._content.opened() as reader:
            while block := reader.read(_BLOCK):
                ends += block.count(b"\n")
                last = block
        return ends if last.endswith(b"\n") else ends + 1

    def read(self, cursor: Cursor, limit: int) -> Chunk[str]:
        return self._read(cursor, limit, is_past=False)

    def read_past(self, cursor: Cursor, limit: int) -> Chunk[str]:
        return self._read(cursor, limit, is_past=True)

    def split(self, parts: int, after: Cursor, upto: Cursor) -> Sequence[Range]:
        check_can_cut(self._content)
        whole = Range(after, upto)
        if self._counts:
            return counted_ranges(self._content, whole, parts)
        begin = FilePosition.of(after).offset
        return uncounted_ranges(self._content, whole, parts, begin=begin, ends_with_cr=False)

    def within(self, range: Range) -> _Lines:
        return _Lines(self._content.again(), self._form, counts=self._counts, range=range)

    def close(self) -> None:
        self._content.close()

    def _read(self, cursor: Cursor, limit: int, *, is_past: bool) -> Chunk[str]:
        place = FilePosition.of(self._after if cursor is None else cursor)
        reader = self._content.at(place.offset)
        texts: list[str] = []
        unreadable: list[Unreadable] = []
        for raw in islice(self._upto_end(reader, place.offset), limit):
            try:
                texts.append(self._text(raw, place))
            except UsageError as error:
                if not is_past and not texts:
                    raise
                if not is_past:  # return the lines before it first
                    return Chunk(texts, place.cursor(), is_last=False)
                unreadable.append(Unreadable(self._form.shown(raw), error.with_traceback(None)))
            place = FilePosition(place.offset + len(raw), place.line + 1, place.origin)
        if not texts and not unreadable:
            return Chunk((), cursor, is_last=True)
        is_last = place.offset == self._end or not reader.peek(1)
        return Chunk(texts, place.cursor(), is_last=is_last, unreadable=tuple(unreadable))

    def _upto_end(self, reader: BinaryIO, offset: int) -> Iterable[bytes]:
        return reader if self._end is None else self._bounded(reader, offset, self._end)

    def _bounded(self, reader: BinaryIO, offset: int, end: int) -> Iterator[bytes]:
        while offset < end and (raw := reader.readline()):
            offset += len(raw)
            if offset > end:
                raise changed(f"{self._content} has no line end before byte {end:,}, where it was cut into parts")
            yield raw

    def _text(self, raw: bytes, place: FilePosition) -> str:
        text = raw.removesuffix(b"\n").removesuffix(b"\r")
        return self._form.decode(text, self._content, place.line + 1, place.origin)
