"""The shop: jobs that are retried, limited, scheduled and long, a resource, an observer and a command.

Its tests are in test_shop.py.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import posthorse as ph

app = ph.Posthorse("sqlite:///shop.db")
app.queue("mail", rate="100/m")
log = logging.getLogger(__name__)


class Bank:
    """The bank, which is far away. Tests call this one."""

    def __init__(self) -> None:
        self.booked: dict[int, int] = {}

    def charge(self, order: int, cents: int) -> str:
        """Book an amount; return the receipt."""
        self.booked[order] = self.booked.get(order, 0) + cents
        return f"receipt {order}"


bank = Bank()
outbox: list[str] = []
accounts: dict[int, int] = {}
reports: list[int] = []
complaints: list[str] = []


def our_bank() -> Bank:
    """Provide the bank to jobs."""
    return bank


@app.job(queue="mail", max_attempts=3, backoff="1m")
def send_mail(to: str, subject: str) -> None:
    """Send a mail."""
    outbox.append(f"{to}: {subject}")


@app.job(unique=True, max_attempts=4, backoff="10m", give_up_on=ValueError)
def charge(order: int, cents: int, email: str, at: Bank = ph.depends(our_bank, scope="process")) -> str:
    """Let the bank charge an order, and tell the customer."""
    if cents <= 0:
        raise ValueError(f"order {order} costs {cents} cents")
    receipt = at.charge(order, cents)
    log.info("order %d is paid", order, extra={"cents": cents})
    send_mail.enqueue(email, f"your order {order} is paid")
    return receipt


@app.on(ph.events.Failed, kind="charge")
def tell_support(event: ph.events.Failed) -> None:
    """Tell people of an order that cannot be charged."""
    complaints.append(event.job)


@app.job
async def notify(order: int, email: str) -> None:
    """Ask how it was, a week later."""
    await send_mail.aenqueue(email, f"how do you like order {order}?")


@app.job
def add_interest(ctx: ph.Context, percent: int, size: int = 10) -> int:
    """Add interest to all accounts, in slices; return the sum."""
    paid = ctx.keep("paid", [0])
    for batch in ctx.slices(sorted(accounts), size=size):
        for account in batch:
            interest = accounts[account] * percent // 100
            accounts[account] += interest
            paid[0] += interest
    return paid[0]


@app.job
def report() -> None:
    """Count the orders of the day."""
    reports.append(len(bank.booked))


app.schedule(report.bind(), name="report", cron="0 3 * * *")


@dataclass(frozen=True)
class CancelOrder:
    """A command: cancel an order, and pay back."""

    order: int
    email: str


def cancel_order(command: CancelOrder) -> int:
    """Pay an order back; return the cents."""
    cents = bank.booked.pop(command.order, 0)
    send_mail.enqueue(command.email, f"order {command.order} is cancelled")
    return cents


app.bus.register(CancelOrder, cancel_order)


def buy(order: int, cents: int, email: str) -> None:
    """Do what the shop does when a customer buys."""
    charge.enqueue(order, cents, email)
    notify.using(delay="7d").enqueue(order, email)
