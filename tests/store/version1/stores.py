"""Stores of version 1 of the schema, as its own code left them, and its statements.

`rows.*.sql` were written by the worker of version 1 with the jobs of `shop.py`; it was killed while some of them ran.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import psycopg

FOLDER = Path(__file__).parent


def make_store(url: str, *, with_rows: bool = True) -> dict[str, str]:
    """Create a store of version 1; return the ids of its jobs by their names."""
    dialect = "sqlite" if url.startswith("sqlite") else "postgres"
    names = ["schema", "rows"] if with_rows else ["schema"]
    texts = [(FOLDER / f"{name}.{dialect}.sql").read_text(encoding="utf-8") for name in names]
    if not with_rows:
        texts.append("INSERT INTO @meta VALUES ('schema_version', '1'), ('store_id', 'one');")
    if dialect == "sqlite":
        path = Path(urlsplit(url).path)
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("BEGIN;" + re.sub(r"@(?=[a-z])", "posthorse_", "\n".join(texts)) + "COMMIT;")
    else:
        with psycopg.connect(url) as connection:
            connection.execute("CREATE SCHEMA posthorse")
            connection.execute(re.sub(r"@(?=[a-z])", "posthorse.", "\n".join(texts)).encode())
    return {name: id for id, name in re.findall(r"^--   (\S+)  (.+)$", texts[1], re.MULTILINE)}


def statements(dialect: str) -> dict[str, str]:
    """Return the source of each statement of version 1 by its name."""
    found: dict[str, str] = {}
    for name in ("shared", dialect):
        parts = re.split(r"^-- ## (\w+)\n", (FOLDER / f"{name}.sql").read_text(encoding="utf-8"), flags=re.MULTILINE)
        found |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


def fill(url: str, *, completed: int, scheduled: int) -> None:
    """Put many jobs of a kind without code into a store of version 1."""
    is_sqlite = url.startswith("sqlite")
    prefix, no, overriding = (
        ("posthorse_", "0", "") if is_sqlite else ("posthorse.", "false", "OVERRIDING SYSTEM VALUE")
    )
    id = "printf('%032x', n)" if is_sqlite else "lpad(to_hex(n), 32, '0')::uuid"
    numbers = "WITH RECURSIVE s(n) AS (SELECT {} UNION ALL SELECT n + 1 FROM s WHERE n < {})"
    statements = (
        f"""INSERT INTO {prefix}lanes (id, queue, kind, priority, solo, tenant, keyed) {overriding}
            VALUES (99, 'old', 'old', 0, {no}, '', {no})""",
        f"""INSERT INTO {prefix}jobs (id, lane, seq, created_at, state, arguments, tenant)
            {numbers.format(1, completed)}
            SELECT {id}, 99, n, 0, 'completed', '{{}}', 'tenant ' || n % 9 FROM s""",
        f"""INSERT INTO {prefix}jobs (id, lane, seq, created_at, run_at, state, arguments)
            {numbers.format(completed + 1, completed + scheduled)}
            SELECT {id}, 99, n, 0, 4102444800000000, 'scheduled', '{{}}' FROM s""",
        f"""INSERT INTO {prefix}parked (job, state, due_at, since)
            SELECT id, state, run_at, 0 FROM {prefix}jobs WHERE state = 'scheduled' AND lane = 99""",
    )
    with closing(sqlite3.connect(Path(urlsplit(url).path))) if is_sqlite else psycopg.connect(url) as connection:
        for statement in statements:
            cast("Any", connection).execute(statement)
        connection.commit()


def remove_store(url: str) -> None:
    """Make room for another store at the same place."""
    if url.startswith("sqlite"):
        for file in Path(urlsplit(url).path).parent.glob("jobs.db*"):
            file.unlink()
        for file in Path(urlsplit(url).path).parent.glob(".jobs.db*"):
            file.unlink()
    else:
        with psycopg.connect(url) as connection:
            connection.execute("DROP SCHEMA IF EXISTS posthorse CASCADE")
