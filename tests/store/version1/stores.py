"""Stores of version 1 of the schema, as its own code left them, and its statements.

`rows.*.sql` were written by the worker of version 1 with the jobs of `shop.py`; it was killed while some of them ran.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
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
