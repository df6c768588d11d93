"""A folder's files as a source: sorted, whatever their names are, and resumed after any of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor
from posthorse.worker.checkpoints.sources import Source, files

NAMES = [b"a/1.txt", b"a/b/2.txt", b"a/b.txt", b"c.jpg", b"c.txt", b"c/3.txt", b"\xff\xfe.txt", b"\xff/4.txt"]
"""Also names that are not UTF-8. They are sorted folder by folder: a/b comes before a/b.txt."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "inbox"
    for name in NAMES:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def names_of(make: Callable[[], Source[Path]], folder: Path, *, limit: int) -> list[bytes]:
    """Return all paths of a source that is made again for every page, as after a restart."""
    cursor: Cursor = None
    found: list[bytes] = []
    while True:
        chunk = make().read(cursor, limit)
        found += [os.fsencode(path.relative_to(folder)) for path in chunk.items]
        cursor = json.loads(json.dumps(chunk.cursor))
        if chunk.is_last:
            return found


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_all_files_come_once_and_in_order(folder: Path, limit: int) -> None:
    found = names_of(lambda: files(folder), folder, limit=limit)
    assert found == sorted(NAMES, key=lambda name: name.split(b"/"))
    assert files(folder).count() == len(NAMES)


@pytest.mark.parametrize(
    ("pattern", "recursive", "expected"),
    [
        (".", False, [b"c.jpg", b"c.txt", b"\xff\xfe.txt"]),
        ("*.txt", True, [b"c.txt", b"\xff\xfe.txt"]),
        ("a/**/*.txt", True, [b"a/1.txt", b"a/b/2.txt", b"a/b.txt"]),
        ("[ac]/*.txt", True, [b"a/1.txt", b"a/b.txt", b"c/3.txt"]),
        ("nothing/*.txt", True, []),
    ],
)
def test_a_pattern_says_which(folder: Path, pattern: str, recursive: bool, expected: list[bytes]) -> None:
    assert names_of(lambda: files(pattern, root=folder, recursive=recursive), folder, limit=2) == expected
    if pattern != ".":
        assert names_of(lambda: files(folder / pattern, recursive=recursive), folder, limit=2) == expected


def test_a_moved_folder_is_gone_on_with(folder: Path) -> None:
    begun = files(folder / "**" / "*.txt").read(None, 3)
    moved = folder.rename(folder.with_name("elsewhere"))
    rest = files(moved / "**" / "*.txt").read(begun.cursor, 100)
    assert len(begun.items) + len(rest.items) == len(NAMES) - 1


def test_files_that_vanish_are_left_out(folder: Path) -> None:
    source = files(folder)
    first = source.read(None, 2)
    for name in ("a/b.txt", "c.jpg", "c.txt"):
        (folder / name).unlink()
    second = source.read(first.cursor, 2)
    assert [path.name for path in second.items] == ["3.txt", os.fsdecode(b"4.txt")]
    (folder / os.fsdecode(b"\xff\xfe.txt")).unlink()
    assert source.read(second.cursor, 2).is_last


def test_what_is_no_folder_and_no_pattern_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidOption, match="is not a folder; name one, or a pattern such as"):
        files(folder / "missing")
    with pytest.raises(UsageError, match="is not a path"):
        files(folder).read(7, 1)


def test_bad_files_are_retried_by_their_path(app: ph.Posthorse, folder: Path) -> None:
    bad = {b"c.jpg", b"\xff\xfe.txt", b"a/1.txt"}
    met: list[bytes] = []

    @app.job
    def read(ctx: ph.Context) -> int:
        for batch in ctx.slices(ph.files(folder), size=3, tolerate=3):
            for path in batch:
                with batch.tolerate(path):
                    name = os.fsencode(path.relative_to(folder))
                    met.append(name)
                    if name in bad:
                        raise ValueError
        return ctx.progress.done

    with app.worker():
        job = read.enqueue()
        assert job.result(timeout=30) == len(NAMES)
        assert [one.item for one in job.bad_items()] == [("a", "1.txt"), ("c.jpg",), (b"\xff\xfe.txt",)]
        met.clear()
        bad.clear()
        (folder / "a" / "1.txt").unlink()
        job.retry_bad_items()
        job.result(timeout=30)
    assert met == [b"c.jpg", b"\xff\xfe.txt"]
    assert job.bad_items() == []  # an item that is gone is no longer bad
