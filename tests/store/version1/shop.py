"""The shop whose jobs are in the stores of version 1. It holds them back while `HOLD` names a file that exists.

The stores have its kinds, their arguments and the places in their loops, so none of these may change.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import posthorse as ph

app = ph.Posthorse(grace="5s")
app.queue("mail", fair=True)
app.queue("bills", concurrency=2)
LAST = datetime(2100, 1, 1, tzinfo=UTC)


def is_held() -> bool:
    """Return whether jobs wait or fail, so that a store is left with them."""
    return os.path.exists(os.environ.get("HOLD", ""))


@app.job
def plain(number: int) -> int:
    return number


@app.job(queue="mail", priority=5)
def send(number: int) -> int:
    return number


@app.job(max_attempts=1)
def dies(number: int) -> int:
    if is_held():
        raise ConnectionError("the other side does not answer")
    return number


@app.job(max_attempts=3, backoff=0)
def recovers(ctx: ph.Context) -> int:
    if ctx.attempt == 1:
        raise ConnectionError("the first attempt fails")
    return ctx.attempt


@app.job
def add_up(ctx: ph.Context, count: int) -> dict[str, object]:
    """Add up numbers, ten per slice; while it is held, it stops after the third slice."""
    total = ctx.keep("total", [0])
    began = ctx.keep("began", [])
    for batch in ctx.slices(range(count), size=10):
        began.append(batch[0])
        total[0] += sum(batch)
        if batch[0] >= 30:
            while is_held():
                time.sleep(0.05)
    return {"total": total[0], "began": began}


@app.job(max_attempts=1)
def tolerates(ctx: ph.Context, count: int) -> int:
    """Record bad items while it is held, and die after them."""
    for batch in ctx.slices(range(count), size=10, tolerate=9):
        for number in batch:
            with batch.tolerate(number):
                if number % 7 == 0 and is_held():
                    raise ValueError(f"{number} is a multiple of seven")
    if is_held():
        raise ConnectionError("after the loop")
    return ctx.progress.done


@app.job(queue="bills", concurrency=ph.Concurrency(1, per="customer"))
def bill(customer: int) -> int:
    while is_held():
        time.sleep(0.05)
    return customer


@app.job(sequence=ph.Sequence(per="account"), max_attempts=1)
def book(account: str, cents: int) -> int:
    while is_held():
        time.sleep(0.05)
    return cents


@app.job(unique=True)
def rebuild(shard: int) -> int:
    return shard


@app.job
def fits(text: str) -> str:
    return text


app.schedule(plain.bind(1000), name="yearly", cron="0 3 1 1 *")
app.schedule(plain.bind(2000), name="once", at=LAST)
