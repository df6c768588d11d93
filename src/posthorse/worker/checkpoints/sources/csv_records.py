"""Records of a CSV file. The standard csv module parses them; this module tracks where each record ends.

It knows neither columns nor loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from csv import QUOTE_MINIMAL, QUOTE_NONE, field_size_limit
from csv import Error as CsvError
from csv import reader as csv_reader
from threading import Lock
from typing import NamedTuple

from posthorse.errors import UsageError
from posthorse.worker.checkpoints.sources.files import Content, FilePosition, TextForm, line_name

MAX_RECORD = 64 * 1024 * 1024
"""In characters. The parser holds a field in memory, and after an unclosed quote the rest of the file is one field."""
MAX_SHOWN = 1_000

_BLOCK = 1 << 16


class CsvDialect(NamedTuple):
    """How a CSV file is written."""

    delimiter: str
    quotechar: str | None
    escapechar: str | None
    doublequote: bool
    skipinitialspace: bool
    strict: bool

    def reader(self, texts: Iterator[str]) -> Iterator[list[str]]:
        """Return a parser of these lines."""
        return csv_reader(texts, quoting=QUOTE_MINIMAL if self.quotechar is not None else QUOTE_NONE, **self._asdict())


class Record(NamedTuple):
    """A record; or its error, and the text that it begins with."""

    fields: list[str]
    error: UsageError | None = None
    text: str = ""


class Records:
    """Records from a place in the file on, and the place after the last one."""

    def __init__(
        self,
        content: Content,
        form: TextForm,
        dialect: CsvDialect,
        place: FilePosition,
        field_limit: int,
        *,
        end: int | None = None,
    ) -> None:
        """`end`: the offset of the end, after a record; by default the end of the file."""
        self._content = content
        self._form = form
        self._field_limit = field_limit
        self._bytes = content.at(place.offset)
        self._offset, self._line, self._origin = place
        self._end = end
        self._unread = 0 if end is None else max(0, end - place.offset)
        """The bytes before the end that were not taken from the file yet."""
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
        """The place after the last record."""
        return FilePosition(self._offset, self._line, self._origin)

    @property
    def offset(self) -> int:
        """The offset after the last record."""
        return self._offset

    @property
    def is_at_end(self) -> bool:
        """Whether no bytes follow."""
        if self._lines or self._rest:
            return False
        return not self._bytes.peek(1) if self._end is None else self._unread == 0

    def next_record(self) -> Record | None:
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
                return Record([], problem, self._text)
            if self._is_over:  # the parser wanted more input, and returned a record anyway
                raise self._unfinished(begun_at)
            if self._characters > self._field_limit and (longest := max(map(len, fields))) > self._field_limit:
                what = f"a field has {longest:,} characters and may have {self._field_limit:,} (field_limit=)"
                return Record([], self._wrong(begun_at, what), self._text)
            if self._problem is not None:
                return Record([], self._problem, self._text)
            if fields:
                return Record(fields)

    def _begin_record(self) -> None:
        self._text, self._characters, self._problem = "", 0, None

    def _texts(self) -> Iterator[str]:
        """Yield one line whenever the parser asks, so that `place` never gets ahead of the records."""
        while (line := self._next_line()) is not None:
            self._offset += len(line)
            self._line += 1
            try:
                text = self._form.decode(line, self._content, self._line, self._origin)
            except UsageError as error:
                self._problem = self._problem or error.with_traceback(None)
                text = self._form.shown(line, self._line, self._origin)
            self._text = self._text or text[:MAX_SHOWN]
            self._characters += len(text)
            if self._characters > MAX_RECORD:
                break
            yield text
        self._is_over = True

    def _next_line(self) -> bytes | None:
        while not self._lines:
            block = self._next_block(max(_BLOCK, len(self._rest)))
            if not block:
                rest, self._rest = self._rest, b""
                return rest or None
            lines = (self._rest + block).splitlines(keepends=True)
            self._rest = lines.pop()  # it may continue, and a final \r may be half of a line end
            self._lines = lines[::-1]
        return self._lines.pop()

    def _next_block(self, size: int) -> bytes:
        if self._end is None:
            return self._bytes.read(size)
        block = self._bytes.read(min(size, self._unread))
        self._unread -= len(block)
        return block

    def _wrong(self, line: int, what: str) -> UsageError:
        return UsageError(
            f"{self._content}, record at {line_name(line, self._origin)}: {what}; mend the file, or describe it with "
            "delimiter=, quotechar= or escapechar="
        )

    def _unfinished(self, line: int) -> UsageError:
        return UsageError(
            f"{self._content}, record at {line_name(line, self._origin)}: it does not end, and takes "
            f"{self._line - line:,} more lines with it; a quote that is never closed looks like this, and so does a "
            "file that was cut off; mend the file, or describe it with delimiter=, quotechar= or escapechar="
        )


@contextmanager
def raised_limit() -> Iterator[None]:
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
