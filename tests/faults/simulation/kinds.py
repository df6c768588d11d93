"""The kinds of a simulated world's application, one for each promise. It does not know who runs them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import posthorse as ph

Draw = Callable[[random.Random], list[ph.Call[object]]]

HOSTS, CUSTOMERS, ACCOUNTS, USERS = 2, 2, 2, 3

ITEMS, SLICE = 6, 2
"""How many items a long job has, and how many it does at once."""

IN_TRANSACTIONS, IN_SLICES = "gather", "crawl"
"""Long jobs: the effect of a slice commits together with its cursor, or before it."""

Focus = Literal["everything", "turns", "long jobs", "schedules"]
FOCUSES: Sequence[Focus] = ("everything", "turns", "long jobs", "schedules")
"""What a world is mostly busy with: rare meetings happen sooner if most steps can bring them about."""

_CASES: dict[Focus, Sequence[int]] = {
    "everything": range(13),
    "turns": (5, 6, 6, 7, 7, 8, 8, 11),
    "long jobs": (0, 3, 12, 12, 12),
    "schedules": range(13),
}


@cache
def application() -> ph.Posthorse:
    """Return the application; the caller gives it a store."""
    app = ph.Posthorse("sqlite:////of/no/matter.db")
    app.queue("narrow", concurrency=2)
    app.queue("weighty", weight=3)

    @app.job(max_attempts=3, backoff="10s")
    def send(n: int) -> None: ...

    @app.job(queue="narrow", max_attempts=2, backoff=0)
    def ring(n: int) -> None: ...

    @app.job(rate=ph.Rate("6/m", burst=2), backoff="5s")
    def call(n: int) -> None: ...

    @app.job(rate=ph.Rate("2/m", per="host", burst=1), backoff="5s")
    def fetch(host: int, n: int) -> None: ...

    @app.job(concurrency=ph.Concurrency(1, per="customer"), backoff="5s")
    def bill(customer: int, n: int) -> None: ...

    @app.job(sequence=ph.Sequence(per="account"), max_attempts=2, backoff="5s")
    def book(account: int, n: int) -> None: ...

    @app.job(sequence=ph.Sequence(per="account", on_dead="pass"), max_attempts=2, backoff="5s")
    def note(account: int, n: int) -> None: ...

    @app.job(unique=True, max_attempts=2, backoff="5s")
    def sync(user: int) -> None: ...

    @app.job(queue="weighty", unique=ph.Unique(until="queued", on_conflict="reschedule", by="user"), backoff="5s")
    def poll(user: int, n: int) -> None: ...

    @app.job(backoff="5s")
    def gather(ctx: ph.Context, n: int) -> None: ...

    @app.job(backoff="5s")
    def crawl(ctx: ph.Context, n: int) -> None: ...

    @app.job(queue="weighty")
    def report(n: int) -> None: ...

    app.schedule(report.bind(1), name="minutely", every="1m", overlap="allow", misfire=ph.Misfire("all", limit=3))
    app.schedule(report.bind(2), name="fives", cron="*/5 * * * *", overlap="skip")
    app.schedule(report.bind(3), name="sevens", every="7m", overlap="cancel", misfire="skip")
    return app


def kind(name: str) -> ph.Kind[..., object]:
    """Return a kind by its name."""
    return ph.Kind(application(), application().registry[name])


def drawn_calls(chance: random.Random, focus: Focus) -> list[ph.Call[object]]:
    """Return calls to enqueue together, drawn by chance."""
    n = chance.randrange(1_000)
    match chance.choice(_CASES[focus]):
        case 0:
            return [kind("send").bind(n + i) for i in range(chance.randint(1, 3))]
        case 1:
            return [kind("send").using(delay=chance.choice((1, 20, 90)), priority=chance.choice((0, 5))).bind(n)]
        case 2:
            return [kind("send").using(key=chance.choice("ab")).bind(chance.randrange(2))]
        case 3:
            return [kind("ring").bind(n + i) for i in range(chance.randint(1, 3))]
        case 4:
            return [kind("call").bind(n + i) for i in range(chance.randint(1, 3))]
        case 5:
            return [kind("fetch").bind(chance.randrange(HOSTS), n + i) for i in range(2)]
        case 6:
            return [kind("bill").bind(chance.randrange(CUSTOMERS), n + i) for i in range(2)]
        case 7:
            return [kind("book").bind(chance.randrange(ACCOUNTS), n + i) for i in range(3)]
        case 8:
            return [kind("note").bind(chance.randrange(ACCOUNTS), n + i) for i in range(2)]
        case 9:
            return [kind("sync").bind(chance.randrange(USERS))]
        case 10:
            delay = chance.choice((0, 3, 30))
            return [kind("poll").using(delay=delay).bind(chance.randrange(USERS), n)]
        case 12:
            return [kind(chance.choice((IN_TRANSACTIONS, IN_SLICES))).bind(n)]
        case _:
            in_order = kind(chance.choice(("send", "bill"))).using(sequence="ledger")
            arguments = (n,) if in_order.kind == "send" else (chance.randrange(CUSTOMERS), n)
            return [in_order.bind(*arguments)]
