"""Changing sources: what the page on long jobs promises if a source changes under its job, source by source."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa

import posthorse as ph
from posthorse.errors import UsageError
from posthorse.worker.checkpoints.sources import Source, as_source, csv, files, keyset, lines, rows

T = TypeVar("T")


def met_while(make: Callable[[], Source[T]], change: Callable[[], None], *, first: int = 3) -> list[T]:
    """Return what a loop meets that stops after `first` items, sees the change, and then resumes."""
    with closing(make()) as source:
        begun = source.read(None, first)
    change()
    cursor, met = begun.cursor, list(begun.items)
    with closing(make()) as source:
        while True:
            chunk = source.read(cursor, 2)
            met += chunk.items
            cursor = chunk.cursor
            if chunk.is_last or not chunk.items:
                return met


class Numbers:
    """A table of numbers: 10, 20, … 60."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
        self.connection.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(10, 70, 10)])

    def change(self) -> None:
        """Let rows come and go before the cursor and behind it, after 10, 20, 30 were done; one moves across."""
        self.connection.execute("INSERT INTO numbers VALUES (15), (35), (70)")
        self.connection.execute("DELETE FROM numbers WHERE number IN (20, 40)")
        self.connection.execute("UPDATE numbers SET number = 5 WHERE number = 50")

    def after(self, after: int, limit: int) -> list[int]:
        found = self.connection.execute(
            "SELECT number FROM numbers WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
        )
        return [row[0] for row in found]


def test_rows_that_come_behind_a_key_are_met_and_those_before_it_are_not(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path / "keyset.db")
    met = met_while(lambda: keyset(numbers.after, key=lambda n: n, start=0), numbers.change)
    assert met == [10, 20, 30, 35, 60, 70]  # none twice; 50 moved to before the cursor and is missed
    numbers.connection.close()


def test_a_stop_fixes_the_end(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path / "keyset.db")
    met = met_while(lambda: keyset(numbers.after, key=lambda n: n, start=0, stop=60), numbers.change)
    assert met == [10, 20, 30, 35, 60]
    numbers.connection.close()


def test_rows_of_a_select_change_like_a_keyset(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path / "select.db")
    engine = sa.create_engine(numbers.url)
    table = sa.Table("numbers", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True))
    met = met_while(lambda: rows(engine, sa.select(table)), numbers.change)
    assert [row.number for row in met] == [10, 20, 30, 35, 60, 70]
    engine.dispose()
    numbers.connection.close()


def test_the_cursor_may_stand_on_a_row_that_is_gone(tmp_path: Path) -> None:
    numbers = Numbers(tmp_path / "keyset.db")
    delete = "DELETE FROM numbers WHERE number = 30"

    def change() -> None:
        numbers.connection.execute(delete)

    met = met_while(lambda: keyset(numbers.after, key=lambda n: n, start=0), change)
    assert met == [10, 20, 30, 40, 50, 60]
    numbers.connection.close()


def test_files_are_listed_anew_by_every_attempt(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    for number in range(10, 70, 10):
        (folder / f"{number}").touch()

    def change() -> None:
        for number in (15, 35, 70):
            (folder / f"{number}").touch()
        for number in (20, 40):
            (folder / f"{number}").unlink()
        (folder / "50").rename(folder / "05")

    met = met_while(lambda: files(folder), change)
    assert [path.name for path in met] == ["10", "20", "30", "35", "60", "70"]


@pytest.mark.parametrize("read", [lines, csv])
def test_what_is_appended_to_a_file_is_met_and_a_shorter_one_is_refused(
    tmp_path: Path, read: Callable[[Path], Source[object]]
) -> None:
    path = tmp_path / "data"

    def written(text: str) -> Callable[[], None]:
        def write() -> None:
            path.write_text(text)

        return write

    whole = "name\n" + "".join(f"{n}\n" for n in range(5))
    written(whole)()
    met = met_while(lambda: read(path), written(whole + "5\n6\n"))
    assert [str(item) for item in met[-2:]] in (
        ["5", "6"],
        ["{'name': '5'}", "{'name': '6'}"],
    )
    assert len(met) in (7, 8)  # without or with the header
    written(whole)()
    with pytest.raises(UsageError, match="shorter than"):
        met_while(lambda: read(path), written("name\n"))
    written(whole)()
    with pytest.raises(UsageError, match="no line end"):
        met_while(lambda: read(path), written("a longer name\n" + whole))


def test_a_sequence_goes_by_its_index_whatever_stands_there() -> None:
    items = list(range(6))
    met = met_while(lambda: sliced(items), lambda: items.insert(0, 99))
    assert met == [0, 1, 2, 2, 3, 4, 5]  # all moved on by one: the third came again
    with pytest.raises(UsageError, match="must meet the same items"):
        met_while(lambda: sliced(items), lambda: items.__delitem__(slice(2, None)))


def sliced(items: list[int]) -> Source[int]:
    source = as_source(items)
    assert isinstance(source, Source)
    return source  # type: ignore[return-value]  # of these items


def test_the_total_is_counted_once_and_progress_goes_beyond_it(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")
    items = list(range(4))

    def after(cursor: int, limit: int) -> list[int]:
        return [item for item in items if item > cursor][:limit]

    @app.job
    def grow(ctx: ph.Context) -> None:
        for batch in ctx.slices(ph.keyset(after, key=int, start=-1, total=lambda: len(items)), size=2):
            if batch.number < 2:
                items.append(len(items))

    with app.worker():
        job = grow.enqueue()
        job.result(timeout=30)
    progress = job.status().progress
    assert (progress.done, progress.total, progress.fraction) == (6, 4, 1.0)
    app.close()


def test_a_bare_async_generator_is_refused_with_the_way_out() -> None:
    async def numbers() -> object:
        yield 1

    with pytest.raises(TypeError, match=r"only once, and after a restart it starts over; use ph.keyset\(fetch, key="):
        as_source(numbers())
