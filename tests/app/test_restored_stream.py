"""A cursor of a file that was restored from a backup since is refused: its places were given again, to other events."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.rules.watched import Interest
from posthorse.store.operations import telling


@pytest.mark.parametrize("more", [0, 1, 9])
def test_a_cursor_is_refused_by_a_file_that_was_restored_since(sqlite_url: str, tmp_path: Path, more: int) -> None:
    file, backup = Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "backup.db"

    def change(app: ph.Posthorse, count: int) -> None:
        for number in range(count):
            app.queue("mail").set(weight=number + 1)

    app = ph.Posthorse(sqlite_url)
    app.migrate()
    app.store.run(telling.watch("test", Interest(), "life", seconds=3_600))
    change(app, 3)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)
    change(app, 5)
    *kept, newest = app.events()
    assert [*app.events(after=newest.cursor)] == []
    app.close()
    for side in file.parent.glob(f"{file.name}-*"):
        side.unlink()
    shutil.copyfile(backup, file)  # the same inode

    restored = ph.Posthorse(sqlite_url)
    change(restored, more)
    [missed, *rest] = restored.events(after=newest.cursor)
    assert isinstance(missed, ph.events.Missed)
    assert missed.why == ("too new" if more < 5 else "another store")
    assert rest == []
    change(restored, 1)
    assert len([*restored.events(after=missed.cursor)]) == 1
    [missed] = [event for event in restored.events(after=kept[4].cursor) if isinstance(event, ph.events.Missed)][:1]
    both = [*restored.events(after=kept[2].cursor)]
    assert len(both) == more + 1, "up to the backup it is the same stream"
    assert not any(isinstance(event, ph.events.Missed) for event in both)
    restored.close()
