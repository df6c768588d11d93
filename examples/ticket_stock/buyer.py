"""A buyer: takes tickets from the shelf, and writes each sale down in the same transaction.

    python -m examples.ticket_stock.buyer NAME COUNT

It prints how many milliseconds each ticket took. Every fifth visitor changes
their mind: the transaction is rolled back.
"""

from __future__ import annotations

import sys
import time

import posthorse as ph
from examples.subscriptions.tables import connected, in_words_of
from examples.ticket_stock.jobs import app, tickets


def main(name: str, count: int) -> None:
    """Buy so many tickets."""
    sold = visitors = 0
    with connected(app.settings.url) as connection:
        while sold < count:
            visitors += 1
            began = time.perf_counter()
            try:
                ticket = tickets.take(connection=connection)
            except ph.StockEmpty:
                connection.rollback()
                time.sleep(0.02)  # workers print as fast as they can
                continue
            sys.stdout.write(f"{(time.perf_counter() - began) * 1000:.3f}\n")
            sys.stdout.flush()
            if visitors % 5 == 0:
                connection.rollback()  # and the ticket is on the shelf again
                continue
            connection.cursor().execute(
                in_words_of(app.settings.url, "INSERT INTO demo_sales (number, seal, buyer) VALUES (?, ?, ?)"),
                (ticket["number"], ticket["seal"], name),
            )
            connection.commit()
            sold += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
