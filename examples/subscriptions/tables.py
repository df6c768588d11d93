"""The tables of a small business, in the same store as the jobs: accounts, their subscriptions, and a ledger.

The ledger has no key that would hide an entry that was booked twice. This module knows how the two stores differ in
what this example needs, and nothing about jobs.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

TODAY = date(2026, 11, 30)
TERM = 30

_CREATE = (
    "DROP TABLE IF EXISTS demo_ledger",
    "DROP TABLE IF EXISTS demo_subscriptions",
    "DROP TABLE IF EXISTS demo_accounts",
    "CREATE TABLE demo_accounts (id integer PRIMARY KEY, credit bigint NOT NULL)",
    """CREATE TABLE demo_subscriptions (
        id integer PRIMARY KEY, account integer NOT NULL, cents bigint NOT NULL, used_days integer NOT NULL,
        ends_on text NOT NULL, state text NOT NULL, times_expired integer NOT NULL)""",
    "CREATE TABLE demo_ledger (subscription integer NOT NULL, account integer NOT NULL, book text NOT NULL,"
    " cents bigint NOT NULL)",
)

_DUE = """
SELECT id, account, cents, used_days FROM demo_subscriptions
WHERE ends_on < ? AND id > ? ORDER BY id LIMIT ?
"""


class Subscription(NamedTuple):
    """A term of thirty days that was paid in advance, in cents; a customer who leaves sooner gets the rest back."""

    id: int
    account: int
    cents: int
    used_days: int

    @property
    def earned(self) -> int:
        """Cents for the days that were used."""
        return self.cents * self.used_days // TERM

    @property
    def refund(self) -> int:
        """Cents for the days that were not used."""
        return self.cents - self.earned


def make_anew(url: str, count: int) -> None:
    """Create the tables and fill them, always in the same way; what was there before is dropped."""
    chance = random.Random(20_261_130)
    accounts = [(number, 0) for number in range(1, count // 2 + 1)]
    subscriptions = [
        (
            number,
            chance.randint(1, len(accounts)),
            chance.choice((499, 999, 1999, 4999)),
            chance.choices((TERM, chance.randint(1, TERM - 1)), (3, 1))[0],
            str(TODAY + timedelta(days=chance.randint(-30, 20))),
            "active",
            0,
        )
        for number in range(1, count + 1)
    ]
    with connected(url) as connection:
        cursor = connection.cursor()
        for statement in _CREATE:
            cursor.execute(statement)
        for table, rows in (("demo_accounts", accounts), ("demo_subscriptions", subscriptions)):
            places = ", ".join("?" * len(rows[0]))
            cursor.executemany(in_words_of(url, f"INSERT INTO {table} VALUES ({places})"), rows)
        connection.commit()


def due_after(url: str, today: str, last: int, limit: int) -> list[Subscription]:
    """Return the next subscriptions that ended before today."""
    return [Subscription(*row) for row in read(url, _DUE, (today, last, limit))]


def count_due(url: str, today: str) -> int:
    """Return how many subscriptions ended before today."""
    [[count]] = read(url, "SELECT count(*) FROM demo_subscriptions WHERE ends_on < ?", (today,))
    return int(count)


def read(url: str, statement: str, values: Sequence[object] = ()) -> list[Any]:
    """Return the rows of one statement, on a connection of its own."""
    with connected(url) as connection:
        return list(connection.cursor().execute(in_words_of(url, statement), values).fetchall())


def in_words_of(url: str, statement: str) -> str:
    """Return the statement with the placeholders of the store's driver."""
    return statement if url.startswith("sqlite:") else statement.replace("?", "%s")


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """Open a connection to the store, which is closed afterwards."""
    if url.startswith("sqlite:"):
        connection: Any = sqlite3.connect(Path(url.removeprefix("sqlite:///")), timeout=30)
    else:
        import psycopg  # only needed with PostgreSQL

        connection = psycopg.connect(url)
    try:
        yield connection
    finally:
        connection.close()
