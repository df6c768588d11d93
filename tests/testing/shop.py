"""An application that the tests of the kit test: it has one of everything that the kit moves."""

from __future__ import annotations

import posthorse as ph

app = ph.Posthorse("sqlite:////nowhere/shop.db")
"""No test may open this store: its folder does not exist."""

calls: list[object] = []
"""What jobs did, in order; each test begins with an empty one."""


@app.job(queue="mail")
def welcome(user_id: int, *, polite: bool = True) -> int:
    calls.append(user_id)
    return user_id


@app.job(max_attempts=3, backoff="1h")
def unreliable(fails: int) -> str:
    calls.append("tried")
    if calls.count("tried") <= fails:
        raise ConnectionError("the line is busy")
    return "done"


@app.job(max_attempts=1)
def hopeless() -> None:
    raise ZeroDivisionError("no way")


@app.job
def total(ctx: ph.Context, count: int) -> int:
    sums = ctx.keep("sums", [0])
    for batch in ctx.slices(range(count), size=10):
        for number in batch:
            sums[0] += number
        calls.append(batch.number if hasattr(batch, "number") else len(calls))
    return sums[0]


@app.job
async def invite(user_id: int) -> int:
    await welcome.aenqueue(user_id)
    return user_id


@app.job
def again(left: int) -> None:
    calls.append(left)
    if left:
        again.enqueue(left - 1)


@app.job
def for_ever() -> None:
    for_ever.enqueue()


@app.job(isolation="process")
def apart(number: int) -> int:
    calls.append(number)
    return number


@app.job
def busy() -> None:
    calls.append("asked")
    raise ph.Retry(after="10m")


reports = ph.Posthorse("sqlite:////nowhere/reports.db")
"""An application with a schedule, which runs whenever a test lets a day pass."""


@reports.job
def report() -> None:
    calls.append("report")


reports.schedule(report.bind(), name="report", every="1d")
