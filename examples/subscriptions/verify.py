"""Verify the ledger: query the tables only, with no code of the job and none of Posthorse.

    python verify.py sqlite:////tmp/shop.db 2026-11-30

The exit code is 0 if everything is right, otherwise 1.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

CHECKS = {
    "due subscriptions that were not expired exactly once": """
        SELECT count(*) FROM demo_subscriptions
        WHERE ends_on < '{today}' AND (state <> 'expired' OR times_expired <> 1)""",
    "subscriptions that were touched and were not due": """
        SELECT count(*) FROM demo_subscriptions s
        WHERE ends_on >= '{today}' AND (state <> 'active' OR times_expired <> 0
            OR EXISTS (SELECT 1 FROM entries e WHERE e.subscription = s.id))""",
    "due subscriptions whose payment did not leave `prepaid` exactly once": """
        SELECT count(*) FROM demo_subscriptions s
        WHERE ends_on < '{today}' AND 1 <> (
            SELECT count(*) FILTER (WHERE e.cents = -s.cents) + 2 * count(*) FILTER (WHERE e.cents <> -s.cents)
            FROM entries e WHERE e.subscription = s.id AND e.book = 'prepaid')""",
    "subscriptions whose entries do not add up to nothing": """
        SELECT count(*) FROM (SELECT 1 FROM entries GROUP BY subscription HAVING sum(cents) <> 0) AS odd""",
    "subscriptions whose refund is not that of the days that were left": """
        SELECT count(*) FROM demo_subscriptions s
        WHERE ends_on < '{today}' AND s.cents - s.cents * s.used_days / 30 <> coalesce(
            (SELECT sum(e.cents) FROM entries e WHERE e.subscription = s.id AND e.book = 'refunds'), 0)""",
    "accounts whose credit is not the sum of their refunds": """
        SELECT count(*) FROM demo_accounts a
        WHERE a.credit <> coalesce((
            SELECT sum(e.cents) FROM entries e WHERE e.account = a.id AND e.book = 'refunds'), 0)""",
}
"""What must not be found anywhere, and how to look for it."""

SORTED = (
    "CREATE TEMPORARY TABLE entries AS SELECT * FROM demo_ledger",
    "CREATE INDEX entries_by_subscription ON entries (subscription)",
    "CREATE INDEX entries_by_account ON entries (account)",
)
"""The ledger has no index, so that none refuses an entry; queries that look up many entries need some."""


def main(url: str, today: str) -> int:
    if url.startswith("sqlite:///"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        import psycopg

        connection = psycopg.connect(url)
    cursor = connection.cursor()
    for statement in SORTED:
        cursor.execute(statement)
    wrong = 0
    for what, query in CHECKS.items():
        [[count]] = cursor.execute(query.replace("{today}", today)).fetchall()
        wrong += count
        if count:
            print(f"WRONG  {count:,} {what}")
    books = dict(cursor.execute("SELECT book, sum(cents) FROM demo_ledger GROUP BY book ORDER BY book").fetchall())
    [[expired]] = cursor.execute("SELECT count(*) FROM demo_subscriptions WHERE state = 'expired'").fetchall()
    connection.close()
    for book, cents in books.items():
        print(f"  {book:8} {cents / 100:16,.2f}")
    print(f"  {'sum':8} {sum(books.values()) / 100:16,.2f}")
    if wrong:
        return 1
    print(f"Verified: {expired:,} subscriptions, each expired and booked exactly once; the ledger balances.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
