"""Records of a CSV file as a source. The standard csv module parses; here is only where each record ends."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from csv import QUOTE_MINIMAL, QUOTE_NONE
from csv import Error as CsvError
from csv import reader as csv_reader
from typing import NamedTuple

from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor
from posthorse.worker.sources.base import Chunk, Source
from posthorse.worker.sources.files import Content, FilePath, Place, TextForm

SURPLUS = "*"
"""The column under which a row keeps the fields that it has beyond the header."""


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
    total: bool = True,
) -> Source[dict[str, str]]:
    r"""The rows of a CSV file, each a dict from column to text; quoted fields may hold line ends.

    A path that ends with .gz is unpacked, one that ends with .zip gives its only file, or `member`. To go on
    within those, a restarted job reads them from the start up to its place.

    encoding, errors: as for open(), for encodings whose line ends are single bytes. A byte order mark is
        dropped.
    fields: the names of the columns; without them, the first row is the header.
    delimiter … strict: as for csv.reader(). quotechar=None turns quoting off.
    total: count the rows first, for progress; that parses the file once.

    Empty lines are skipped. A row with too few fields has "" in its last columns, as spreadsheets leave out
    empty cells; what a row has beyond the header stands, joined by the delimiter, in the column "*".

    The file must stay as it is until the job is done. One that became shorter, or has no line end where the
    job stopped, is refused with an error.
    """
    dialect = _Dialect(delimiter, quotechar, escapechar, doublequote, skipinitialspace, strict)
    dialect.reader(iter(()))  # an option that csv refuses is refused here and now
    columns = None if fields is None else _columns(fields, "fields=")
    return _CsvRows(Content(path, member), TextForm(encoding, errors), dialect, columns, counts=total)


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
    ) -> None:
        self._content = content
        self._form = form
        self._dialect = dialect
        self._columns = columns
        self._has_header = columns is None
        self._counts = counts
        self._records: _Records | None = None

    def count(self) -> int | None:
        if not self._counts:
            return None
        encoding = "utf-8-sig" if self._form.encoding == "utf-8" else self._form.encoding
        with io.TextIOWrapper(self._content.opened(), encoding, "replace", newline="") as texts:
            try:
                records = sum(1 for record in self._dialect.reader(texts) if record)
            except CsvError:
                return None  # reading will come to it, and say where it is
        return max(0, records - 1) if self._has_header else records

    def read(self, cursor: Cursor, limit: int) -> Chunk[dict[str, str]]:
        records = self._records_from(cursor)
        rows: list[dict[str, str]] = []
        while len(rows) < limit and (record := records.next_record()) is not None:
            rows.append(self._row(record))
        if not rows:
            return Chunk((), cursor, is_last=True)
        return Chunk(rows, list(records.place), is_last=records.is_at_end)

    def close(self) -> None:
        self._content.close()
        self._records = None

    def _records_from(self, cursor: Cursor) -> _Records:
        place = Place.of(cursor)
        if self._records is not None and cursor is not None and self._records.place == place:
            return self._records
        self._records = None
        records = _Records(self._content, self._form, self._dialect, Place())
        if self._has_header:
            header = records.next_record()
            self._columns = None if header is None else _columns(header, f"the header of {self._content}")
        if cursor is not None:
            records = _Records(self._content, self._form, self._dialect, place)
        self._records = records
        return records

    def _row(self, record: list[str]) -> dict[str, str]:
        columns = self._columns or ()
        row = dict(zip(columns, record, strict=False))
        if len(record) < len(columns):
            row.update(dict.fromkeys(columns[len(record) :], ""))
        elif len(record) > len(columns):
            row[SURPLUS] = self._dialect.delimiter.join(record[len(columns) :])
        return row


class _Records:
    """The records from a place on; `place` is always behind the last one that was given out."""

    def __init__(self, content: Content, form: TextForm, dialect: _Dialect, place: Place) -> None:
        self._content = content
        self._form = form
        self._bytes = content.at(place.offset)
        self._offset, self._line = place
        self._pieces: list[bytes] = []
        self._reader = dialect.reader(self._texts())

    @property
    def place(self) -> Place:
        return Place(self._offset, self._line)

    @property
    def is_at_end(self) -> bool:
        return not self._pieces and not self._bytes.peek(1)

    def next_record(self) -> list[str] | None:
        """The next record that is not an empty line; None at the end."""
        begun_at = self._line + 1
        try:
            for record in self._reader:
                if record:
                    return record
        except CsvError as error:
            raise UsageError(
                f"{self._content}, record at line {begun_at}: {error}; an unclosed quote looks like this; "
                "mend the file, or describe it with delimiter=, quotechar= or escapechar="
            ) from error
        return None

    def _texts(self) -> Iterator[str]:
        """Physical lines, one at each demand of the parser: so `place` never runs ahead of the records."""
        for raw in self._bytes:
            # Within what ends with \n there may be ends that are a lone \r, as old spreadsheets write them.
            self._pieces = raw.splitlines(keepends=True)[::-1]
            while self._pieces:
                piece = self._pieces.pop()
                self._offset += len(piece)
                self._line += 1
                yield self._form.decode(piece, self._content, self._line)


def _columns(names: Sequence[str], origin: str) -> tuple[str, ...]:
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated or not names:
        what = f"names {', '.join(map(repr, repeated))} more than once" if repeated else "names no columns"
        raise InvalidOption(f"{origin} {what}; each column needs a name of its own")
    return tuple(names)
