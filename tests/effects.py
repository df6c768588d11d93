"""Effects of jobs: a table `effects` of the user's own beside the tables of Posthorse, to which jobs write."""

from __future__ import annotations

import posthorse as ph


def make_effects(app: ph.Posthorse, *, are_unique: bool = False) -> None:
    """Create the schema of the store and the table. If items are unique, writing one twice fails."""
    app.migrate()
    column = "integer PRIMARY KEY" if are_unique else "integer NOT NULL"
    with app.store.transaction() as connection:
        connection.execute(f"CREATE TABLE effects (item {column})")  # type: ignore[attr-defined]  # either store's


def effects_of(app: ph.Posthorse) -> list[int]:
    """Return the items that were written, in their order."""
    with app.store.transaction() as connection:
        found = connection.execute("SELECT item FROM effects ORDER BY item").fetchall()  # type: ignore[attr-defined]  # as above
    return [row[0] for row in found]


def insert(item: int) -> str:
    """Return the statement that writes an item."""
    return f"INSERT INTO effects VALUES ({item:d})"
