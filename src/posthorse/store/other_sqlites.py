"""SQLite libraries beside Python's own: on our file, in one process with ours, they would drop its locks."""

from __future__ import annotations

OTHER_SQLITES = ("apsw", "pysqlite3", "sqlean", "sqlcipher3", "libsql", "libsql_experimental")
"""Modules that bring an SQLite of their own."""
