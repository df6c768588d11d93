"""Other SQLite libraries: on the same file, in one process, they would drop the locks of Python's."""

from __future__ import annotations

OTHER_SQLITES = ("apsw", "pysqlite3", "sqlean", "sqlcipher3", "libsql", "libsql_experimental")
"""Modules that bring their own SQLite."""
