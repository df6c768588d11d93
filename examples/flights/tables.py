"""The tables: the user's own, in the same store as the jobs, so that rows and cursors commit together.

This module knows how the two stores differ in what this example needs.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

_CREATE = """
CREATE TABLE flight_sums (
    report    text NOT NULL,
    key       text NOT NULL,
    flights   bigint NOT NULL,
    cancelled bigint NOT NULL,
    delay     bigint NOT NULL,
    miles     bigint NOT NULL,
    dark      bigint NOT NULL,
    slices    bigint NOT NULL,
    PRIMARY KEY (report, key)
)
"""

_ADD = """
INSERT INTO flight_sums (report, key, flights, cancelled, delay, miles, dark, slices)
VALUES (?, ?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (report, key) DO UPDATE SET
    flights = flight_sums.flights + excluded.flights,
    cancelled = flight_sums.cancelled + excluded.cancelled,
    delay = flight_sums.delay + excluded.delay,
    miles = flight_sums.miles + excluded.miles,
    dark = flight_sums.dark + excluded.dark,
    slices = flight_sums.slices + 1
"""

_READ = "SELECT report, key, flights, cancelled, delay, miles, dark, slices FROM flight_sums ORDER BY report, key"


def make_anew(url: str) -> None:
    """Create the table, without what an earlier demonstration left in it."""
    _run(url, "DROP TABLE IF EXISTS flight_sums")
    _run(url, _CREATE)


def add(url: str) -> str:
    """Return the statement that adds the sums of a slice to a row of a report, or begins the row."""
    return _ADD if _is_sqlite(url) else _ADD.replace("?", "%s")


def read(url: str) -> dict[tuple[str, str], list[int]]:
    """Return the reports: (report, key) to flights, cancelled, delay, miles, dark and slices."""
    return {(report, key): numbers for report, key, *numbers in _run(url, _READ)}


def _run(url: str, statement: str) -> list[Any]:
    if _is_sqlite(url):
        connection = sqlite3.connect(Path(url.removeprefix("sqlite:///")), timeout=30, isolation_level=None)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()
    import psycopg  # only needed with PostgreSQL

    with psycopg.connect(url, autocommit=True) as server:
        cursor = server.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")
