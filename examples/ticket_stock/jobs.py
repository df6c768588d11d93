"""The box office: tickets that take a while to make, and a shelf on which they wait for buyers.

posthorse worker --app examples.ticket_stock.jobs:app
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TypedDict

import posthorse as ph

app = ph.Posthorse(lease="3s")  # the store is $POSTHORSE_URL; with a short lease, lost workers are noticed soon

ROUNDS = 10_000
"""Rounds of the derivation that makes a seal: some milliseconds, as a printer or a provider would take."""


class Ticket(TypedDict):
    """A ticket: its number, its seal, which no visitor can guess, and the picture for the visitor."""

    number: str
    seal: str
    picture: str


@app.job(queue="printing")
def print_ticket(ctx: ph.Context) -> Ticket:
    """Make one ticket; its number is the id of its job."""
    seal = seal_of(ctx.job_id)
    return Ticket(number=ctx.job_id, seal=seal, picture=picture_of(ctx.job_id, seal))


tickets = app.stock(print_ticket.bind(), level=40, refill_at=30, ttl="1d", name="tickets")


def seal_of(number: str) -> str:
    """Return the seal of a ticket, which takes long on purpose."""
    key = hashlib.pbkdf2_hmac("sha256", secret(), number.encode(), ROUNDS)
    return hmac.new(key, number.encode(), "sha256").hexdigest()[:32]


def picture_of(number: str, seal: str) -> str:
    """Draw the ticket: the bits of its seal as squares, as a reader at the gate sees them."""
    bits = f"{int(seal, 16):0128b}"
    squares = "".join(
        f'<rect x="{8 * (place % 16)}" y="{8 * (place // 16)}" width="8" height="8"/>'
        for place, bit in enumerate(bits)
        if bit == "1"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 84"><g>{squares}</g>'
        f'<text x="0" y="80" font-size="8">{number[-12:]}</text></svg>'
    )


def secret() -> bytes:
    """Return the key of the box office: $TICKET_SECRET."""
    return os.environ.get("TICKET_SECRET", "for the demonstration only").encode()
