"""Retention in the store: every table that belongs to jobs is emptied with them, whatever tables are added."""

from __future__ import annotations

import re

from posthorse.store.queries import Queries
from tests.store.yard import Yard

KEPT = {
    "jobs": "the jobs themselves",
    "keys": "keys are promises for ever, and identities have a walk of their own",
    "ready": "a job that is over waits in no lane",
    "leases": "a job that is over has no lease",
}


TABLES = {
    "sqlite": """SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
        WHERE m.type = 'table' AND c.name = 'job'""",
    "postgres": """SELECT c.table_name FROM information_schema.columns c
        JOIN information_schema.tables t USING (table_schema, table_name)
        WHERE c.table_schema = 'posthorse' AND c.column_name = 'job' AND t.table_type = 'BASE TABLE'""",
}
"""The tables with a column for a job, according to each database."""


def test_every_table_with_jobs_is_emptied_with_them(yard: Yard) -> None:
    name = yard.store.backend.dialect.name
    with yard.store.transaction() as connection:
        found = connection.execute(TABLES[name]).fetchall()  # type: ignore[attr-defined]  # each driver's has it
    belongings = {table.removeprefix("posthorse_") for (table,) in found} - KEPT.keys()
    text = " ".join(statement.sql for statement in Queries(yard.store.backend.dialect)["forget_belongings"].statements)
    assert (
        set(re.findall(r"DELETE FROM \W*posthorse\W+(\w+?)\W", text.replace("posthorse_", "posthorse."))) == belongings
    )
