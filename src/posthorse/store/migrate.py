"""The schema: made fresh, brought up to date, and recognised when it is not ours to touch.

A migration is a file `NNNN_name.<dialect>.sql` that takes version NNNN - 1 to NNNN; all run in one
transaction, and a test proves that they lead to what the schema file makes.
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
    """A store inside a transaction that nobody else can migrate in."""

    dialect_name: str

    def stored_version(self) -> int | None:
        """The version of the schema; None when there is none."""
        ...

    def run(self, script: str) -> None:
        """Runs the statements of a file."""
        ...

    def write(self, name: str, value: str) -> None:
        """Writes one fact about the store."""
        ...


def migrate(store: Migrating, where: str) -> int:
    """Makes the schema or brings it up to date; answers with the number of steps taken."""
    version = store.stored_version()
    if version is None:
        store.run(_file(f"schema.{store.dialect_name}.sql"))
        store.write("schema_version", str(SCHEMA_VERSION))
        store.write("store_id", uuid4().hex)  # tells this store from others, whatever leads to it
        return 1
    refuse_newer(version, where)
    steps = migrations(store.dialect_name)[version - 1 :]
    for step in steps:
        store.run(step())
    if steps:
        store.write("schema_version", str(SCHEMA_VERSION))
    return len(steps)


def check(version: int | None, where: str) -> None:
    """Raises SchemaMismatch unless the schema is the one that this version of Posthorse works with."""
    if version is None:
        raise SchemaMismatch(f"{where} has no schema of Posthorse yet; run `posthorse migrate`")
    refuse_newer(version, where)
    if version < SCHEMA_VERSION:
        raise SchemaMismatch(
            f"{where} has version {version} of the schema and this Posthorse needs {SCHEMA_VERSION}; "
            "run `posthorse migrate` (running jobs may go on meanwhile)"
        )


def refuse_newer(version: int, where: str) -> None:
    """Raises SchemaMismatch when a newer Posthorse made the schema."""
    if version > SCHEMA_VERSION:
        raise SchemaMismatch(
            f"{where} was made by a newer Posthorse (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade Posthorse here before using it"
        )


def migrations(dialect: str) -> list[Callable[[], str]]:
    """Readers of the migration files of a dialect, in order."""
    folder = files("posthorse.store").joinpath("sql")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name[:4].isdigit())
    return [partial(_file, name) for name in names if name.endswith(f".{dialect}.sql")]


def _file(name: str) -> str:
    return files("posthorse.store").joinpath("sql", name).read_text(encoding="utf-8")
