"""The jobs: every night, expire the subscriptions that ended, and book what was paid for them.

posthorse run --app examples.subscriptions.jobs:app expire_subscriptions 2026-11-30
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

import posthorse as ph
from examples import begun
from examples.subscriptions.tables import Subscription, count_due, due_after, in_words_of

app = ph.Posthorse(lease="3s")  # the store is $POSTHORSE_URL; with a short lease, lost workers are noticed soon

PROVIDER = 0.03
"""Seconds that a payment provider, which this example does not have, would take to confirm the refunds of a slice."""


class Totals(TypedDict):
    """What was expired and booked, in cents."""

    subscriptions: int
    earned: int
    refunds: int


@app.job(queue="billing")
def expire_subscriptions(ctx: ph.Context, today: str, slice_size: int = 100) -> Totals:
    """Expire every subscription that ended before today and book it, exactly once."""
    url = app.settings.url
    totals = ctx.keep("totals", Totals(subscriptions=0, earned=0, refunds=0))
    source = ph.keyset(
        partial(due_after, url, today),
        key=lambda subscription: subscription.id,
        start=0,
        total=partial(count_due, url, today),
    )
    for batch in ctx.slices(source, size=slice_size):
        begun.note(folder())
        due = list(batch)
        time.sleep(PROVIDER)  # the call to the provider; no transaction is open meanwhile
        with batch.transaction() as connection:  # rows, ledger, totals and cursor: all of it, or nothing
            expire(connection, url, due)
            book(connection, url, due)
            totals["subscriptions"] += len(due)
            totals["earned"] += sum(subscription.earned for subscription in due)
            totals["refunds"] += sum(subscription.refund for subscription in due)
    return totals


def expire(connection: ph.Connection, url: str, due: Sequence[Subscription]) -> None:
    """Write that the subscriptions are over, and count how often that was written."""
    places = ", ".join("?" * len(due))
    connection.execute(
        in_words_of(
            url,
            "UPDATE demo_subscriptions SET state = 'expired', times_expired = times_expired + 1 "
            f"WHERE id IN ({places})",
        ),
        [subscription.id for subscription in due],
    )


def book(connection: ph.Connection, url: str, due: Sequence[Subscription]) -> None:
    """Make double entries: what was held for the customer leaves `prepaid` for `revenue` and `refunds`."""
    entries = [
        entry
        for each in due
        for entry in (
            (each.id, each.account, "prepaid", -each.cents),
            (each.id, each.account, "revenue", each.earned),
            (each.id, each.account, "refunds", each.refund),
        )
        if entry[3]
    ]
    places = ", ".join(["(?, ?, ?, ?)"] * len(entries))
    connection.execute(
        in_words_of(url, f"INSERT INTO demo_ledger (subscription, account, book, cents) VALUES {places}"),
        [value for entry in entries for value in entry],
    )
    credit = in_words_of(url, "UPDATE demo_accounts SET credit = credit + ? WHERE id = ?")
    for each in due:
        if each.refund:
            connection.execute(credit, (each.refund, each.account))


def folder() -> Path:
    """Return the folder for the list of begun slices: $SUBSCRIPTIONS_FOLDER, or the current one."""
    return Path(os.environ.get("SUBSCRIPTIONS_FOLDER", "."))
