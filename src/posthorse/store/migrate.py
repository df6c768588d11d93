"""The schema: create it, migrate it, and refuse one that this version must not touch.

A migration is a file `NNNN_name.<dialect>.sql` that takes version NNNN - 1 to NNNN in steps: the blocks of the file.
Each step has a commit of its own, which also notes how far the store is, so that a migration that was killed goes on
there. A test proves that the steps lead to the same schema as the schema file. This module knows no driver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib.resources import files
from typing import NamedTuple, Protocol, TypeVar
from uuid import uuid4

from posthorse.errors import SchemaMismatch
from posthorse.failpoints import failpoint
from posthorse.store.base import Execute, QuerySteps, drive, operation, query
from posthorse.store.operations.store_facts import HAS_SCHEMA, MIGRATION
from posthorse.store.operations.store_facts import SCHEMA_VERSION as STORED_VERSION
from posthorse.store.queries import MigrationStep, Row, Statement, Value

T = TypeVar("T")

SCHEMA_VERSION = 2

BEFORE_ALL_IDS = "00000000-0000-0000-0000-000000000000"

Tell = Callable[[str], None]
"""Receives a sentence about each thing that is done or waited for."""


class MigrationTransaction(Protocol):
    """One transaction of a migration."""

    @property
    def execute(self) -> Execute:
        """What runs named queries."""
        ...

    def run(self, statement: Statement, values: Mapping[str, Value]) -> Sequence[Row]:
        """Run a statement of a step; return its rows."""
        ...

    def run_script(self, text: str) -> None:
        """Run the statements of a schema file."""
        ...


class Migrator(Protocol):
    """A store that this process creates or migrates."""

    dialect_name: str
    builds_beside_writers: bool
    """Whether an index is built outside of a transaction, by `build`, while others write."""

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes from migrating inside the block; wait for one that does."""
        ...

    def steps(self, text: str) -> Sequence[MigrationStep]:
        """Compile a migration file."""
        ...

    def progress(self) -> SchemaProgress | None:
        """Return how far the schema is, without waiting for other writers; None if there is none."""
        ...

    def commit(self, work: Callable[[MigrationTransaction], T]) -> T:
        """Do work in one transaction; if others hold its locks for long, again later."""
        ...

    def build(self, step: MigrationStep) -> None:
        """Build an index while others write, unless it is there and complete."""
        ...

    def weight_of(self, step: MigrationStep) -> str:
        """Return how large the table of a step is, and how long others wait for the step, in words."""
        ...


class SchemaProgress(NamedTuple):
    """How far a schema is: its version, and how many steps to the next one are done."""

    version: int
    done: int


class Task(NamedTuple):
    """A step that a schema lacks: the `number`-th of so many that lead to a version."""

    step: MigrationStep
    target: int
    number: int
    of: int

    @property
    def expected(self) -> SchemaProgress:
        """How far the schema is before it."""
        return SchemaProgress(self.target - 1, self.number - 1)


def migrate(migrator: Migrator, where: str, tell: Tell) -> int:
    """Create or migrate the schema; return how many steps this process did. Creating it is one."""
    seen = migrator.progress()
    if seen is None:
        if migrator.commit(partial(_create, migrator.dialect_name)):
            return 1
    elif not tasks_left(migrator, seen, where):
        return 0
    taken = 0
    with migrator.alone():
        while tasks := tasks_left(migrator, migrator.commit(_progress), where):
            tell(words_of(migrator, tasks[0]))
            taken += _do(migrator, tasks[0])
    return taken


def tasks_left(migrator: Migrator, progress: SchemaProgress, where: str) -> list[Task]:
    """Return the steps that a schema lacks, in order. Raises SchemaMismatch if a newer Posthorse made it."""
    version, done = progress
    refuse_newer(version, where)
    tasks: list[Task] = []
    for target, text in enumerate(_migrations(migrator.dialect_name), 2):
        if target > version:
            steps = migrator.steps(text)
            tasks += [Task(step, target, number, len(steps)) for number, step in enumerate(steps, 1)]
    return tasks[done:]


def words_of(migrator: Migrator, task: Task) -> str:
    """Return what a step does, in words."""
    described = task.step.description.removesuffix(".")
    return f"schema {task.target}, step {task.number} of {task.of}: {described}{migrator.weight_of(task.step)}"


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


@operation
def stored_version() -> QuerySteps[int | None]:
    """Return the version of the stored schema; None if there is none."""
    if not (yield from HAS_SCHEMA()):
        return None
    rows = yield from STORED_VERSION()
    if not rows:
        raise SchemaMismatch(
            "the store has tables with Posthorse's names but no version of its schema: they are not Posthorse's, or "
            "were damaged; restore them from a backup, or name another store"
        )
    return int(rows[0][0])


@operation
def stored_progress() -> QuerySteps[SchemaProgress | None]:
    """Return how far the stored schema is; None if there is none."""
    version = yield from stored_version().start()
    if version is None:
        return None
    for (noted,) in (yield from MIGRATION()):
        target, _, done = noted.partition("/")
        if int(target) == version + 1:
            return SchemaProgress(version, int(done))
    return SchemaProgress(version, 0)


def _create(dialect_name: str, transaction: MigrationTransaction) -> bool:
    """Create the schema if there is none; return whether there was none."""
    if drive(stored_version(), transaction.execute) is not None:
        return False
    transaction.run_script(_file(f"schema.{dialect_name}.sql"))
    transaction.execute(query("set_meta", name="schema_version", value=str(SCHEMA_VERSION)))
    # It identifies the store, whatever address leads to it.
    transaction.execute(query("set_meta", name="store_id", value=uuid4().hex))
    failpoint("migration")
    return True


def _do(migrator: Migrator, task: Task) -> bool:
    """Take one step; return False if another process took it meanwhile."""
    statements = task.step.statements
    if task.step.has_batches:
        _change_in_batches(migrator, statements[0])
        statements = ()
    elif task.step.is_index and migrator.builds_beside_writers:
        migrator.build(task.step)
        statements = ()
    failpoint("migration")
    was_taken = migrator.commit(partial(_take, task, statements))
    failpoint("migration")
    return was_taken


def _take(task: Task, statements: Sequence[Statement], transaction: MigrationTransaction) -> bool:
    if _progress(transaction) != task.expected:
        return False
    for statement in statements:
        transaction.run(statement, {})
    if task.number < task.of:
        transaction.execute(query("set_meta", name="migration", value=f"{task.target}/{task.number}"))
    else:
        transaction.execute(query("set_meta", name="schema_version", value=str(task.target)))
        transaction.execute(query("forget_meta", name="migration"))
    failpoint("migration")
    return True


def _change_in_batches(migrator: Migrator, statement: Statement) -> None:
    after = BEFORE_ALL_IDS
    while changed := migrator.commit(partial(_change_batch, statement, after)):
        after = max(str(row[0]) for row in changed)
        failpoint("migration")


def _change_batch(statement: Statement, after: str, transaction: MigrationTransaction) -> Sequence[Row]:
    return transaction.run(statement, {"after": after})


def _progress(transaction: MigrationTransaction) -> SchemaProgress:
    progress = drive(stored_progress(), transaction.execute)
    assert progress is not None  # a schema is created before, and never removed
    return progress


def _migrations(dialect_name: str) -> list[str]:
    """Return the migration files of a dialect, in order; the first leads to version 2."""
    folder = files("posthorse.store").joinpath("sql")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name[:4].isdigit())
    return [_file(name) for name in names if name.endswith(f".{dialect_name}.sql")]


def _file(name: str) -> str:
    return files("posthorse.store").joinpath("sql", name).read_text(encoding="utf-8")
