"""Rows of a CSV file as a source. The standard csv module parses them; this module tracks where each record ends."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from csv import QUOTE_MINIMAL, QUOTE_NONE, field_size_limit
from csv import Error as CsvError
from csv import reader as csv_reader
from itertools import chain
from threading import Lock
from typing import NamedTuple

from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor
from posthorse.rules.values.type_mismatch import short
from posthorse.worker.checkpoints.sources.base import Chunk, Source, Unreadable
from posthorse.worker.checkpoints.sources.files import Content, FilePath, FilePosition, TextForm

SURPLUS = "*"
"""The column for fields beyond the header. Stars are added if the file has such a column of its own."""

FIELD_LIMIT = 16 * 1024 * 1024
"""Characters that a field may have by default."""
MAX_FIELD_LIMIT = MAX_RECORD = 64 * 1024 * 1024
"""In characters. The parser holds a field in memory, and after an unclosed quote the rest of the file is one field."""
MAX_SHOWN = 1_000

_BLOCK = 1 << 16


def csv(
    path: FilePath,
    *,
    member: str | None = None,
    encoding: str = "utf-8",
    errors: str = "strict",
    fields: Sequence[str] | None = None,
    delimiter: str = ",",
    quotechar: str | None = '"',
    escapechar: str | None = None,
    doublequote: bool = True,
    skipinitialspace: bool = False,
    strict: bool = False,
    field_limit: int = FIELD_LIMIT,
    total: bool = True,
) -> Source[dict[str, str]]:
    r"""Return the rows of a CSV file as a source, each a dict from column to text. Quoted fields may contain line ends.

    A file named *.gz is decompressed; from a *.zip file its only member is read, or `member`. To resume within a
    compressed file, a restarted job reads it from the start up to its place.

    encoding, errors: as for open(), for encodings whose line ends are single bytes. A byte order mark is
        dropped.
    fields: the names of the columns; without them, the first row is the header.
    delimiter … strict: as for csv.reader(). quotechar=None turns quoting off.
    field_limit: how many characters a field may have, up to 64 Mi.
    total: count the rows first, for progress; that parses the file once.

    Lines end with \n, \r\n or \r. Empty lines are skipped. If a row has too few fields, its last columns are "",
    because spreadsheets leave out empty cells. If it has too many, they are joined by the delimiter in the column "*",
    or "**" if the file has a column "*".

    A row that has a longer field, is not in this encoding, or breaks the rules of the dialect is a bad item if the loop
    has a budget for bad items (`tolerate=`), and an error if it has none. A quote that is never closed is always an
    error, because it takes the rest of the file with it.

    The file must not change until the job is done. If it became shorter, or has no line end where the job stopped, an
    error is raised.
    """
    dialect = _Dialect(delimiter, quotechar, escapechar, doublequote, skipinitialspace, strict)
    dialect.reader(iter(()))  # options that csv refuses are refused now
    columns = None if fields is None else _columns(fields, "fields=")
    if type(field_limit) is not int or not 1 <= field_limit <= MAX_FIELD_LIMIT:
        raise InvalidOption(f"field_limit is {short(field_limit)}; it must be from 1 to {MAX_FIELD_LIMIT:,} characters")
    form = TextForm(encoding, errors)
    return _CsvRows(Content(path, member), form, dialect, columns, counts=total, field_limit=field_limit)


class _Dialect(NamedTuple):
    delimiter: str
    quotechar: str | None
    escapechar: str | None
    doublequote: bool
    skipinitialspace: bool
    strict: bool

    def reader(self, texts: Iterator[str]) -> Iterator[list[str]]:
        return csv_reader(texts, quoting=QUOTE_MINIMAL if self.quotechar is not None else QUOTE_NONE, **self._asdict())


class _CsvRows:
    def __init__(
        self,
        content: Content,
        form: TextForm,
        dialect: _Dialect,
        columns: tuple[str, ...] | None,
        *,
        counts: bool,
        field_limit: int,
    ) -> None:
        self._content = content
        self._form = form
        self._dialect = dialect
        self._columns = columns
        self._has_header = columns is None
        self._counts = counts
        self._field_limit = field_limit
        self._records: _Records | None = None

    def count(self) -> int | None:
        if not self._counts:
            return None
        encoding = "utf-8-sig" if self._form.encoding == "utf-8" else self._form.encoding
        records = records_in_full = 0

        def end() -> Iterator[str]:
            nonlocal records_in_full
            records_in_full = records
            yield from ()

        with io.TextIOWrapper(self._content.opened(), encoding, "replace", newline="") as texts, _raised_limit():
            try:
                for record in self._dialect.reader(chain(texts, end())):
                    if record:
                        records += 1
            except CsvError:
                return None  # reading will get there, and report where it is
        if records > records_in_full:
            return None
        return max(0, records - 1) if self._has_header else records

    def read(self, cursor: Cursor, limit: int) -> Chunk[dict[str, str]]:
        return self._read(cursor, limit, is_past=False)

    def read_past(self, cursor: Cursor, limit: int) -> Chunk[dict[str, str]]:
        return self._read(cursor, limit, is_past=True)

    def close(self) -> None:
        self._content.close()
        self._records = None

    def _read(self, cursor: Cursor, limit: int, *, is_past: bool) -> Chunk[dict[str, str]]:
        with _raised_limit():
            records = self._records_from(cursor)
            rows: list[dict[str, str]] = []
            unreadable: list[Unreadable] = []
            place = records.place
            try:
                while len(rows) + len(unreadable) < limit and (record := records.next_record()) is not None:
                    if record.error is None:
                        rows.append(self._row(record.fields))
                    elif is_past:
                        unreadable.append(Unreadable(record.text, record.error))
                    else:
                        raise record.error
                    place = records.place
            except UsageError:
                self._records = None
                if not rows and not unreadable:
                    raise
                # Return the rows before it first.
                return Chunk(rows, list(place), is_last=False, unreadable=tuple(unreadable))
            if not rows and not unreadable:
                return Chunk((), cursor, is_last=True)
            return Chunk(rows, list(records.place), is_last=records.is_at_end, unreadable=tuple(unreadable))

    def _records_from(self, cursor: Cursor) -> _Records:
        place = FilePosition.of(cursor)
        if self._records is not None and cursor is not None and self._records.place == place:
            return self._records
        self._records = None
        records = self._records_at(FilePosition())
        if self._has_header:
            header = records.next_record()
            if header is not None and header.error is not None:
                raise header.error
            self._columns = None if header is None else _columns(header.fields, f"the header of {self._content}")
        if cursor is not None:
            records = self._records_at(place)
        self._records = records
        return records

    def _records_at(self, place: FilePosition) -> _Records:
        return _Records(self._content, self._form, self._dialect, place, self._field_limit)

    def _row(self, record: list[str]) -> dict[str, str]:
        columns = self._columns or ()
        row = dict(zip(columns, record, strict=False))
        if len(record) < len(columns):
            row.update(dict.fromkeys(columns[len(record) :], ""))
        elif len(record) > len(columns):
            surplus = SURPLUS
            while surplus in columns:
                surplus += SURPLUS
            row[surplus] = self._dialect.delimiter.join(record[len(columns) :])
        return row


class _Record(NamedTuple):
    """A record; or its error, and the text that it begins with."""

    fields: list[str]
    error: UsageError | None = None
    text: str = ""


class _Records:
    """Records from a place in the file on, and the place after the last one."""

    def __init__(
        self, content: Content, form: TextForm, dialect: _Dialect, place: FilePosition, field_limit: int
    ) -> None:
        self._content = content
        self._form = form
        self._field_limit = field_limit
        self._bytes = content.at(place.offset)
        self._offset, self._line = place
        self._lines: list[bytes] = []
        """Lines of the last block that was read, in reverse order."""
        self._rest = b""
        """The bytes after these lines: a line that may continue in the next block."""
        self._text = ""
        self._characters = 0
        self._problem: UsageError | None = None
        self._is_over = False
        self._reader = dialect.reader(self._texts())

    @property
    def place(self) -> FilePosition:
        return FilePosition(self._offset, self._line)

    @property
    def is_at_end(self) -> bool:
        return not self._lines and not self._rest and not self._bytes.peek(1)

    def next_record(self) -> _Record | None:
        """Return the next record, skipping empty lines; None at the end. Raises UsageError if a record does not end."""
        while True:
            begun_at = self._line + 1
            self._begin_record()
            try:
                fields = next(self._reader)
            except StopIteration:
                return None
            except CsvError as error:
                if self._is_over:
                    raise self._unfinished(begun_at) from error
                problem = self._wrong(begun_at, str(error))
                return _Record([], problem, self._text)
            if self._is_over:  # the parser wanted more input, and returned a record anyway
                raise self._unfinished(begun_at)
            if self._characters > self._field_limit and (longest := max(map(len, fields))) > self._field_limit:
                what = f"a field has {longest:,} characters and may have {self._field_limit:,} (field_limit=)"
                return _Record([], self._wrong(begun_at, what), self._text)
            if self._problem is not None:
                return _Record([], self._problem, self._text)
            if fields:
                return _Record(fields)

    def _begin_record(self) -> None:
        self._text, self._characters, self._problem = "", 0, None

    def _texts(self) -> Iterator[str]:
        """Yield one line whenever the parser asks, so that `place` never gets ahead of the records."""
        while (line := self._next_line()) is not None:
            self._offset += len(line)
            self._line += 1
            try:
                text = self._form.decode(line, self._content, self._line)
            except UsageError as error:
                self._problem = self._problem or error.with_traceback(None)
                text = self._form.shown(line, self._line)
            self._text = self._text or text[:MAX_SHOWN]
            self._characters += len(text)
            if self._characters > MAX_RECORD:
                break
            yield text
        self._is_over = True

    def _next_line(self) -> bytes | None:
        while not self._lines:
            block = self._bytes.read(max(_BLOCK, len(self._rest)))
            if not block:
                rest, self._rest = self._rest, b""
                return rest or None
            lines = (self._rest + block).splitlines(keepends=True)
            self._rest = lines.pop()  # it may continue, and a final \r may be half of a line end
            self._lines = lines[::-1]
        return self._lines.pop()

    def _wrong(self, line: int, what: str) -> UsageError:
        return UsageError(
            f"{self._content}, record at line {line}: {what}; mend the file, or describe it with delimiter=, "
            "quotechar= or escapechar="
        )

    def _unfinished(self, line: int) -> UsageError:
        return UsageError(
            f"{self._content}, record at line {line}: it does not end, and takes {self._line - line:,} more lines with "
            "it; a quote that is never closed looks like this, and so does a file that was cut off; mend the file, or "
            "describe it with delimiter=, quotechar= or escapechar="
        )


@contextmanager
def _raised_limit() -> Iterator[None]:
    """Let the parser accept fields of any size; its limit is the same for the whole process."""
    global _limited_before, _raisers
    with _lock:
        if _raisers == 0:
            _limited_before = field_size_limit(MAX_RECORD)
        _raisers += 1
    try:
        yield
    finally:
        with _lock:
            _raisers -= 1
            if _raisers == 0:
                field_size_limit(_limited_before)


_lock = Lock()
_limited_before = 0
_raisers = 0


def _columns(names: Sequence[str], origin: str) -> tuple[str, ...]:
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated or not names:
        what = f"names {', '.join(map(repr, repeated))} more than once" if repeated else "names no columns"
        raise InvalidOption(f"{origin} {what}; each column needs a name of its own")
    return tuple(names)
