"""Lines of a text file as a source."""

from __future__ import annotations

from itertools import islice

from posthorse.errors import UsageError
from posthorse.rules.cursor import Cursor
from posthorse.worker.checkpoints.sources.base import Chunk, Source, Unreadable
from posthorse.worker.checkpoints.sources.files import Content, FilePath, FilePosition, TextForm

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
    def __init__(self, content: Content, form: TextForm, *, counts: bool) -> None:
        self._content = content
        self._form = form
        self._counts = counts

    def count(self) -> int | None:
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

    def close(self) -> None:
        self._content.close()

    def _read(self, cursor: Cursor, limit: int, *, is_past: bool) -> Chunk[str]:
        place = FilePosition.of(cursor)
        reader = self._content.at(place.offset)
        texts: list[str] = []
        unreadable: list[Unreadable] = []
        for raw in islice(reader, limit):
            try:
                texts.append(self._text(raw, place.line + 1))
            except UsageError as error:
                if not is_past and not texts:
                    raise
                if not is_past:  # return the lines before it first
                    return Chunk(texts, list(place), is_last=False)
                unreadable.append(Unreadable(self._form.shown(raw), error.with_traceback(None)))
            place = FilePosition(place.offset + len(raw), place.line + 1)
        if not texts and not unreadable:
            return Chunk((), cursor, is_last=True)
        return Chunk(texts, list(place), is_last=not reader.peek(1), unreadable=tuple(unreadable))

    def _text(self, raw: bytes, line: int) -> str:
        return self._form.decode(raw.removesuffix(b"\n").removesuffix(b"\r"), self._content, line)
