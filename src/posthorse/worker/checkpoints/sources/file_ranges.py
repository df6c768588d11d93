"""Where a file is cut into ranges: at line ends, and as even in bytes as these allow."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from posthorse.errors import InvalidSource
from posthorse.rules.ranges import Cut, Range, cut_at, even_cuts
from posthorse.worker.checkpoints.sources.files import Content, FilePosition

_BLOCK = 1 << 20
_LINE_END = re.compile(rb"\r\n?|\n")


def check_can_cut(content: Content) -> None:
    """Raise InvalidSource for a compressed file."""
    if content.is_compressed:
        raise InvalidSource(
            f"{content} cannot be cut into parts: it is compressed, so each part would have to unpack all that comes "
            "before it; unpack the file first, or run over it in one loop"
        )


def byte_targets(content: Content, whole: Range) -> tuple[FilePosition, int]:
    """Return the first position of a range in a file, and the offset of its end."""
    if whole.upto is not None:
        return FilePosition.of(whole.after), FilePosition.of(whole.upto).offset
    with content.opened() as reader:
        return FilePosition.of(whole.after), reader.seek(0, io.SEEK_END)


def counted_ranges(content: Content, whole: Range, parts: int) -> Sequence[Range]:
    r"""Cut a file after `\n`, and count the lines; that reads it once."""
    begin, end = byte_targets(content, whole)
    cuts: list[Cut] = []
    offset, lines = begin.offset, 0
    with content.opened() as reader:
        reader.seek(offset)
        for target in even_cuts(end - begin.offset, parts):
            if begin.offset + target <= offset:
                continue  # within a long line that is in the range before
            lines += _lines_within(reader, begin.offset + target - 1 - offset, is_whole=False) + 1
            reader.readline()
            offset = reader.tell()
            if offset >= end:
                break
            cuts.append(Cut(FilePosition(offset, begin.line + lines, begin.origin).cursor(), lines))
        lines += _lines_within(reader, end - offset, is_whole=True)
    return cut_at(Range(whole.after, whole.upto, lines), cuts)


def uncounted_ranges(content: Content, whole: Range, parts: int, *, begin: int, ends_with_cr: bool) -> Sequence[Range]:
    r"""Cut a file at line ends without reading it.

    begin: the offset of what is cut, which may be after a header. ends_with_cr: whether a lone `\r` ends a line, too.
    """
    _, end = byte_targets(content, whole)
    cuts: list[Cut] = []
    offset = begin
    with content.opened() as reader:
        for target in even_cuts(end - begin, parts):
            if begin + target <= offset:
                continue
            reader.seek(begin + target - 1)
            offset = begin + target - 1 + (_length_to_end(reader) if ends_with_cr else len(reader.readline()))
            if offset >= end:
                break
            cuts.append(Cut(FilePosition(offset, 0, origin=offset).cursor()))
    return cut_at(whole, cuts)


def _lines_within(reader: io.BufferedReader, size: int, *, is_whole: bool) -> int:
    """Return how many lines end in the next bytes, and count one that the end of a whole range cuts off."""
    ends, last = 0, b"\n"
    while size > 0 and (block := reader.read(min(size, _BLOCK))):
        ends += block.count(b"\n")
        last = block
        size -= len(block)
    return ends + 1 if is_whole and not last.endswith(b"\n") else ends


def _length_to_end(reader: io.BufferedReader) -> int:
    r"""Return how many bytes there are up to the next `\n`, `\r\n` or `\r`, and including it."""
    length = 0
    while block := reader.read(_BLOCK):
        found = _LINE_END.search(block)
        if found is None:
            length += len(block)
            continue
        length += found.end()
        is_halved = found.group() == b"\r" and found.end() == len(block) and reader.peek(1)[:1] == b"\n"
        return length + is_halved
    return length
