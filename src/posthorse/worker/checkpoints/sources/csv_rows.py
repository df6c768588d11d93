"""Rows of a CSV file as a source: records, with the columns of the header."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from csv import Error as CsvError
from itertools import chain

from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor
from posthorse.rules.ranges import Cut, Range, cut_at, even_cuts
from posthorse.rules.values.type_mismatch import short
from posthorse.worker.checkpoints.sources.base import Chunk, Source, Unreadable
from posthorse.worker.checkpoints.sources.csv_records import MAX_RECORD, CsvDialect, Records, raised_limit
from posthorse.worker.checkpoints.sources.file_ranges import byte_targets, check_can_cut, uncounted_ranges
from posthorse.worker.checkpoints.sources.files import Content, FilePath, FilePosition, TextForm

SURPLUS = "*"
"""The column for fields beyond the header. Stars are added if the file has such a column of its own."""

FIELD_LIMIT = 16 * 1024 * 1024
"""Characters that a field may have by default."""
MAX_FIELD_LIMIT = MAX_RECORD


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
    dialect = CsvDialect(delimiter, quotechar, escapechar, doublequote, skipinitialspace, strict)
    dialect.reader(iter(()))  # options that csv refuses are refused now
    columns = None if fields is None else _columns(fields, "fields=")
    if type(field_limit) is not int or not 1 <= field_limit <= MAX_FIELD_LIMIT:
        raise InvalidOption(f"field_limit is {short(field_limit)}; it must be from 1 to {MAX_FIELD_LIMIT:,} characters")
    form = TextForm(encoding, errors)
    return _CsvRows(Content(path, member), form, dialect, columns, counts=total, field_limit=field_limit)


class _CsvRows:
    def __init__(
        self,
        content: Content,
        form: TextForm,
        dialect: CsvDialect,
        columns: tuple[str, ...] | None,
        *,
        counts: bool,
        field_limit: int,
        range: Range | None = None,
    ) -> None:
        self._content = content
        self._form = form
        self._dialect = dialect
        self._named = columns
        self._columns = columns
        self._has_header = columns is None
        self._counts = counts
        self._field_limit = field_limit
        self._range = range or Range()
        self._is_part = range is not None
        self._records: Records | None = None

    def count(self) -> int | None:
        if self._is_part:
            return self._range.total
        if not self._counts:
            return None
        encoding = "utf-8-sig" if self._form.encoding == "utf-8" else self._form.encoding
        records = records_in_full = 0

        def end() -> Iterator[str]:
            nonlocal records_in_full
            records_in_full = records
            yield from ()

        with io.TextIOWrapper(self._content.opened(), encoding, "replace", newline="") as texts, raised_limit():
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

    def split(self, parts: int, after: Cursor, upto: Cursor) -> Sequence[Range]:
        """Cut a range after records: without quotes these are lines, else one pass over the records finds their ends.

        Where lines are counted, that is the pass, too.
        """
        check_can_cut(self._content)
        whole = self.within(Range(after, upto))
        with raised_limit():
            records = whole._records_from(after)
            if self._dialect.quotechar is not None or self._dialect.escapechar is not None or self._counts:
                return whole._counted_ranges(records, parts)
        begin = records.offset
        whole.close()
        return uncounted_ranges(self._content, whole._range, parts, begin=begin, ends_with_cr=True)

    def within(self, range: Range) -> _CsvRows:
        return _CsvRows(
            self._content.again(),
            self._form,
            self._dialect,
            self._named,
            counts=self._counts,
            field_limit=self._field_limit,
            range=range,
        )

    def close(self) -> None:
        self._content.close()
        self._records = None

    def _counted_ranges(self, records: Records, parts: int) -> Sequence[Range]:
        begin, (_, end) = records.offset, byte_targets(self._content, self._range)
        targets = [begin + length for length in even_cuts(end - begin, parts)]
        cuts: list[Cut] = []
        read = 0
        try:
            while True:
                is_due = targets and records.offset >= targets[0]
                place = records.place if is_due and read else None
                if records.next_record() is None:
                    break
                if place is not None:
                    cuts.append(Cut(place.cursor(), read))
                    targets = [target for target in targets if target > place.offset]
                read += 1
            total: int | None = read
        except UsageError:  # a record that does not end; reading its range will report it
            total = None
        self.close()
        return cut_at(Range(self._range.after, self._range.upto, total), cuts)

    def _read(self, cursor: Cursor, limit: int, *, is_past: bool) -> Chunk[dict[str, str]]:
        cursor = self._range.after if cursor is None else cursor
        with raised_limit():
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
                return Chunk(rows, place.cursor(), is_last=False, unreadable=tuple(unreadable))
            if not rows and not unreadable:
                return Chunk((), cursor, is_last=True)
            return Chunk(rows, records.place.cursor(), is_last=records.is_at_end, unreadable=tuple(unreadable))

    def _records_from(self, cursor: Cursor) -> Records:
        place = FilePosition.of(cursor)
        if self._records is not None and cursor is not None and self._records.place == place:
            return self._records
        self._records = None
        records = self._records_at(FilePosition(), is_bounded=cursor is None)
        if self._has_header:
            header = records.next_record()
            if header is not None and header.error is not None:
                raise header.error
            self._columns = None if header is None else _columns(header.fields, f"the header of {self._content}")
        if cursor is not None:
            records = self._records_at(place)
        self._records = records
        return records

    def _records_at(self, place: FilePosition, *, is_bounded: bool = True) -> Records:
        upto = self._range.upto
        end = FilePosition.of(upto).offset if is_bounded and upto is not None else None
        return Records(self._content, self._form, self._dialect, place, self._field_limit, end=end)

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


def _columns(names: Sequence[str], origin: str) -> tuple[str, ...]:
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated or not names:
        what = f"names {', '.join(map(repr, repeated))} more than once" if repeated else "names no columns"
        raise InvalidOption(f"{origin} {what}; each column needs a name of its own")
    return tuple(names)
