"""Verify the sales: query the table only, with no code of the box office and none of Posthorse.

    python verify.py sqlite:////tmp/shop.db SECRET

The exit code is 0 if every ticket is genuine and was sold once, otherwise 1.
"""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
import sys
from collections import Counter
from typing import Any


def main(url: str, secret: str) -> int:
    """Check each sale."""
    if url.startswith("sqlite:///"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"))
    else:
        import psycopg

        connection = psycopg.connect(url)
    sales = list(connection.cursor().execute("SELECT number, seal, buyer FROM demo_sales").fetchall())
    connection.close()
    wrong = 0
    for number, times in Counter(number for number, _, _ in sales).items():
        if times > 1:
            wrong += 1
            print(f"WRONG  ticket {number} was sold {times} times")
    for number, seal, buyer in sales:
        key = hashlib.pbkdf2_hmac("sha256", secret.encode(), number.encode(), 10_000)
        if hmac.new(key, number.encode(), "sha256").hexdigest()[:32] != seal:
            wrong += 1
            print(f"WRONG  ticket {number} of {buyer} is not genuine")
    if wrong or not sales:
        return 1
    print(f"Verified: {len(sales):,} tickets, each genuine and sold once.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
