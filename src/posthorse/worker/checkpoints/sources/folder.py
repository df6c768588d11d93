"""Files of a folder, or those that a pattern matches, as a source of paths."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path
from typing import TypeAlias, cast

from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor, cursor_of_key, key_of_cursor
from posthorse.rules.ranges import Cut, Range, cut_at, even_cuts
from posthorse.worker.checkpoints.sources.base import Chunk, Source
from posthorse.worker.checkpoints.sources.files import FilePath

Parts: TypeAlias = tuple[bytes, ...]
"""The form in which paths are ordered: the names from the root on, folder by folder, as bytes."""


def files(pattern: FilePath, *, root: FilePath | None = None, recursive: bool = True) -> Source[Path]:
    """Return paths of files as a source: those in a folder, or those that match a pattern such as "inbox/**/*.jpg".

    They are sorted by folder and name.

    root: the folder that a relative pattern starts from; by default, the one that the worker runs in. The job's place
        is saved relative to the folder before the first wildcard, so that this folder may be moved.
    recursive: for a folder, whether to include the files of its subfolders; for a pattern, whether `**` means any
        number of folders. In a folder, links to folders are not followed. Hidden files match only where the pattern
        names them.

    Files are listed when an attempt begins, and checked again when their turn comes: those that are gone are left out.
    Files that arrive later and sort after the last one done are found after the next restart at the latest.
    """
    whole = Path(pattern) if root is None else Path(root, pattern)
    if whole.is_dir():
        return _Files(whole, None, recursive)
    fixed = list(takewhile(lambda part: not has_magic(part), whole.parts))
    wild = whole.parts[len(fixed) :]
    if not wild:
        raise InvalidOption(f"{whole} is not a folder; name one, or a pattern such as {os.fspath(whole / '*')!r}")
    return _Files(Path(*fixed), os.path.join(*wild), recursive)


class _Files:
    def __init__(self, folder: Path, pattern: str | None, recursive: bool) -> None:
        self._folder = folder
        self._pattern = pattern
        self._recursive = recursive
        self._range = Range()
        self._paths: Sequence[Parts] | None = None

    def count(self) -> int:
        begin, end = self._ends(self._range.after, self._range.upto)
        return end - begin

    def read(self, cursor: Cursor, limit: int) -> Chunk[Path]:
        listed = self._listed()
        start, end = self._ends(self._range.after if cursor is None else cursor, self._range.upto)
        found: list[Path] = []
        while start < end and len(found) < limit:
            path = self._path(listed[start])
            start += 1
            if path.is_file():
                found.append(path)
        if not found:
            return Chunk((), cursor, is_last=True)
        return Chunk(found, _cursor_of(listed[start - 1]), is_last=start == end)

    def split(self, parts: int, after: Cursor, upto: Cursor) -> Sequence[Range]:
        listed = self._listed()
        begin, end = self._ends(after, upto)
        cuts = (Cut(_cursor_of(listed[begin + items - 1]), items) for items in even_cuts(end - begin, parts))
        return cut_at(Range(after, upto, end - begin), cuts)

    def within(self, range: Range) -> _Files:
        part = _Files(self._folder, self._pattern, self._recursive)
        part._range = range
        return part

    def key_of(self, item: object) -> Cursor:
        if not isinstance(item, Path):
            raise TypeError(f"{item!r} is not a path of this source")
        return _cursor_of(_parts(os.fspath(item.relative_to(self._folder))))

    def find(self, keys: Sequence[Cursor]) -> Sequence[Path]:
        return [path for path in map(self._path, map(_parts_of, keys)) if path.is_file()]

    def close(self) -> None:
        self._paths = None

    def _ends(self, after: Cursor, upto: Cursor) -> tuple[int, int]:
        """Return the indices in the list between two paths."""
        listed = self._listed()
        begin = 0 if after is None else bisect_right(listed, _parts_of(after))
        return begin, len(listed) if upto is None else max(begin, bisect_right(listed, _parts_of(upto)))

    def _listed(self) -> Sequence[Parts]:
        if self._paths is None:
            self._paths = sorted(map(_parts, self._matching()))
        return self._paths

    def _matching(self) -> Iterator[str]:
        if self._pattern is not None:
            matches = glob(self._pattern, root_dir=self._folder, recursive=self._recursive)
            yield from (match for match in matches if (self._folder / match).is_file())
            return
        for folder, subfolders, names in os.walk(self._folder):
            inside = os.path.relpath(folder, self._folder)
            yield from (os.path.join(inside, name) for name in names)
            if not self._recursive:
                subfolders.clear()

    def _path(self, parts: Parts) -> Path:
        return self._folder.joinpath(*map(os.fsdecode, parts))


def _parts(path: str) -> Parts:
    return tuple(map(os.fsencode, Path(path).parts))


def _cursor_of(parts: Parts) -> Cursor:
    """Return a name as text, or as bytes if it is not UTF-8: the system's names are bytes."""
    return cursor_of_key(tuple(_text(part) for part in parts))


def _text(part: bytes) -> str | bytes:
    try:
        return part.decode()
    except UnicodeDecodeError:
        return part


def _parts_of(cursor: Cursor) -> Parts:
    key = key_of_cursor(cursor)
    if not isinstance(key, tuple):
        raise UsageError(f"the saved position {cursor!r} is not a path; was the loop changed since the job began?")
    parts = cast("tuple[object, ...]", key)
    return tuple(part if isinstance(part, bytes) else os.fsencode(str(part)) for part in parts)
