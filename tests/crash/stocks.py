"""An application with a shelf of tickets, and a buyer who takes them, for processes that are killed.

python -m tests.crash.stocks buy COUNT      takes each ticket in a transaction that also writes it down
python -m tests.crash.stocks grab COUNT     takes without one, and prints each ticket
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

import posthorse as ph
from posthorse.rules.tuning import Tuning

LEVEL = 20

app = ph.Posthorse(tuning=Tuning(stock_interval=0.02, stock_tidy_interval=0.0))


@app.job(queue="tickets")
def ticket(ctx: ph.Context) -> str:
    """Make a ticket that is unlike all others: the id of its job."""
    return ctx.job_id


tickets = app.stock(ticket.bind(), level=LEVEL, name="tickets")


@contextmanager
def transaction(url: str) -> Iterator[Any]:
    """Open a transaction on a connection of the user's."""
    connection: Any
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)
    else:
        connection = psycopg.connect(url)
    with connection:
        yield connection


def buy(url: str, count: int) -> None:
    for _ in range(count):
        with transaction(url) as connection:
            bought = tickets.take(connection=connection)
            connection.execute(f"INSERT INTO bought VALUES ('{bought}')")


def grab(count: int) -> None:
    for _ in range(count):
        sys.stdout.write(f"{tickets.take()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    from tests.crash import stocks

    if sys.argv[1] == "buy":
        stocks.buy(stocks.app.store.url, int(sys.argv[2]))
    else:
        stocks.grab(int(sys.argv[2]))
