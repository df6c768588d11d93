"""The application of the bench of stocks: a shelf of tickets, and jobs that are the load beside it."""

from __future__ import annotations

import posthorse as ph
from posthorse.rules.tuning import Tuning

TARGET = f"{__name__}:app"
LEVEL = 2_000

app = ph.Posthorse(tuning=Tuning(stock_interval=0.1))  # a bench names the store, workers find it in the environment


@app.job
async def ticket() -> str:
    """Make a ticket, in no time."""
    return "a ticket"


@app.job
async def other(number: int) -> None:
    """Be a part of the load."""


tickets = app.stock(ticket.bind(), level=LEVEL)
