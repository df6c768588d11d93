"""Files as bytes that can be read on from any offset: plain, gzip, or a member of a zip archive.

This module knows neither lines nor records. To get to an offset, a compressed file is read from its start. That cost
arises once for each run, at the first read, and not between consecutive reads.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
from contextlib import suppress
from typing import NamedTuple, TypeAlias, cast
from zipfile import ZipFile

from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor

FilePath: TypeAlias = str | os.PathLike[str]

_BLOCK = 1 << 18


class FilePosition(NamedTuple):
    """A position in a file's content: bytes from the start, and the number of lines, for messages.

    origin: the offset from which on lines are counted; it is 0 unless the file was cut into ranges without reading it.
    """

    offset: int = 0
    line: int = 0
    origin: int = 0

    @classmethod
    def of(cls, cursor: Cursor) -> FilePosition:
        """Return the position that was saved as this cursor."""
        match cursor:
            case None:
                return cls()
            case [int(offset), int(line)] if offset >= 0:
                return cls(offset, line)
            case [int(offset), int(line), int(origin)] if offset >= origin >= 0:
                return cls(offset, line, origin)
            case _:
                raise UsageError(
                    f"the saved position {cursor!r} is not one in a file; was the loop changed since the job began?"
                )

    def cursor(self) -> Cursor:
        """Return the cursor that `of` reads."""
        return list(self if self.origin else self[:2])


def line_name(line: int, origin: int) -> str:
    """Name a line in a message."""
    return f"line {line}" if origin == 0 else f"line {line} after byte {origin:,}"


class Content:
    """The content of a file. It is opened at the first read and kept open between reads."""

    def __init__(self, path: FilePath, member: str | None) -> None:
        self.path = os.fspath(path)
        self._member = member
        self._open: io.BufferedReader | None = None

    def __str__(self) -> str:
        return self.path if self._member is None else f"{self.path}:{self._member}"

    def again(self) -> Content:
        """Return the same content, opened apart."""
        return Content(self.path, self._member)

    @property
    def is_compressed(self) -> bool:
        """Whether an offset can be reached only by reading from the start."""
        return self._member is not None or self.path.lower().endswith((".zip", ".gz"))

    def at(self, offset: int) -> io.BufferedReader:
        """Return the content from this offset on, which is a place after a line end that was read before."""
        if self._open is None:
            self._open = self.opened()
        if self._open.tell() != offset:
            self._go_to(self._open, offset)
        return self._open

    def opened(self) -> io.BufferedReader:
        """Return a new reader from the start; the caller closes it."""
        if self._member is not None or self.path.lower().endswith(".zip"):
            with ZipFile(self.path) as archive:  # an open member keeps the archive's file open
                raw: object = archive.open(_chosen(archive, self._member))
        elif self.path.lower().endswith(".gz"):
            raw = gzip.GzipFile(self.path)
        else:
            raw = io.FileIO(self.path)
        return io.BufferedReader(cast("io.RawIOBase", raw), _BLOCK)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _go_to(self, reader: io.BufferedReader, offset: int) -> None:
        """Go to the offset. Raises UsageError if the byte before it shows that the file is not the same."""
        if offset == 0:
            reader.seek(0)
            return
        reader.seek(offset - 1)
        before = reader.read(1)
        if not before:
            raise changed(f"{self} is shorter than the {offset:,} bytes that were done already")
        if before not in b"\r\n" and reader.peek(1):
            raise changed(f"{self} has no line end before byte {offset:,}, where the job stopped")


class TextForm:
    """The encoding of a text file, and how it decodes one line at a time."""

    def __init__(self, encoding: str, errors: str) -> None:
        known: str | None = None
        with suppress(LookupError, ValueError):
            known = codecs.lookup(encoding).name.removesuffix("-sig")
            if "\n".encode(known) != b"\n" or "\r".encode(known) != b"\r":
                known = None
        if known is None:
            raise InvalidOption(
                f"encoding {encoding!r} is unknown, or its line ends are not single bytes; "
                "convert the file to UTF-8 first"
            )
        self.encoding = known
        self.errors = errors

    def decode(self, raw: bytes, content: Content, line: int, origin: int = 0) -> str:
        """Return the text of a line, without the byte order mark that may begin the file. Lines count from 1."""
        try:
            return self._without_mark(raw, line, origin).decode(self.encoding, self.errors)
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{content}, {line_name(line, origin)}: not {self.encoding} ({error.reason}); name its encoding=, or "
                'pass errors="replace"'
            ) from error

    def shown(self, raw: bytes, line: int = 0, origin: int = 0) -> str:
        """Return the text as well as it can be decoded."""
        return self._without_mark(raw, line, origin).decode(self.encoding, "replace")

    def _without_mark(self, raw: bytes, line: int, origin: int) -> bytes:
        is_first = line == 1 and origin == 0
        return raw.removeprefix(codecs.BOM_UTF8) if is_first and self.encoding == "utf-8" else raw


def changed(what: str) -> UsageError:
    """Return the error of a file that is not as it was."""
    return UsageError(
        f"{what}: the file was changed since the job began; put it back and retry the job, or cancel the job "
        "and enqueue one for the new file"
    )


def _chosen(archive: ZipFile, member: str | None) -> str:
    names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    if member is None and len(names) == 1:
        return names[0]
    if member in names:
        return member
    raise InvalidOption(
        f"{archive.filename} holds {', '.join(sorted(names)) or 'no files'}; name one of them with member="
    )
