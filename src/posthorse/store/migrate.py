"""The schema: create it, migrate it, and refuse one that this version must not touch.

A migration is a file `NNNN_name.<dialect>.sql` that takes version NNNN - 1 to NNNN. All run in one transaction, and a
test proves that they lead to the same schema as the schema file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Protocol
from uuid import uuid4

from posthorse.errors import SchemaMismatch

SCHEMA_VERSION = 1


class Migrating(Protocol):
    """A store inside a transaction in which no other process migrates."""

    dialect_name: str

    def stored_version(self) -> int | None:
        """Return the version of the schema; None if there is none."""
        ...

    def run(self, script: str) -> None:
        """Run the statements of a file."""
        ...

    def write(self, name: str, value: str) -> None:
        """Write one fact about the store."""
        ...


def migrate(store: Migrating, where: str) -> int:
    """Create or migrate the schema; return the number of migrations applied."""
    version = store.stored_version()
    if version is None:
        store.run(_file(f"schema.{store.dialect_name}.sql"))
        store.write("schema_version", str(SCHEMA_VERSION))
        store.write("store_id", uuid4().hex)  # identifies the store, whatever address leads to it
        return 1
    refuse_newer(version, where)
    steps = migrations(store.dialect_name)[version - 1 :]
    for step in steps:
        store.run(step())
    if steps:
        store.write("schema_version", str(SCHEMA_VERSION))
    return len(steps)


def check(version: int | None, where: str) -> None:
    """Raise SchemaMismatch unless this version of Posthorse works with the schema."""
    if version is None:
        raise SchemaMismatch(f"{where} has no schema of Posthorse yet; run `posthorse migrate`")
    refuse_newer(version, where)
    if version < SCHEMA_VERSION:
        raise SchemaMismatch(
            f"{where} has version {version} of the schema and this Posthorse needs {SCHEMA_VERSION}; "
            "run `posthorse migrate` (running jobs may go on meanwhile)"
        )


def refuse_newer(version: int, where: str) -> None:
    """Raise SchemaMismatch if a newer Posthorse made the schema."""
    if version > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"{where} was made by a newer Posthorse (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade Posthorse here before using it"
        )


def migrations(dialect: str) -> list[Callable[[], str]]:
    """Return readers of the migration files of a dialect, in order."""
    folder = files("posthorse.store").joinpath("sql")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name[:4].isdigit())
    return [partial(_file, name) for name in names if name.endswith(f".{dialect}.sql")]


def _file(name: str) -> str:
    return files("posthorse.store").joinpath("sql", name).read_text(encoding="utf-8")
